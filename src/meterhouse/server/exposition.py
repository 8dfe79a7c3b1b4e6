"""What Prometheus reads: the counts of `metrics.py` in the library's own types, made anew at each scrape.

The registry is our own and lives for one scrape, so nothing is registered for the whole process.

Names follow Prometheus's conventions: the prefix, the unit in its base form, `_total` for what only grows. A test holds
them to that, and the dashboard (`deploy/grafana/meterhouse.json`) to the names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from meterhouse.ledger.protocol import Size
from meterhouse.server.metrics import Histogram, Metrics


def exposition(metrics: Metrics, size: Size, version: str, accept: str) -> tuple[bytes, str]:
    """What a scrape is answered: the text, and its content type, in the form that the scraper accepts."""
    registry = CollectorRegistry()
    registry.register(_Families([*_counts(metrics), *_sizes(size), _build(version)]))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Families(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def _counts(metrics: Metrics) -> Iterator[Metric]:
    yield _counter(
        "meterhouse_requests",
        "Requests, by operation and by the name of the fault that they were refused with (ok: accepted).",
        ("operation", "outcome"),
        metrics.requests.items(),
    )
    yield _histogram(
        "meterhouse_request_duration_seconds",
        "From the last byte of a request to its answer.",
        ("operation",),
        {(operation,): histogram for operation, histogram in metrics.request_seconds.items()},
    )
    yield _counter(
        "meterhouse_records",
        "Usage records of accepted BatchMeterUsage requests, by what became of them.",
        ("outcome",),
        (((outcome.replace(" ", "_"),), count) for outcome, count in metrics.records.items()),
    )
    yield _counter(
        "meterhouse_injected_faults",
        "Calls struck by an injected fault, by its name.",
        ("fault",),
        (((fault,), count) for fault, count in metrics.faults.items()),
    )
    yield _histogram("meterhouse_group_turns", "Turns that were committed together.", (), {(): metrics.group_turns})
    yield _histogram(
        "meterhouse_commit_duration_seconds",
        "How long a group of turns took to be judged, committed and synced.",
        (),
        {(): metrics.commit_seconds},
    )
    yield _counter(
        "meterhouse_double_billing_warnings",
        "Usage kept both under a product code and under a license, which AWS would bill twice.",
        (),
        [((), metrics.double_billings)],
    )


def _sizes(size: Size) -> Iterator[Metric]:
    yield GaugeMetricFamily("meterhouse_ledger_records", "Usage records that are kept.", size.records)
    yield GaugeMetricFamily("meterhouse_ledger_journal_rows", "Rows of the journal.", size.journal_rows)
    yield GaugeMetricFamily("meterhouse_ledger_size_bytes", "What the ledger takes on disk.", size.bytes_on_disk)


def _build(version: str) -> Metric:
    return InfoMetricFamily("meterhouse_build", "Which Meterhouse this is.", {"version": version})


def _counter(name: str, says: str, labels: Sequence[str], counts: Iterable[tuple[tuple[str, ...], int]]) -> Metric:
    family = CounterMetricFamily(name, says, labels=labels)
    for values, count in sorted(counts):
        family.add_metric(values, count)
    return family


def _histogram(name: str, says: str, labels: Sequence[str], histograms: Mapping[tuple[str, ...], Histogram]) -> Metric:
    family = HistogramMetricFamily(name, says, labels=labels)
    for values, histogram in sorted(histograms.items()):
        family.add_metric(values, _buckets(histogram), histogram.total)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """As Prometheus wants them: each bound with how many values do not exceed it."""
    found: list[tuple[str, float]] = []
    running = 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        running += count
        found.append((bound, running))
    return found
