"""OpenTelemetry spans, where somebody has set a provider; and what the client imports, which is little."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace

from meterhouse.client import tracing
from meterhouse.client.doubles import RecordedTransport, answer, error_answer
from meterhouse.client.errors import InvalidTokenException
from tests.unit.client_ways import by_tasks, by_threads


class _Span:
    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        self.name = name
        self.attributes = dict(attributes)

    def set_attribute(self, name: str, value: Any) -> None:
        self.attributes[name] = value


class _Tracer:
    """Notes spans as a provider would."""

    def __init__(self) -> None:
        self.spans: list[_Span] = []

    @contextmanager
    def start_as_current_span(self, name: str, *, kind: Any, attributes: dict[str, Any], **_: Any) -> Iterator[_Span]:
        assert kind is trace.SpanKind.CLIENT
        self.spans.append(_Span(name, attributes))
        yield self.spans[-1]


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> _Tracer:
    """The tracer that every library is given."""
    made = _Tracer()
    monkeypatch.setattr(trace, "get_tracer", lambda *_: made)
    return made


@pytest.mark.parametrize("way", [by_threads, by_tasks])
def test_a_call_is_a_span(tracer: _Tracer, way: Any) -> None:
    """One span a call, named after the operation; an error leaves its name, status and request id there."""
    calls = way(RecordedTransport([answer({"ProductCode": "p"}), error_answer("InvalidTokenException")]))
    calls.resolve_customer("t")
    with pytest.raises(InvalidTokenException):
        calls.resolve_customer("t")
    well, ill = tracer.spans
    assert well.name == "Marketplace Metering.ResolveCustomer"
    assert well.attributes == {
        "rpc.system": "aws-api",
        "rpc.service": "Marketplace Metering",
        "rpc.method": "ResolveCustomer",
        "cloud.region": "us-east-1",
        "server.address": "metering.test",
    }
    assert ill.attributes == {
        **well.attributes,
        "error.type": "InvalidTokenException",
        "http.response.status_code": 400,
        "aws.request_id": "recorded",
    }


def test_without_opentelemetry_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has imported it, nobody can have asked for spans: nothing is made, and nothing imported."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert tracing.span("MeterUsage", "us-east-1", "x") is tracing._NOTHING


def _imported_by(script: str) -> set[str]:
    program = f"{script}\nimport sys\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ended.stdout.split()}


CALL = """
from meterhouse import Credentials, MeteringClient, RecordedTransport, UsageRecord
from meterhouse.client.doubles import answer
from datetime import UTC, datetime
client = MeteringClient(region="us-east-1", credentials=Credentials("a", "s"), transport=RecordedTransport([
    answer({"Results": [], "UnprocessedRecords": []})]))
client.batch_meter_usage_once([])
"""


NEEDLESS = {
    *("apsw", "asyncio", "botocore", "cryptography", "jinja2", "jwt", "opentelemetry", "pathlib", "prometheus_client"),
    *("pyreqwest", "random", "rich", "ssl", "starlette", "structlog", "uvicorn", "uvloop"),
}
"""What only the server, or only other calls, need."""


def test_a_client_imports_nothing_of_the_server() -> None:
    """Whoever calls the service does not load what serves it, nor what only other calls need."""
    loaded = _imported_by("import meterhouse; meterhouse.MeteringClient")
    assert not loaded & NEEDLESS
    ours = _imported_by(f"{CALL}\nimport sys\nprint(*[name.replace('meterhouse.', '') for name in sys.modules])")
    assert not ours & {"server", "service", "ledger", "recorder", "reports"}
