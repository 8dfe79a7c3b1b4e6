"""Older profiles, seen from outside: what each month's API knew, did not know, and how long its windows were open."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from meterhouse.core.profile import PROFILES
from meterhouse.wire.keys import SigningCredentials
from tests.e2e.market import now_seconds
from tests.e2e.seller import Answer, Seller
from tests.e2e.serving import Server
from tests.e2e.workloads import ADMIN, BOX, BUYER, CATALOG, SELLER, registering, start

SELLER_KEYS: Final = SigningCredentials("AKIDSELLER0000000001", "a secret of the seller's")
AGREEMENT: Final = "agmt-box"
ROWS: Final = f"""
[[registration_tokens]]
token = "a-token"
agreement = "{AGREEMENT}"

[[credentials]]
access_key_id = "{SELLER_KEYS.access_key_id}"
secret_access_key = "{SELLER_KEYS.secret_access_key}"
account = "{SELLER}"
"""
ARN: Final = f"arn:aws:license-manager::{SELLER}:license:l-0123456789abcdef0123456789abcdef"
MARKET: Final = (CATALOG + ROWS).replace(
    f'id = "{AGREEMENT}"\n', f'id = "{AGREEMENT}"\ncustomer_identifier = "X01CUSTOMER"\nlicense_arn = "{ARN}"\n'
)
WRONG: Final[dict[str, Any]] = {"a": [1, {"b": None}]}
"""No member takes such a value."""


class Profiled:
    """A server of one profile, a workload and the seller."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name

    def begin(self, platform: str = "ecs") -> SigningCredentials:
        """A new workload's keys."""
        shown = start(self.server, platform)["credentials"]
        return SigningCredentials(shown["access_key_id"], shown["secret_access_key"], shown["session_token"])

    def call(self, keys: SigningCredentials, operation: str, request: dict[str, Any]) -> Answer:
        """What a call is answered."""
        with Seller(self.server.port, keys) as caller:
            return caller.call(operation, request)

    def meter(self, more: dict[str, Any] | None = None, keys: SigningCredentials | None = None) -> Answer:
        """A MeterUsage of this hour, by a new task unless these keys are another's."""
        about = {"ProductCode": BOX, "Timestamp": now_seconds(), "UsageDimension": "requests"}
        return self.call(keys or self.begin(), "MeterUsage", about | (more or {}))

    def batch(self, more: dict[str, Any]) -> Answer:
        """A BatchMeterUsage of one record, its customer named as all profiles know it."""
        about = {"Timestamp": now_seconds(), "Dimension": "requests", "CustomerIdentifier": "X01CUSTOMER"}
        return self.call(SELLER_KEYS, "BatchMeterUsage", {"ProductCode": BOX, "UsageRecords": [about | more]})


@pytest.fixture(scope="module", params=PROFILES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Profiled]:
    """A server of each profile in turn."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    with Server(folder, "--profile", request.param, catalog=MARKET, environment=ADMIN) as server:
        yield Profiled(server, request.param)


HOUR: Final = 3600
WINDOWS: Final = {"2026-11": (24, 6), "2026-06": (6, 6), "2020-11": (1, 1), "2018-06": (1, 1)}
"""Hours in which BatchMeterUsage and MeterUsage take usage."""


def test_windows(served: Profiled) -> None:
    """A minute before its end a window is open, a second after it is closed; a month's end may close it sooner."""
    batch_hours, meter_hours = WINDOWS[served.name]
    for send, hours in ((served.batch, batch_hours), (served.meter, meter_hours)):
        assert send({"Timestamp": now_seconds() - hours * HOUR - 1}).code == "TimestampOutOfBoundsException"
        opened = send({"Timestamp": now_seconds() - hours * HOUR + 60})
        assert opened.status == 200 or (hours > 6 and opened.code == "TimestampOutOfBoundsException")


def test_register_usage(served: Profiled) -> None:
    """There since the end of 2018; before that no operation by this name."""
    answer = served.call(served.begin(), "RegisterUsage", registering()["request"])
    if served.name == "2018-06":
        assert (answer.status, answer.code) == (400, "UnknownOperationException")
    else:
        assert answer.status == 200


def test_agents(served: Profiled) -> None:
    """AgentCore came last: before it an agent's platform is not supported, and no ClientToken is asked of it."""
    answer = served.meter(keys=served.begin("agentcore"))
    if served.name.startswith("2026"):
        assert answer.code == "ValidationException"
        assert "clientToken" in answer.body["message"]
    else:
        assert answer.code == "PlatformNotSupportedException"


# Members of MeterUsage that came after an hour's usage could be metered at all
METER_MEMBERS: Final = {"UsageQuantityAsDecimal", "UsageAllocations", "ClientToken"}
RECORD_MEMBERS: Final = {"QuantityAsDecimal", "UsageAllocations", "CustomerAWSAccountId", "LicenseArn"}


@pytest.mark.parametrize("member", sorted(METER_MEMBERS))
def test_what_meter_usage_did_not_know_is_ignored_whatever_it_is(served: Profiled, member: str) -> None:
    """A member that the profile hides may have any value; one that it has, may not."""
    answer = served.meter({member: WRONG})
    if member in PROFILES[served.name].hidden:
        assert answer.status == 200, answer.body
    else:
        assert answer.code == "SerializationException"


@pytest.mark.parametrize("member", sorted(RECORD_MEMBERS))
def test_what_a_record_did_not_know_is_ignored_whatever_it_is(served: Profiled, member: str) -> None:
    """The same of a batch's records; nor is it echoed."""
    answer = served.batch({member: WRONG})
    if member in PROFILES[served.name].hidden:
        assert answer.status == 200, answer.body
        (result,) = answer.body["Results"]
        assert result["UsageRecord"].keys() == {"Timestamp", "Dimension", "CustomerIdentifier"}
    else:
        assert answer.code == "SerializationException"


def test_decimals_within_allocations(served: Profiled) -> None:
    """An allocation's decimal quantity is hidden, known, or within a list that is hidden as a whole."""
    parts = [{"AllocatedUsageQuantity": 7, "AllocatedUsageQuantityAsDecimal": WRONG}]
    answer = served.meter({"UsageQuantity": 7, "UsageAllocations": parts})
    if "AllocatedUsageQuantityAsDecimal" in PROFILES[served.name].hidden:
        assert answer.status == 200, answer.body
    else:
        assert answer.code == "SerializationException"


@pytest.mark.parametrize("count", [500, 501, 2500, 2501])
def test_how_many_allocations_there_may_be(served: Profiled, count: int) -> None:
    """2500, and before 500; where they are hidden, as many as one likes."""
    parts = [{"AllocatedUsageQuantity": 0, "Tags": [{"Key": "n", "Value": str(number)}]} for number in range(count)]
    profile = PROFILES[served.name]
    answer = served.meter({"UsageAllocations": parts, "UsageQuantity": 0})
    if "UsageAllocations" in profile.hidden or count <= profile.allocations_limit:
        assert answer.status == 200, answer.body
    else:
        assert answer.code == "InvalidUsageAllocationsException"


def test_what_resolve_customer_answers(served: Profiled) -> None:
    """Members that came later are left out of answers."""
    answer = served.call(SELLER_KEYS, "ResolveCustomer", {"RegistrationToken": "a-token"})
    assert answer.status == 200
    whole = {
        "CustomerIdentifier": "X01CUSTOMER",
        "ProductCode": BOX,
        "CustomerAWSAccountId": BUYER,
        "LicenseArn": ARN,
        "Metadata": {"AgreementId": AGREEMENT},
    }
    hidden = PROFILES[served.name].hidden
    assert answer.body == {name: value for name, value in whole.items() if name not in hidden}


def test_a_client_token_that_is_hidden_binds_nothing(served: Profiled) -> None:
    """Where ClientToken is known, other usage under the same one is told by it; where not, by its hour alone."""
    task = served.begin()
    said = {"Timestamp": now_seconds(), "ClientToken": "one", "UsageQuantity": 1}
    assert served.meter(said, task).body == served.meter(said, task).body
    hidden = "ClientToken" in PROFILES[served.name].hidden
    other = served.meter(said | {"UsageQuantity": 2}, task)
    assert other.code == ("DuplicateRequestException" if hidden else "IdempotencyConflictException")
