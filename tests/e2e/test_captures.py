"""What six real clients put on the wire, byte for byte, to a running server whose clock stands at their date.

Signatures at their own date are the unit tests' part: here every request is a stranger's bytes on a socket, and must be
answered as the contract says, whatever its client. All of them go to one server, client by client in the order of their
capture, so the first to name an hour's usage wins it: other quantities conflict, and are expected to.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.e2e.control import ask
from tests.e2e.raw import RawAnswer, exchange
from tests.e2e.serving import Server

CAPTURES: Final = Path(__file__).parent.parent / "vectors" / "captures"
CLIENTS: Final = sorted(path.stem for path in CAPTURES.glob("*.json"))

PRODUCT: Final = "prod-0123456789abcdefghij"
CUSTOMER: Final = "ifAPi5AcF3"
ACCOUNT: Final = "123456789012"
LICENSE: Final = f"arn:aws:license-manager::{ACCOUNT}:license:l-0123456789abcdef0123456789abcdef"
STRANGE: Final = 'ünïcødé 日本語 😀 \u2028 "quote" \\ / </script> \t\x7f'
TOKENS: Final = ("v1.EXAMPLE-registration-token/+==", STRANGE, "t/+=" * 500)


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


TOKEN_TABLES: Final = "\n".join(
    f'[[registration_tokens]]\ntoken = {_toml(token)}\nagreement = "agmt-captured"\nissued = 2026-11-21T00:00:00Z'
    for token in TOKENS
)
CATALOG: Final = f"""
[[products]]
code = "{PRODUCT}"
name = "Captured"
seller = "{ACCOUNT}"
type = "saas"
[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.25"

[[agreements]]
id = "agmt-captured"
product = "{PRODUCT}"
buyer = "{ACCOUNT}"
customer_identifier = "{CUSTOMER}"
license_arn = "{LICENSE}"
start = 2026-01-01T00:00:00Z

{TOKEN_TABLES}

[open]
account = "{ACCOUNT}"
[open.workload]
platform = "ecs"
resource_id = "task/captured"
region = "us-east-1"
launched = 2026-11-20T00:00:00Z
"""

RESOLVED: Final = {
    "CustomerIdentifier": CUSTOMER,
    "ProductCode": PRODUCT,
    "CustomerAWSAccountId": ACCOUNT,
    "LicenseArn": LICENSE,
    "Metadata": {"AgreementId": "agmt-captured"},
}
SUCCESS, CONFLICT = "Success", "DuplicateRecord"
VALIDATION: Final = "ValidationException"
OTHER_QUANTITY: Final = "DuplicateRequestException"
METERED: Final = frozenset({"MeteringRecordId"})
REGISTERED: Final = frozenset({"Signature"})

Expected = Sequence[str] | Mapping[str, Any] | str | frozenset[str]
"""A batch's statuses, an answer, an error's name, or the members that an answer has."""

EXPECTED: Final[dict[str, Expected]] = {
    "resolve": RESOLVED,
    "resolve-long": RESOLVED,
    "resolve-session-token": RESOLVED,
    "resolve-unicode": RESOLVED,
    "batch": [SUCCESS],
    "batch-no-quantity": [CONFLICT],
    "batch-quantity-0": [CONFLICT],
    "batch-quantity-max": [CONFLICT],
    # A record a minute, backwards from the hour: the first is the hour's that is taken, the second begins another.
    "batch-25": [CONFLICT, SUCCESS, *[CONFLICT] * 23],
    "batch-26": VALIDATION,
    "batch-time-millis": [SUCCESS, SUCCESS],
    "batch-time-micros": [SUCCESS],
    "batch-empty-list": [],
    "batch-empty-strings": VALIDATION,
    "batch-unicode": VALIDATION,
    "batch-session-token": [SUCCESS],
    "batch-retry-503": [SUCCESS],
    "batch-alloc": [CONFLICT],
    "batch-alloc-no-tags": [SUCCESS],
    "batch-alloc-empty": "InvalidUsageAllocationsException",
    "batch-alloc-empty-tags": "InvalidTagException",
    "batch-alloc-unicode": "InvalidTagException",
    "batch-license": [SUCCESS],
    "batch-account": [SUCCESS],
    "meter": METERED,
    "meter-alloc": OTHER_QUANTITY,
    "meter-client-token": METERED,
    "meter-dry-run": METERED,
    "meter-dry-run-false": METERED,
    "meter-no-quantity": OTHER_QUANTITY,
    "meter-quantity-0": OTHER_QUANTITY,
    "meter-retry-500": METERED,
    "meter-retry-throttled": METERED,
    "meter-session-token": METERED,
    "meter-time-millis": METERED,
    "meter-unicode": VALIDATION,
    "register": REGISTERED,
    "register-empty-nonce": REGISTERED,
    "register-nonce": REGISTERED,
    "register-session-token": REGISTERED,
}
CUT: Final = {"batch-big"}
"""Cases whose body was too large to be captured whole."""


class Captured(NamedTuple):
    """A request as its client sent it."""

    case: str
    sent: bytes
    said: dict[str, Any]
    clock: str
    """When it was signed."""


def captured(client: str) -> list[Captured]:
    """A client's requests, in the order of their capture."""
    found = []
    for case in json.loads((CAPTURES / f"{client}.json").read_text())["cases"]:
        for one in case.get("requests", ()):
            if "body_text" not in one or one["body_text"] is None:
                assert case["case"] in CUT
                continue
            head = [one["request_line"], *(f"{name}: {value}" for name, value in one["headers"])]
            body = one["body_text"].encode()
            clock = re.sub(r"(....)(..)(..T..)(..)(..)", r"\1-\2-\3:\4:\5", one["sigv4"]["amz_date"])
            sent = "\r\n".join([*head, "", ""]).encode() + body
            found.append(Captured(case["case"], sent, json.loads(body), clock))
    return found


Answers = Sequence[tuple[Captured, RawAnswer]]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Answers]:
    """All that each client sent, and what it was answered."""
    folder = tmp_path_factory.mktemp("captures")
    found: dict[str, list[tuple[Captured, RawAnswer]]] = {}
    with Server(folder, "--auth", "open", "--clock", "test", catalog=CATALOG) as server:
        clock = ""
        for client in CLIENTS:
            for one in captured(client):
                if one.clock != clock:
                    ask(server.port, "PUT", "/clock", {"now": one.clock})
                    clock = one.clock
                found.setdefault(client, []).append((one, exchange(server.port, one.sent)))
    return found


@pytest.fixture(params=CLIENTS)
def answers(request: pytest.FixtureRequest, heard: Mapping[str, Answers]) -> Answers:
    """What one client sent, and was answered."""
    return heard[request.param]


def test_each_request_is_answered_as_the_contract_says(answers: Answers) -> None:
    """Status and code are what the case is about; every answer has the form that clients read."""
    assert answers
    for one, answer in answers:
        expected, said = EXPECTED[one.case], answer.said()
        assert answer.headers["content-type"] == "application/x-amz-json-1.1"
        assert answer.headers["x-amzn-requestid"]
        if isinstance(expected, str):
            assert (answer.status, said["__type"]) == (400, expected), one.case
        elif isinstance(expected, Mapping):
            assert (answer.status, said) == (200, expected), one.case
        elif isinstance(expected, frozenset):
            assert (answer.status, frozenset(said)) == (200, expected), one.case
        else:
            assert answer.status == 200, (one.case, said)
            results = said["Results"]
            assert isinstance(results, list)
            assert [result["Status"] for result in results] == expected, one.case
            assert said["UnprocessedRecords"] == []


def test_results_echo_what_was_said(answers: Answers) -> None:
    """A result carries its record as the client said it; only a time in ISO-8601 comes back in seconds."""
    for one, answer in answers:
        if isinstance(EXPECTED[one.case], list):
            results = answer.said()["Results"]
            assert isinstance(results, list)
            echoed = [result["UsageRecord"] for result in results]
            assert echoed == [{**record, "Timestamp": _seconds(record["Timestamp"])} for record in _said_records(one)]


def test_the_same_usage_has_the_same_id(answers: Answers) -> None:
    """Whatever form its client gave a record's time and name, one hour's usage is one record; a license has its own."""
    ids: dict[tuple[str, int], set[str]] = {}
    for one, answer in answers:
        if isinstance(EXPECTED[one.case], list):
            results = answer.said()["Results"]
            assert isinstance(results, list)
            for result in results:
                if result["Status"] == SUCCESS:
                    record = result["UsageRecord"]
                    key = record.get("LicenseArn", ""), record["Timestamp"] // 3600
                    ids.setdefault(key, set()).add(result["MeteringRecordId"])
                else:
                    assert "MeteringRecordId" not in result
    assert len(ids) >= 2
    assert all(len(found) == 1 for found in ids.values())


def test_a_workloads_usage_has_the_same_id(heard: Mapping[str, Answers]) -> None:
    """One hour's usage is one record, from whichever client it came; a DryRun's id is nobody else's."""
    ids = [
        (one.said.get("DryRun", False), answer.said()["MeteringRecordId"])
        for answers in heard.values()
        for one, answer in answers
        if EXPECTED[one.case] is METERED
    ]
    kept, tried = ({found for dry_run, found in ids if dry_run is wanted} for wanted in (False, True))
    assert len(kept) == 1
    assert len(tried) == sum(dry_run for dry_run, _ in ids) > 1
    assert not kept & tried


def test_a_registration_says_what_was_asked(heard: Mapping[str, Answers]) -> None:
    """The JWT has the product, the version, and the nonce of its request where one was sent."""
    for answers in heard.values():
        for one, answer in answers:
            if EXPECTED[one.case] is REGISTERED:
                signature = answer.said()["Signature"]
                assert isinstance(signature, str)
                claims = json.loads(urlsafe_b64decode(signature.split(".")[1] + "=="))
                del claims["iat"]
                said = {"nonce": one.said["Nonce"]} if "Nonce" in one.said else {}
                assert claims == {"productCode": PRODUCT, "publicKeyVersion": 1, **said}


def _said_records(one: Captured) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = one.said["UsageRecords"]
    return records


def _seconds(timestamp: float | str) -> float:
    return datetime.fromisoformat(timestamp).timestamp() if isinstance(timestamp, str) else timestamp


def test_every_capture_is_expected_to_be_something() -> None:
    """No case is left out, and none is expected that no client sent."""
    assert {one.case for client in CLIENTS for one in captured(client)} == set(EXPECTED)
