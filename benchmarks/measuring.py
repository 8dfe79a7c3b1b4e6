"""What every row uses: how much is sent, where ledgers lie, and how one run becomes figures."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import sending
from benchmarks.load import RECORDS_A_REQUEST, Prepare, Signer
from benchmarks.results import Figures, Run
from benchmarks.sending import Ran
from benchmarks.servers import Server

CONNECTIONS: Final = 64


class Sizes(NamedTuple):
    """How much is measured. A run is one server's turn in one round."""

    rounds: int
    requests: int
    """Of a run."""
    peer_requests: int
    """Of a run of moto_server, which is slow: so many take about as long."""
    history_records: int
    """In the ledger that has grown."""
    agreements: int
    """In the large catalog."""
    rated_seconds: float
    """How long a load below the full one is kept up."""
    starts: int
    stage_rounds: int
    calls: int
    """Of a client in a round."""

    def scaled(self, scale: float) -> "Sizes":
        """The same, smaller: to see that the benchmarks work, never for figures."""
        return self._replace(
            requests=max(100, int(self.requests * scale)),
            peer_requests=max(50, int(self.peer_requests * scale)),
            history_records=max(10_000, int(self.history_records * scale)),
            agreements=max(1000, int(self.agreements * scale)),
            rated_seconds=max(0.2, self.rated_seconds * scale),
            calls=max(10, int(self.calls * scale)),
        )


FULL: Final = Sizes(
    rounds=3,
    requests=20_000,
    peer_requests=2000,
    history_records=10_000_000,
    agreements=1_000_000,
    rated_seconds=10,
    starts=9,
    stage_rounds=15,
    calls=400,
)
QUICK: Final = Sizes(
    rounds=3,
    requests=6000,
    peer_requests=800,
    history_records=1_000_000,
    agreements=100_000,
    rated_seconds=2.5,
    starts=5,
    stage_rounds=7,
    calls=100,
)


class Bench(NamedTuple):
    """What a row is given."""

    sizes: Sizes
    folder: Path
    """Where ledgers may lie; what one row leaves there under a known name another may use."""

    @contextmanager
    def place(self) -> Iterator[Path]:
        """An empty folder for one run."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            yield Path(name)


Measure = Callable[[Bench], Iterator[Run]]


def prepared(server: Server, prepare: Prepare) -> Sequence[bytes]:
    """The requests for a server, signed now."""
    return prepare(Signer(server.authority, time.time_ns() // 1000))


def loaded(
    server: Server,
    requests: Sequence[bytes],
    *,
    connections: int = CONNECTIONS,
    records_a_request: int = RECORDS_A_REQUEST,
    accepts: bool = True,
) -> Figures:
    """Sends the requests as fast as they are answered. `accepts`: each record must have been answered with Success."""
    used = server.cpu_seconds()
    ran = sending.send_all(server.host, server.port, requests, connections=connections)
    used = server.cpu_seconds() - used
    return checked(server, ran, records_a_request if accepts else 0) | {
        "requests_per_second": ran.rate,
        "records_per_second": ran.rate * records_a_request,
        "cpu_micros_per_request": 1e6 * used / ran.requests,
    }


def rated(server: Server, requests: Sequence[bytes], rate: float, seed: int) -> Figures:
    """Sends the requests at a rate; `seed` makes the chance of when each is due."""
    ran = sending.send_at_rate(server.host, server.port, requests, connections=CONNECTIONS, rate=rate, seed=seed)
    return checked(server, ran, RECORDS_A_REQUEST) | {"requests_per_second": ran.rate}


def checked(server: Server, ran: Ran, accepted_a_request: int) -> dict[str, float]:
    """The latencies of a run that went as it should: a figure of refusals would be worth nothing."""
    if set(ran.statuses) != {200}:
        raise SystemExit(f"{server.name} answered {ran.statuses}")
    if accepted_a_request and ran.accepted != ran.requests * accepted_a_request:
        raise SystemExit(f"{server.name} accepted {ran.accepted} of {ran.requests * accepted_a_request} records")
    return {
        "p50_ms": ran.percentile(0.5),
        "p99_ms": ran.percentile(0.99),
        "max_ms": ran.percentile(1),
        "requests": ran.requests,
    }
