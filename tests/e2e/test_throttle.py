"""Throttling, seen by boto3 with its retries off: the call too many is refused, and only that (contract §9)."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.e2e.control import ask
from tests.e2e.serving import Server, run_meterhouse
from tests.e2e.workloads import ADMIN, CATALOG, OTHER_BUYER, Callers, metering, registering

SLOW: Final = """
[MeterUsage]
per_second = 0.001
burst = 3
"""


def outcome(client: Any, one: dict[str, Any]) -> str:
    """`ok`, or the class by which the error is caught."""
    try:
        getattr(client, one["method"])(**one["request"])
    except ClientError as refused:
        return type(refused).__name__
    return "ok"


def test_the_eleventh_call_of_a_second_is_refused(tmp_path: Path) -> None:
    """`--throttle aws`: ten MeterUsage come through at once, and then not all; each refusal is `Rate exceeded`."""
    with Server(tmp_path, "--throttle", "aws", catalog=CATALOG, environment=ADMIN) as server, Callers(server) as caller:
        client, one = caller(), metering()
        outcomes = [outcome(client, one) for _ in range(40)]
        assert outcomes[:10] == ["ok"] * 10
        assert "ThrottlingException" in outcomes
        throttled = [line for line in server.logged() if line.get("fault") == "ThrottlingException"]
        assert len(throttled) == outcomes.count("ThrottlingException")
        assert all(line["reason"] == "Rate exceeded" for line in throttled)


def test_buckets_are_one_each_for_account_region_and_operation(tmp_path: Path) -> None:
    """A bucket that fills in hours: what is left of it is exact, and others' are full. The test clock moves none."""
    rates = tmp_path / "rates.toml"
    rates.write_text(SLOW)
    options = ("--throttle", str(rates), "--clock", "test")
    with Server(tmp_path, *options, catalog=CATALOG, environment=ADMIN) as server, Callers(server) as caller:
        client, one = caller(), metering()
        assert [outcome(client, one) for _ in range(5)] == ["ok"] * 3 + ["ThrottlingException"] * 2
        same_account = caller()
        assert outcome(same_account, one) == "ThrottlingException"
        assert Counter(outcome(client, registering()) for _ in range(9)) == {"ok": 9}
        europe, other = caller(region="eu-west-1"), caller(account=OTHER_BUYER)
        assert [outcome(europe, one) for _ in range(4)] == ["ok"] * 3 + ["ThrottlingException"]
        assert [outcome(other, one) for _ in range(4)] == ["CustomerNotEntitledException"] * 3 + ["ThrottlingException"]
        ask(server.port, "PUT", "/clock", {"advance_seconds": 86_400})
        assert outcome(client, one) == "ThrottlingException"


def test_without_the_flag_nothing_is_throttled(tmp_path: Path) -> None:
    """Off by default."""
    with Server(tmp_path, catalog=CATALOG, environment=ADMIN) as server, Callers(server) as caller:
        client, one = caller(), metering()
        assert {outcome(client, one) for _ in range(40)} == {"ok"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[MeterUsage]\nper_second = 0\n", "[MeterUsage]"),
        ("[MeterUsages]\nper_second = 1\n", "[MeterUsages] is no operation"),
        ("nonsense", "is not TOML"),
        (None, "nor a TOML file that is there"),
    ],
)
def test_a_wrong_file_refuses_the_start(tmp_path: Path, text: str | None, reason: str) -> None:
    """One sentence, exit code 2."""
    if text is not None:
        (tmp_path / "rates.toml").write_text(text)
    ended = run_meterhouse("serve", "--port", "0", "--throttle", "rates.toml", folder=tmp_path)
    assert ended.returncode == 2
    assert reason in ended.stderr
