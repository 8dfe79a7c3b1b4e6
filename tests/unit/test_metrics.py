"""What is counted, how Prometheus reads it, and that the dashboard asks for what there is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from meterhouse.core.outcome import Outcome
from meterhouse.ledger.protocol import Size
from meterhouse.server.exposition import exposition
from meterhouse.server.metrics import SECONDS, TURNS, Histogram, Metrics
from tests.unit.control_market import BUYER, LICENSE, PIPELINE, PIPELINE_LICENSE, batch, furnish, record
from tests.unit.control_server import ControlServer, served

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "meterhouse.json"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

UNITS = {"seconds", "bytes"}
"""Prometheus's own units that names here may end with."""
COUNTED = {"records", "rows", "turns"}
"""What is counted, where a gauge or histogram counts things."""


def counted() -> Metrics:
    """Counts of everything."""
    metrics = Metrics()
    for number in range(200):
        metrics.answered("BatchMeterUsage", "ok" if number % 3 else "ThrottlingException", number / 100)
        metrics.committed(number % 64 + 1, number / 1000)
    metrics.judged([Outcome.ACCEPTED] * 3 + [Outcome.REPLAYED])
    metrics.struck("throttle")
    metrics.left_out(2)
    metrics.double_billing()
    return metrics


def families() -> dict[str, Any]:
    """What a scrape gives, as the stricter of the two formats has it, ours alone."""
    text, _ = exposition(counted(), Size(10, 4, 4096), "1.2.3", OPENMETRICS)
    found = read_openmetrics(text.decode())  # type: ignore[no-untyped-call]  # the library's stricter parser has no types
    return {one.name: one for one in found if one.name.startswith("meterhouse_")}


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Each sample of a scrape."""
    text, _ = exposition(metrics, Size(10, 4, 4096), "1.2.3", "")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read_text(text.decode())
        for sample in family.samples
    }


def test_what_is_counted_is_shown() -> None:
    """Each count arrives at a scrape under its name and labels, exactly."""
    found = samples(counted())
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("meterhouse_requests_total", (("operation", "BatchMeterUsage"), ("outcome", "ok"))): 133,
        ("meterhouse_requests_total", (("operation", "BatchMeterUsage"), ("outcome", "ThrottlingException"))): 67,
        ("meterhouse_request_duration_seconds_count", (("operation", "BatchMeterUsage"),)): 200,
        ("meterhouse_request_duration_seconds_bucket", (("le", "0.5"), ("operation", "BatchMeterUsage"))): 51,
        ("meterhouse_request_duration_seconds_bucket", (("le", "+Inf"), ("operation", "BatchMeterUsage"))): 200,
        ("meterhouse_records_total", (("outcome", "accepted"),)): 3,
        ("meterhouse_records_total", (("outcome", "replayed"),)): 1,
        ("meterhouse_records_total", (("outcome", "conflicted"),)): 0,
        ("meterhouse_records_total", (("outcome", "not_subscribed"),)): 0,
        ("meterhouse_records_total", (("outcome", "unprocessed"),)): 2,
        ("meterhouse_injected_faults_total", (("fault", "throttle"),)): 1,
        ("meterhouse_group_turns_bucket", (("le", "8.0"),)): 32,
        ("meterhouse_group_turns_count", ()): 200,
        ("meterhouse_commit_duration_seconds_count", ()): 200,
        ("meterhouse_double_billing_warnings_total", ()): 1,
        ("meterhouse_ledger_records", ()): 10,
        ("meterhouse_ledger_journal_rows", ()): 4,
        ("meterhouse_ledger_size_bytes", ()): 4096,
        ("meterhouse_build_info", (("version", "1.2.3"),)): 1,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["meterhouse_commit_duration_seconds_sum", ()] == pytest.approx(sum(range(200)) / 1000)


def test_nothing_is_registered_for_the_process() -> None:
    """The library's own registry, which others in the process may use, has none of ours."""
    exposition(counted(), Size(0, 0, 0), "1.2.3", "")
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("meterhouse")]


@pytest.mark.parametrize("bounds", [SECONDS, TURNS])
def test_buckets_are_bounds_that_are_not_exceeded(bounds: tuple[float, ...]) -> None:
    """A value falls into the first bucket whose bound it does not exceed."""
    assert list(bounds) == sorted(set(bounds))
    histogram = Histogram(bounds)
    for bound in bounds:
        histogram.add(bound)
        histogram.add(bound * 1.0001)
    assert histogram.counts == [1, *[2] * (len(bounds) - 1), 1]


def objections(name: str, kind: str, text: str, labels: set[str]) -> Iterator[str]:
    """What Prometheus's conventions have against a metric; its samples' names are `name` and a suffix of its kind."""
    words = name.split("_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        yield "is not in lower case with single underscores"
    if words[0] != "meterhouse":
        yield "does not begin with what it is of"
    if words[-1] in {"total", "count", "sum", "bucket", "info", "created"}:
        yield "ends with a suffix that its kind adds"
    if set(words) & {"counter", "gauge", "histogram", "summary", "metric"}:
        yield "names its kind"
    if set(words) & {"milliseconds", "ms", "minutes", "hours", "kilobytes", "mb", "percent"}:
        yield "is not in a base unit"
    if kind in {"gauge", "histogram"} and words[-1] not in UNITS | COUNTED:
        yield "does not say in what it is measured"
    if not text.endswith(".") or len(text) < 15:
        yield "has no sentence of help"
    if labels & {"le", "quantile", "job", "instance"} - ({"le"} if kind == "histogram" else set()):
        yield "has a label that is Prometheus's own"
    if not all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in labels):
        yield "has a label that is not in lower case"


def test_names_follow_the_conventions() -> None:
    """Names, units, suffixes, labels and help of every metric are as Prometheus's conventions want them."""
    for name, family in families().items():
        labels = {label for sample in family.samples for label in sample.labels}
        assert not list(objections(name, family.type, family.documentation, labels)), name
        suffixes = {sample.name.removeprefix(name) for sample in family.samples}
        assert (
            suffixes
            <= {
                "counter": {"_total", "_created"},
                "gauge": {""},
                "info": {"_info"},
                "histogram": {"_bucket", "_sum", "_count", "_created"},
            }[family.type]
        ), name


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [
        ("meterhouse_Requests", "counter", set()),
        ("requests", "counter", set()),
        ("meterhouse_requests_total", "counter", set()),
        ("meterhouse_latency_ms", "histogram", set()),
        ("meterhouse_latency", "histogram", set()),
        ("meterhouse_size_gauge", "gauge", set()),
        ("meterhouse_requests", "counter", {"instance"}),
        ("meterhouse_requests", "counter", {"Operation"}),
    ],
)
def test_a_bad_name_is_noticed(name: str, kind: str, labels: set[str]) -> None:
    """The check above would notice a name that is off the conventions."""
    assert list(objections(name, kind, "What is wrong with this one.", labels))


# The server


async def scraped(server: ControlServer, accept: str = "") -> dict[str, Any]:
    """The families of a scrape."""
    answer = await server.ask("GET", "/_meterhouse/metrics", headers={"accept": accept})
    assert answer.status == 200
    read = read_openmetrics if "openmetrics" in answer.headers["content-type"] else read_text
    return {family.name: family for family in read(answer.body.decode())}


async def test_a_server_counts_what_it_does() -> None:
    """Requests by operation and outcome, records by outcome, groups and warnings are counted as they happen."""
    async with served() as server:
        await furnish(server)
        await batch(server, record("users", 1), record("users", 2, hours_ago=1))
        await batch(
            server, record("users", 1), record("users", 3, hours_ago=1), record("users", 1, customer="000000000001")
        )
        await batch(server, record("users", 1, license_arn=PIPELINE_LICENSE))
        await batch(server, record("users", 1, license_arn=LICENSE), product=None)
        await server.meter("BatchMeterUsage", {"ProductCode": PIPELINE, "UsageRecords": [record("none")]})
        await server.meter("NoSuchOperation", {})
        found = await scraped(server)
        requests = {tuple(one.labels.values()): one.value for one in found["meterhouse_requests"].samples}
        assert requests == {
            ("BatchMeterUsage", "ok"): 4,
            ("BatchMeterUsage", "InvalidUsageDimensionException"): 1,
            ("none", "UnknownOperationException"): 1,
        }
        records = {one.labels["outcome"]: one.value for one in found["meterhouse_records"].samples}
        assert records == {"accepted": 4, "replayed": 1, "conflicted": 1, "not_subscribed": 1, "unprocessed": 0}
        assert [one.value for one in found["meterhouse_double_billing_warnings"].samples] == [1]
        assert [one.value for one in found["meterhouse_ledger_records"].samples] == [4]
        groups = {one.name: one.value for one in found["meterhouse_group_turns"].samples}
        assert groups["meterhouse_group_turns_count"] == groups["meterhouse_group_turns_sum"] == 4


async def test_both_formats_are_spoken() -> None:
    """A scraper gets OpenMetrics if it asks for it, else Prometheus's own text; both hold the same families."""
    async with served() as server:
        plain, openmetrics = await scraped(server), await scraped(server, OPENMETRICS)
        ours = {name for name in openmetrics if name.startswith("meterhouse_")}
        assert ours <= set(plain) | {"meterhouse_build"}
        assert "process_cpu_seconds" in plain


# The dashboard


def queries() -> Iterator[str]:
    """Every query of the dashboard."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for row in dashboard["panels"] for panel in (row, *row.get("panels", ()))]
    for panel in panels:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def test_the_dashboard_asks_for_what_there_is() -> None:
    """Every metric and label in the dashboard's queries is one that the server has; and each metric is shown."""
    names: dict[str, set[str]] = {}
    for family in families().values():
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    asked: set[str] = set()
    for query in queries():
        for name, selector in re.findall(r"\b(meterhouse_\w+)(?:\{([^}]*)\})?", query):
            assert name in names, query
            asked.add(name)
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
                assert label in names[name] | {"job", "instance"}, query
        for labels in re.findall(r"by \(([^)]*)\)", query):
            known = set().union(*(names[name] for name in re.findall(r"\bmeterhouse_\w+", query)))
            assert {label.strip() for label in labels.split(",")} <= known | {"instance"}, query
    shown = {name.rsplit("_", 1)[0] if name.endswith(("_bucket", "_sum", "_count")) else name for name in asked}
    there = {name.rsplit("_", 1)[0] if name.endswith(("_bucket", "_sum", "_count")) else name for name in names}
    assert {name for name in there if not name.endswith("_created")} == shown


def test_the_dashboard_is_whole() -> None:
    """Panels have titles, ids of their own, a unit, a data source to be chosen, and none lies on another."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        cells = {(place["x"] + across, place["y"] + down) for across in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken
        assert max(across for across, _ in cells) < 24
        taken |= cells


def test_a_buyers_name_is_in_no_metric() -> None:
    """Labels are of a known, small number: no account, product or customer is one."""
    text, _ = exposition(counted(), Size(0, 0, 0), "1.2.3", "")
    assert BUYER not in text.decode()
    assert {label for family in families().values() for sample in family.samples for label in sample.labels} == {
        *("operation", "outcome", "fault", "version", "le")
    }
