"""`meterhouse call`: the client from a shell, against a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.market import BUYER, CATALOG, KEYS, LEGACY, STRANGER, TOKEN, now_seconds
from tests.e2e.serving import Server, run_meterhouse

GOOD: Final = {"Timestamp": now_seconds(), "Dimension": "users", "CustomerAWSAccountId": BUYER, "Quantity": 7}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the market of the tests."""
    with Server(tmp_path_factory.mktemp("served"), catalog=CATALOG) as server:
        yield server


def call(server: Server, folder: Path, verb: str, said: Any, *flags: str) -> tuple[int, str, str]:
    """A call's exit code, output and error output."""
    environment = {
        "AWS_ENDPOINT_URL_MARKETPLACE_METERING": server.url,
        "AWS_ACCESS_KEY_ID": KEYS.access_key_id,
        "AWS_SECRET_ACCESS_KEY": KEYS.secret_access_key,
        "AWS_REGION": "us-east-1",
    }
    text = said if isinstance(said, str) else json.dumps(said)
    done = run_meterhouse("call", verb, "--cli-input-json", text, *flags, folder=folder, environment=environment)
    return done.returncode, done.stdout, done.stderr


def test_each_record_is_told_by_its_group(server: Server, tmp_path: Path) -> None:
    """What was accepted and what was not are told apart, and the exit code says that not all was."""
    records = [
        {"Timestamp": now_seconds(), "Dimension": "users", "CustomerAWSAccountId": account, "Quantity": 7}
        for account in (BUYER, STRANGER)
    ]
    said = {"ProductCode": LEGACY, "UsageRecords": records}
    exit_code, printed, sentence = call(server, tmp_path, "batch-meter-usage", said)
    groups = json.loads(printed)
    assert [one["customer_aws_account_id"] for one in groups["accepted"]] == [BUYER]
    assert [one["customer_aws_account_id"] for one in groups["not_subscribed"]] == [STRANGER]
    assert (exit_code, sentence) == (
        1,
        "meterhouse: not every record was accepted: see what is printed for each.\n",
    )
    (tmp_path / "again.json").write_text(json.dumps(said | {"UsageRecords": records[:1]}))
    exit_code, printed, _ = call(server, tmp_path, "batch-meter-usage", "file://again.json")
    assert (exit_code, len(json.loads(printed)["accepted"])) == (0, 1)  # the same id: to a new client, no replay


def test_the_services_own_answer(server: Server, tmp_path: Path) -> None:
    """Other operations, and one batch as it is, print what the service answered."""
    exit_code, printed, _ = call(server, tmp_path, "resolve-customer", {"RegistrationToken": TOKEN})
    assert (exit_code, json.loads(printed)["ProductCode"]) == (0, LEGACY)
    exit_code, printed, _ = call(server, tmp_path, "batch-meter-usage", {"UsageRecords": []}, "--once")
    assert (exit_code, json.loads(printed)) == (0, {"Results": [], "UnprocessedRecords": []})


@pytest.mark.parametrize(
    ("verb", "said", "exit_code", "sentence"),
    [
        ("resolve-customer", {"RegistrationToken": "none"}, 1, "InvalidTokenException"),
        ("resolve-customers", {}, 2, "'resolve-customers' is no operation: batch-meter-usage, meter-usage,"),
        ("resolve-customer", "[]", 2, "the input is no JSON object"),
        ("batch-meter-usage", {"ProductCode": LEGACY}, 2, "UsageRecords must be given, a list"),
        ("batch-meter-usage", {"UsageRecords": {}}, 2, "UsageRecords must be given, a list"),
        ("batch-meter-usage", {"UsageRecord": []}, 2, "UsageRecord is no member; known are UsageRecords, ProductCode"),
        ("batch-meter-usage", {"UsageRecords": [{"Quantitiy": 5}]}, 2, "UsageRecords.1.Quantitiy is no member"),
        ("batch-meter-usage", {"UsageRecords": [{"Quantitiy": 5}]}, 2, "known are Timestamp, Dimension,"),
        ("batch-meter-usage", {"UsageRecords": [GOOD, GOOD | {"Quantity": -1}]}, 2, "usageRecords.2.member.quantity"),
        ("meter-usage", {"UsageQuantities": 5}, 2, "UsageQuantities is no member"),
        ("resolve-customer", "file://none.json", 2, "--cli-input-json: none.json cannot be read"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    server: Server, tmp_path: Path, verb: str, said: Any, exit_code: int, sentence: str
) -> None:
    """A refusal is exit code 1, bad input 2; each is one sentence and prints nothing."""
    found = call(server, tmp_path, verb, said)
    assert (found[0], found[1]) == (exit_code, "")
    assert sentence in found[2]
    assert found[2].count("\n") == 1
