"""Who a call is from follows from its signature alone: nobody meters as another workload, or for another's account."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from msgspec.structs import replace

from meterhouse.wire.keys import SigningCredentials
from tests.e2e.control import ask
from tests.e2e.market import now_seconds
from tests.e2e.seller import Answer, Seller
from tests.e2e.serving import Server
from tests.e2e.workloads import (
    ADMIN,
    BOX,
    BUYER,
    CATALOG,
    FOREIGN,
    OTHER_BUYER,
    SELLER,
    STRANGER,
    metering,
    registering,
    start,
)

SELLER_KEYS: Final = SigningCredentials("AKIDSELLER0000000001", "a secret of the seller's")
EXPIRED_KEYS: Final = SigningCredentials("ASIAEXPIRED000000002", "a secret of the past", "an old token")
ROWS: Final = f"""
[[credentials]]
access_key_id = "{SELLER_KEYS.access_key_id}"
secret_access_key = "{SELLER_KEYS.secret_access_key}"
account = "{SELLER}"

[[credentials]]
access_key_id = "{EXPIRED_KEYS.access_key_id}"
secret_access_key = "{EXPIRED_KEYS.secret_access_key}"
session_token = "{EXPIRED_KEYS.session_token}"
expires = 2025-01-01T00:00:00Z
account = "{BUYER}"
[credentials.workload]
platform = "ecs"
resource_id = "task/expired"
region = "us-east-1"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that verifies signatures."""
    folder = tmp_path_factory.mktemp("isolation")
    with Server(folder, catalog=CATALOG + ROWS, environment=ADMIN) as running:
        yield running


def keys_of(started: dict[str, Any]) -> SigningCredentials:
    """The credentials that a workload was started with."""
    shown = started["credentials"]
    return SigningCredentials(shown["access_key_id"], shown["secret_access_key"], shown["session_token"])


def said(server: Server, keys: SigningCredentials, one: dict[str, Any], region: str = "us-east-1") -> Answer:
    """What a call with these keys is answered."""
    with Seller(server.port, keys, region) as caller:
        return caller.call(one["operation"], one["request"])


def kept(server: Server) -> set[tuple[str, str]]:
    """Who has metered: resource ids and buyers."""
    return {(one["resource_id"], one["buyer"]) for one in ask(server.port, "GET", "/records?limit=1000")["items"]}


def test_a_workload_meters_as_itself_whatever_it_says(server: Server) -> None:
    """Members that would name another are unknown to the operation, and change nothing."""
    started, other = start(server), start(server, account=OTHER_BUYER)
    claims = {
        "CustomerAWSAccountId": OTHER_BUYER,
        "CustomerIdentifier": "X01",
        "ResourceId": other["resource_id"],
        "Workload": other["resource_id"],
    }
    before = kept(server)
    assert said(server, keys_of(started), metering(**claims)).status == 200
    assert said(server, keys_of(started), registering(**claims)).status == 200
    assert kept(server) - before == {(started["resource_id"], BUYER)}


# What is put together of two workloads' credentials, and how it is refused
MIXED: Final = [
    (
        "id of the other",
        lambda mine, other: replace(mine, access_key_id=other.access_key_id),
        "UnrecognizedClientException",
    ),
    (
        "secret of the other",
        lambda mine, other: replace(mine, secret_access_key=other.secret_access_key),
        "InvalidSignatureException",
    ),
    (
        "token of the other",
        lambda mine, other: replace(mine, session_token=other.session_token),
        "UnrecognizedClientException",
    ),
    ("no token", lambda mine, _: replace(mine, session_token=None), "UnrecognizedClientException"),
    (
        "token and id of the other",
        lambda mine, other: replace(other, secret_access_key=mine.secret_access_key),
        "InvalidSignatureException",
    ),
]


@pytest.mark.parametrize(("mix", "code"), [row[1:] for row in MIXED], ids=[row[0] for row in MIXED])
def test_parts_of_two_credentials_are_none(server: Server, mix: Any, code: str) -> None:
    """Each part must be of the same workload."""
    mine, other = (keys_of(start(server)) for _ in range(2))
    before = kept(server)
    assert said(server, mix(mine, other), metering()).code == code
    assert kept(server) == before


# account, call, the error
NOT_THEIRS: Final = [
    (BUYER, metering(ProductCode=FOREIGN), "CustomerNotEntitledException"),
    (BUYER, registering(ProductCode=FOREIGN), "CustomerNotEntitledException"),
    (OTHER_BUYER, metering(), "CustomerNotEntitledException"),
    (OTHER_BUYER, registering(), "CustomerNotEntitledException"),
    (STRANGER, metering(), "CustomerNotEntitledException"),
    (SELLER, metering(ProductCode=FOREIGN), "CustomerNotEntitledException"),
    (SELLER, registering(ProductCode=FOREIGN), "CustomerNotEntitledException"),
    (BUYER, metering(ProductCode="no-such-product"), "InvalidProductCodeException"),
]


@pytest.mark.parametrize(("account", "one", "code"), NOT_THEIRS)
def test_an_account_meters_what_it_has_bought(server: Server, account: str, one: dict[str, Any], code: str) -> None:
    """Another's product is not its own, also not for the seller of a product of its own."""
    before = kept(server)
    assert said(server, keys_of(start(server, account=account)), one).code == code
    assert kept(server) == before


def test_a_workload_is_no_seller(server: Server) -> None:
    """It cannot send batches for the product that it runs, also not for its own account."""
    record = {
        "Timestamp": now_seconds(),
        "CustomerAWSAccountId": BUYER,
        "Dimension": "requests",
        "Quantity": 1,
    }
    with Seller(server.port, keys_of(start(server))) as caller:
        assert caller.batch(BOX, [record]).code == "InvalidProductCodeException"


def test_a_seller_is_no_workload(server: Server) -> None:
    """Keys that belong to no workload meter nothing from within."""
    for one in (metering(), registering()):
        assert said(server, SELLER_KEYS, one).code == "PlatformNotSupportedException"


def test_a_workload_calls_its_own_region(server: Server) -> None:
    """Signed for another Region its keys are good, and its call is refused."""
    keys = keys_of(start(server))
    assert said(server, keys, metering(), "eu-west-1").code == "InvalidEndpointRegionException"
    assert said(server, keys, registering(), "eu-west-1").code == "InvalidRegionException"


def test_credentials_end_with_their_workload(server: Server) -> None:
    """All that were handed to it, from the answer to `end` on; those of others go on."""
    started, other = start(server, resource_id="task/ending"), start(server)
    keys = keys_of(started)
    assert said(server, keys, metering()).status == 200
    ask(server.port, "POST", "/workloads/task%2Fending/end")
    for one in (metering(), registering()):
        refused = said(server, keys, one)
        assert (refused.code, refused.status) == ("ExpiredTokenException", 400)
    assert said(server, keys_of(other), metering()).status == 200


def test_expired_and_deleted_credentials_are_refused(server: Server) -> None:
    """Temporary credentials after their end, and any after they were deleted."""
    assert said(server, EXPIRED_KEYS, metering()).code == "ExpiredTokenException"
    keys = keys_of(start(server))
    ask(server.port, "DELETE", f"/credentials/{keys.access_key_id}")
    assert said(server, keys, metering()).code == "UnrecognizedClientException"


def test_fifty_identical_calls_with_fifty_tokens_are_one_record(server: Server) -> None:
    """As SDKs send them, each with a fresh ClientToken, all at once: one id for all."""
    started = start(server)
    keys, at = keys_of(started), now_seconds()

    def once(number: int) -> str:
        with Seller(server.port, keys) as caller:
            answer = caller.call("MeterUsage", metering(Timestamp=at, ClientToken=f"token-{number}")["request"])
        assert answer.status == 200, answer.body
        record_id: str = answer.body["MeteringRecordId"]
        return record_id

    with ThreadPoolExecutor(max_workers=50) as pool:
        assert len(set(pool.map(once, range(50)))) == 1
    rows = ask(server.port, "GET", "/records?limit=1000")["items"]
    assert len([one for one in rows if one["resource_id"] == started["resource_id"]]) == 1


def test_the_agents_of_one_account_do_not_share_tokens(server: Server) -> None:
    """A ClientToken belongs to its workload: the same token from two agents is two records."""
    agents = [start(server, "agentcore") for _ in range(2)]
    one = metering(ClientToken=json.dumps("shared"))
    ids = {said(server, keys_of(agent), one).body["MeteringRecordId"] for agent in agents for _ in range(2)}
    assert len(ids) == 2
