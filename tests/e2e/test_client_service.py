"""Our own client against a running server, over a real socket: every row of the strangers' table, and batches at large.

What software at the buyer says, and every error of every operation, is in `test_client_errors_arrive.py`.
"""

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from meterhouse.client.asyncio_transport import AsyncSocketTransport
from meterhouse.client.client import AsyncMeteringClient, MeteringClient
from meterhouse.client.doubles import ManualClock
from meterhouse.client.errors import ConnectionLostError, ServiceError
from meterhouse.client.outcomes import Accepted, BatchResult, Conflicted, NotSubscribed, Refused, Replayed
from meterhouse.client.records import RecordStatus, UsageAllocation, UsageRecord
from meterhouse.client.settings import ClientOptions
from meterhouse.client.socket_transport import SocketTransport
from meterhouse.client.transport import Address, HttpAnswer, HttpRequest
from tests.e2e.calls import NOW, ROWS, SERVED, SUCCESS, Row
from tests.e2e.calls import Refused as RefusedRow
from tests.e2e.market import BUYER, CATALOG, CUSTOMER, FORMER_BUYER, KEYS, LEGACY, LICENSE, SELLER, TOKEN, license_arn
from tests.e2e.serving import Server

Outcomes = Mapping[str, dict[str, Any]]

REGIONS: Final = [option for region in SERVED for option in ("--region", region)]


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


def _changed(request: HttpRequest, headers: Mapping[str, str | None]) -> HttpRequest:
    """The request with headers set after it was signed; None takes one away."""
    gone = {name.lower().encode() for name in headers}
    kept = [(name, value) for name, value in request.headers if name.lower() not in gone]
    kept += [(name.encode(), value.encode()) for name, value in headers.items() if value is not None]
    return HttpRequest(request.address, kept, request.body)


class _Changing(SocketTransport):
    headers: Mapping[str, str | None] = {}

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        return super().send(_changed(request, self.headers), timeout_seconds)


class _AsyncChanging(AsyncSocketTransport):
    headers: Mapping[str, str | None] = {}

    async def send_async(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        return await super().send_async(_changed(request, self.headers), timeout_seconds)


def _settings(row: Row, url: str) -> dict[str, Any]:
    return {"region": row.region, "endpoint_url": url, "credentials": row.keys}


def _by_threads(url: str) -> Outcomes:
    outcomes: dict[str, dict[str, Any]] = {}
    transport = _Changing()
    for row in ROWS:
        transport.headers = row.headers
        try:
            outcomes[row.name] = MeteringClient(transport=transport, **_settings(row, url)).call(
                row.operation, row.request
            )
        except ServiceError as error:
            outcomes[row.name] = {"error": error}
    transport.close()
    return outcomes


def _by_tasks(url: str) -> Outcomes:
    async def all_rows() -> Outcomes:
        outcomes: dict[str, dict[str, Any]] = {}
        transport = _AsyncChanging()
        for row in ROWS:
            transport.headers = row.headers
            client = AsyncMeteringClient(transport=transport, **_settings(row, url))
            try:
                outcomes[row.name] = await client.call(row.operation, row.request)
            except ServiceError as error:
                outcomes[row.name] = {"error": error}
        await transport.close_async()
        return outcomes

    return asyncio.run(all_rows())


@pytest.fixture(scope="module", params=[_by_threads, _by_tasks], ids=["threads", "tasks"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of every row."""
    with Server(tmp_path_factory.mktemp("rows"), *REGIONS, catalog=CATALOG) as server:
        outcomes: Outcomes = request.param(server.url)
        return outcomes


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_call_ends_as_the_contract_says(found: Outcomes, row: Row) -> None:
    """Every answer arrives member for member, and every error as its class, with code, status and request id."""
    outcome = found[row.name]
    match row.expected:
        case RefusedRow():
            error = outcome["error"]
            means_credentials = row.expected.code == "ExpiredTokenException" and "token" not in row.name
            expected = "ExpiredCredentialsException" if means_credentials else row.expected.code
            assert type(error).__name__ == expected
            assert (error.code, error.status) == (row.expected.code, row.expected.status)
            assert error.request_id
            assert error.message
        case Mapping():
            assert outcome == row.expected
        case _:
            assert [result["Status"] for result in outcome["Results"]] == row.expected
            assert outcome["UnprocessedRecords"] == []
            assert [result["UsageRecord"] for result in outcome["Results"]] == [
                dict(record) for record in row.request["UsageRecords"]
            ]
            if row.as_in and SUCCESS in row.expected:
                ids = [result.get("MeteringRecordId") for result in outcome["Results"]]
                assert ids == [result.get("MeteringRecordId") for result in found[row.as_in]["Results"]]


# --- in Python's manner -----------------------------------------------------------------------------------------------

_LAST_HOUR: Final = datetime.fromtimestamp(NOW, UTC) - timedelta(minutes=30)


def _used(**more: Any) -> UsageRecord:
    usual: dict[str, Any] = {"timestamp": _LAST_HOUR, "dimension": "users", "quantity": 5}
    if "customer_identifier" not in more:
        usual["customer_aws_account_id"] = BUYER
    return UsageRecord(**{**usual, **more})


def test_a_day_of_a_seller(tmp_path: Path) -> None:
    """A customer registers, is metered, metered again and corrected; a former one is not; nothing is lost."""
    with (
        Server(tmp_path, catalog=CATALOG) as server,
        MeteringClient(region="us-east-1", endpoint_url=server.url, credentials=KEYS) as client,
    ):
        buyer = client.resolve_customer(TOKEN)
        assert (buyer.product_code, buyer.customer_aws_account_id, buyer.customer_identifier) == (
            LEGACY,
            BUYER,
            CUSTOMER,
        )
        assert (buyer.license_arn, buyer.agreement_id) == (license_arn(1), "agmt-legacy")
        records = [
            _used(),
            _used(quantity=6),
            _used(customer_identifier=CUSTOMER),
            _used(customer_aws_account_id=FORMER_BUYER),
            _used(dimension="seats"),
            _used(dimension="storage", quantity=3, allocations=[UsageAllocation(1, {"team": "a"}), UsageAllocation(2)]),
            _used(timestamp=_LAST_HOUR - timedelta(days=2)),
        ]
        result = client.batch_meter_usage(records, product_code=LEGACY)
        kinds = [type(outcome) for outcome in result]
        assert kinds == [Accepted, Conflicted, Replayed, NotSubscribed, Refused, Accepted, Refused]
        assert [outcome.reason.code for outcome in result.refused] == [
            "InvalidUsageDimensionException",
            "TimestampOutOfBoundsException",
        ]
        again = client.batch_meter_usage_once(records[:2], product_code=LEGACY)
        assert [one.status for one in again.results] == [RecordStatus.SUCCESS, RecordStatus.DUPLICATE_RECORD]
        assert again.results[0].metering_record_id == result.accepted[0].metering_record_id
        licensed = client.batch_meter_usage([_used(license_arn=LICENSE)])
        licensed.raise_for_rejected()
        assert len(licensed.accepted) == 1


# --- at large ---------------------------------------------------------------------------------------------------------

_BUYERS: Final = 1250
_HOURS: Final = (0, 1, 2, 3)


def _large_catalog() -> str:
    agreements = [
        f'[[agreements]]\nproduct = "{LEGACY}"\nbuyer = "{555500000000 + number}"\nstart = 2024-01-01T00:00:00Z\n'
        for number in range(_BUYERS)
    ]
    return "\n".join([CATALOG, *agreements])


def _many() -> list[UsageRecord]:
    return [
        UsageRecord(
            timestamp=_LAST_HOUR - timedelta(hours=hour),
            dimension=dimension,
            quantity=number,
            customer_aws_account_id=f"{555500000000 + number}",
        )
        for number in range(_BUYERS)
        for hour in _HOURS
        for dimension in ("users", "storage")
    ]


BAD: Final[Sequence[tuple[str, dict[str, Any]]]] = [
    ("InvalidUsageDimensionException", {"dimension": "seats"}),
    ("TimestampOutOfBoundsException", {"timestamp": _LAST_HOUR - timedelta(days=1)}),
    ("TimestampOutOfBoundsException", {"timestamp": _LAST_HOUR + timedelta(days=1)}),
    ("InvalidCustomerIdentifierException", {"customer_aws_account_id": None, "customer_identifier": "X99"}),
    ("InvalidLicenseException", {"license_arn": license_arn(99, SELLER)}),
    ("InvalidRequestError", {"quantity": -1}),
    ("InvalidRequestError", {"allocations": (UsageAllocation(1, {"aws:team": "a"}),), "quantity": 1}),
    ("InvalidRequestError", {"allocations": (UsageAllocation(1),), "quantity": 2}),
]
"""What is wrong, and how the record is."""


def _with_changes(record: UsageRecord, changes: Mapping[str, Any]) -> UsageRecord:
    return UsageRecord(**{**{name: getattr(record, name) for name in record.__struct_fields__}, **changes})


class _Counting(SocketTransport):
    """Counts requests, and, where asked, keeps what a refusal says to itself, as AWS may."""

    def __init__(self, *, says_why: bool) -> None:
        super().__init__()
        self._says_why = says_why
        self.count = 0

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        self.count += 1
        answer = super().send(request, timeout_seconds)
        if answer.status == 200 or self._says_why:
            return answer
        return HttpAnswer(
            answer.status, answer.headers, b'{"__type":"%b"}' % answer.headers["x-amzn-errortype"].encode()
        )


@pytest.mark.parametrize(("says_why", "most"), [(True, 480), (False, 800)])
def test_37_bad_records_among_10_000(tmp_path: Path, says_why: bool, most: int) -> None:
    """Of the real service too: 9,963 are accepted, 37 refused for what each of them is, in few enough calls."""
    records = _many()
    bad = {131 + 263 * number: BAD[number % len(BAD)] for number in range(37)}
    for place, (_, changes) in bad.items():
        records[place] = _with_changes(records[place], changes)
    transport = _Counting(says_why=says_why)
    with (
        Server(tmp_path, catalog=_large_catalog()) as server,
        MeteringClient(
            region="us-east-1",
            endpoint_url=server.url,
            credentials=KEYS,
            options=ClientOptions(concurrency=2),
            transport=transport,
            clock=ManualClock(NOW * 1_000_000),
        ) as client,
    ):
        result = client.batch_meter_usage(records, product_code=LEGACY)
    assert (len(result.accepted), len(result.refused), len(result)) == (9963, 37, 10_000)
    found = {place: outcome.reason.code for place, outcome in enumerate(result) if isinstance(outcome, Refused)}
    assert found == {place: code for place, (code, _) in bad.items()}
    assert transport.count <= most


def test_a_server_that_dies_midway_bills_nothing_twice(tmp_path: Path) -> None:
    """Killed between two halves of a day's records and started again, the server has each record once."""
    records = _many()[:2000]
    options = ClientOptions(requests_per_second=None, resend_rounds=0, max_attempts=1)
    results: list[BatchResult] = []
    with Server(tmp_path, catalog=_large_catalog()) as server:
        for half in (records[:1000], records):
            client = MeteringClient(region="us-east-1", endpoint_url=server.url, credentials=KEYS, options=options)
            results.append(client.batch_meter_usage(half, product_code=LEGACY))
            client.close()
            server.kill()
            server.start()
    first, second = results
    first.raise_for_rejected()
    second.raise_for_rejected()
    ids = [outcome.metering_record_id for outcome in first.accepted]
    assert [outcome.metering_record_id for outcome in second.accepted][:1000] == ids
    assert len({outcome.metering_record_id for outcome in second.accepted}) == 2000


class _Killing(SocketTransport):
    """Kills the server, and starts it again, after it has taken certain requests whose answers nobody hears."""

    def __init__(self, server: Server, *numbers: int) -> None:
        super().__init__()
        self._server = server
        self._numbers = numbers
        self._lock = threading.Lock()
        self.count = 0

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        with self._lock:
            self.count += 1
            is_struck = self.count in self._numbers
        # A server that was started again is at another port.
        moved = msgspec.structs.replace(request, address=Address("http", "127.0.0.1", self._server.port))
        answer = super().send(moved, timeout_seconds)
        if is_struck:
            self._server.kill()
            self._server.start()
            raise ConnectionLostError("the server was killed")
        return answer


def test_a_server_that_dies_within_a_call_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Of 10,000 records, sent by four threads to a server that is killed twice, each is accepted, and kept once."""
    records = _many()
    with Server(tmp_path, "--auth", "open", catalog=_large_catalog()) as server:
        transport = _Killing(server, 60, 250)
        options = ClientOptions(requests_per_second=None)
        settings: dict[str, Any] = {"region": "us-east-1", "endpoint_url": server.url, "credentials": KEYS}
        with MeteringClient(transport=transport, options=options, **settings) as client:
            result = client.batch_meter_usage(records, product_code=LEGACY)
            result.raise_for_rejected()
            ids = [outcome.metering_record_id for outcome in result.accepted]
            assert len(set(ids)) == len(records) == 10_000
            assert transport.count > 400
            again = client.batch_meter_usage(records, product_code=LEGACY)
            assert [outcome.metering_record_id for outcome in again.accepted] == ids
