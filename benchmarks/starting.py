"""How long a start takes: from the process's begin to its first answer, a signed batch that is kept."""

import time
from collections.abc import Iterator

from benchmarks import load, sending, servers
from benchmarks.filling import with_history
from benchmarks.growth import CUSTOMERS
from benchmarks.load import RECORDS_A_REQUEST
from benchmarks.measuring import Bench, checked, prepared
from benchmarks.results import Figures, Run
from benchmarks.servers import Server


def starting(bench: Bench) -> Iterator[Run]:
    """On a new file, with the catalog to load; and on a ledger that has grown, with the same catalog, loaded before."""
    catalog = load.catalog_text(CUSTOMERS)
    grown = with_history(bench.folder, bench.sizes.history_records, CUSTOMERS)
    records = load.new_records(load.slice_for(bench.sizes.starts, load.open_hours(time.time_ns() // 1000)))
    for _ in range(bench.sizes.starts):
        (body,) = load.batches(records, 1)
        with bench.place() as folder, servers.meterhouse(folder, catalog) as server:
            yield Run("new ledger", _first_answer(server, body))
        with servers.meterhouse(grown, catalog) as server:
            figures = _first_answer(server, body)
            yield Run("grown ledger", figures | {"records_before": bench.sizes.history_records})


def _first_answer(server: Server, body: bytes) -> Figures:
    ready = time.perf_counter()
    requests = prepared(server, lambda signer: [signer.batch(body)])
    checked(server, sending.send_all(server.host, server.port, requests, connections=1), RECORDS_A_REQUEST)
    return {
        "ready_seconds": ready - server.started,
        "first_answer_seconds": time.perf_counter() - server.started,
        "rss_mb": server.rss_megabytes(),
    }
