"""Products, agreements, accounts, tokens, credentials and the catalog; and of every call, each of its errors.

What a rule refuses and why is tested with the rules; here each refusal is seen to arrive with its status and field.
"""

from pathlib import Path
from typing import Any

import pytest

from meterhouse.server.control.pages import PageQuery, page_of
from meterhouse.server.control.table import CALLS
from tests.unit.control_market import (
    BOX,
    BUYER,
    CUSTOMER,
    LAKE,
    NOW,
    OTHER_BUYER,
    PIPELINE,
    PIPELINE_LICENSE,
    SELLER,
    furnish,
)
from tests.unit.control_server import ControlServer, served

PRODUCT = {"code": "new", "name": "New", "seller": SELLER, "type": "saas"}
DIMENSION = {"key": "users", "unit": "Users", "price": "1.50"}
TASK = {"platform": "ecs", "account": BUYER, "region": "us-east-1", "resource_id": "task/1"}

# What is asked, with which body; the status, the field at fault, a word of the message.
REFUSED: list[tuple[str, str, Any, int, str | None, str]] = [
    ("POST", "/catalog", {}, 422, "toml", "missing"),
    ("POST", "/catalog", {"toml": "["}, 422, None, "not TOML"),
    ("POST", "/catalog", {"toml": '[[products]]\ncode = "a"'}, 422, "products[0].name", "line"),
    ("POST", "/catalog", {"toml": f'[[agreements]]\nid = "agmt-lake"\nproduct = "{LAKE}"\nbuyer = "{SELLER}"'}, 409,
     "agreements[0].buyer", "fixed"),
    ("POST", "/products", PRODUCT | {"code": PIPELINE}, 409, "code", "exists"),
    ("POST", "/products", PRODUCT | {"id": "prod-pipeline00001"}, 409, "id", PIPELINE),
    ("POST", "/products", PRODUCT | {"dimensions": [DIMENSION, DIMENSION]}, 422, "dimensions[1].key", "users"),
    ("POST", "/products", PRODUCT | {"dimensions": [DIMENSION | {"price": 1}]}, 422, "dimensions[0].price", "as text"),
    ("GET", "/products/none", None, 404, None, "none"),
    ("PATCH", "/products/none", {}, 404, None, "none"),
    ("PATCH", f"/products/{PIPELINE}", {"seller": BUYER}, 409, "seller", "fixed"),
    ("PATCH", f"/products/{PIPELINE}", {"regions": []}, 422, "regions", "at least one"),
    ("POST", "/products/none/keys", {}, 404, None, "none"),
    ("GET", "/products/none/keys/1", None, 404, None, "none"),
    *(("GET", f"/products/{BOX}/keys/{version}", None, 404, None, "version")
      for version in ("2", "0", "-1", "01", "x", "1.0", "%C2%B2", "9" * 5000)),
    ("POST", "/agreements", {"product": "none", "buyer": BUYER}, 422, "product", "none"),
    ("POST", "/agreements", {"product": LAKE, "buyer": BUYER, "id": "agmt-lake"}, 409, "id", "exists"),
    ("POST", "/agreements", {"product": LAKE, "buyer": BUYER, "license_arn": PIPELINE_LICENSE}, 409, "license_arn", ""),
    ("GET", "/agreements/none", None, 404, None, "none"),
    ("PATCH", "/agreements/none", {"status": "active"}, 404, None, "none"),
    ("PATCH", "/agreements/agmt-lake", {"status": "pending"}, 409, "status", "step back"),
    ("PATCH", "/agreements/agmt-lake", {"end": "2025-01-01T00:00:00Z"}, 422, "end", "before"),
    ("PATCH", "/agreements/agmt-lake", {"end": "2025-01-01"}, 422, "end", "offset"),
    ("POST", "/registration-tokens", {"agreement": "none"}, 422, "agreement", "none"),
    ("POST", "/registration-tokens", {"agreement": "agmt-lake", "token": "a token that is known"}, 409, "token", ""),
    ("GET", f"/accounts/{BUYER}", None, 404, None, BUYER),
    ("PATCH", "/accounts/4444", {"suspended": True}, 422, "id", "12 digits"),
    ("PATCH", f"/accounts/{BUYER}", {"suspended": "yes"}, 422, "suspended", "true or false"),
    ("PATCH", f"/accounts/{BUYER}", {"id": SELLER}, 409, "id", "fixed"),
    ("POST", "/credentials", {"account": SELLER, "access_key_id": "AKIDEXAMPLESELLER0001"}, 409, "access_key_id", ""),
    ("POST", "/credentials", {"account": SELLER, "policy": {"Version": "2012-10-17"}}, 422, "policy", ""),
    ("DELETE", "/credentials/none", None, 404, None, "none"),
    ("POST", "/workloads", TASK, 409, "resource_id", "exists"),
    ("POST", "/workloads", TASK | {"heartbeat_seconds": 0}, 422, "heartbeat_seconds", "whole number"),
    ("GET", "/workloads/none", None, 404, None, "none"),
    ("POST", "/workloads/none/end", {}, 404, None, "none"),
    ("POST", "/workloads/task%2F0/end", {}, 409, None, "ended"),
    ("POST", "/workloads/none/heartbeat", {}, 404, None, "none"),
    ("POST", "/workloads/task%2F0/heartbeat", {}, 409, None, "ended"),
    ("DELETE", "/faults/none", None, 404, None, "none"),
]  # fmt: skip


async def furnished(server: ControlServer) -> ControlServer:
    """A marketplace, and in it a task that runs and one that has ended."""
    await furnish(server)
    await server.made("/workloads", TASK)
    await server.made("/workloads", TASK | {"resource_id": "task/0"})
    await server.made("/workloads/task%2F0/end")
    return server


async def snapshot(server: ControlServer) -> dict[str, Any]:
    """All that can be read."""
    lists = ("products", "agreements", "accounts", "credentials", "workloads", "faults")
    found: dict[str, Any] = {name: await server.listed(f"/{name}") for name in lists}
    for path in ("/clock", f"/clock?account={BUYER}"):
        found[path] = await server.made(path, method="GET")
    exported = await server.made("/catalog", method="GET")
    answer = await server.meter("ResolveCustomer", {"RegistrationToken": "T"})
    found["token"] = (answer.status, answer.body)
    for version in (1, 2):
        found[f"key {version}"] = (await server.ask("GET", f"/products/{BOX}/keys/{version}")).body
    found["/catalog"] = sorted(
        exported["toml"].strip().split("\n\n")
    )  # in which order the tables stand is nobody's business
    return found


async def test_each_refusal_arrives_and_changes_nothing() -> None:
    """Each thing that can be refused is, with its status, its field and a reason, and nothing is changed by it."""
    async with served() as server:
        await furnished(server)
        before = await snapshot(server)
        for method, path, body, status, field, word in REFUSED:
            answer = await server.ask(method, path, body)
            assert (answer.status, answer.error["field"]) == (status, field), (method, path, body, answer.body)
            assert word in answer.error["message"], answer.error
        assert await snapshot(server) == before


def test_no_documented_refusal_is_untried() -> None:
    """Every refusal that the description has of a call's own, beside those of all calls, is provoked above."""
    tried = {(method, template_of(method, path), status) for method, path, _, status, _, _ in REFUSED}
    own = {(call.method, call.path, status) for call in CALLS for status in call.refusals}
    assert own <= tried, own - tried


def template_of(method: str, path: str) -> str:
    """The path of the table that a path is one of."""
    steps = path.split("/")
    for call in CALLS:
        named = call.path.split("/")
        fits = [name == step or name.startswith("{") for name, step in zip(named, steps, strict=False)]
        if call.method == method and len(named) == len(steps) and all(fits):
            return call.path
    raise AssertionError(path)


async def test_products() -> None:
    """A product is listed, shown, edited member by member, lists whole; what is absent is shown as its default."""
    async with served() as server:
        await furnish(server)
        made = await server.ask("POST", "/products", PRODUCT | {"dimensions": [DIMENSION], "regions": ["eu-west-1"]})
        assert made.status == 201
        expected = PRODUCT | {
            "id": made.json["id"],
            "integration": "legacy",
            "registration_url": None,
            "regions": ["eu-west-1"],
            "hourly_price": "0",
            "identical_repeat": "Success",
            "window_edge": "instant",
            "dry_run": "answer",
            "dimensions": [{"key": "users", "unit": "Users", "price": "1.5", "description": ""}],
        }
        assert made.json == expected
        edit: dict[str, Any] = {"dimensions": [], "hourly_price": "0.10", "regions": None, "window_edge": "hour"}
        edited = await server.made("/products/new", edit, "PATCH")
        assert edited == expected | {"dimensions": [], "hourly_price": "0.1", "regions": None, "window_edge": "hour"}
        assert await server.made("/products/new", method="GET") == edited
        assert edited in await server.listed("/products")


async def test_what_is_shown_can_be_written() -> None:
    """A product or agreement as it is answered can be posted to another server, and is the same there."""
    async with served() as server, served() as other:
        await furnish(server)
        await other.made("/clock", {"now": NOW}, "PUT")
        for path in ("/products", "/agreements"):
            for shown in await server.listed(path):
                assert await other.made(path, shown) == shown


async def test_agreements() -> None:
    """An agreement is made and goes through its states by PATCH; its license stays."""
    async with served() as server:
        await furnish(server)
        made = await server.ask("POST", "/agreements", {"product": PIPELINE, "buyer": SELLER, "status": "pending"})
        assert (made.status, made.json["status"], made.json["start"], made.json["end"]) == (201, "pending", NOW, None)
        path = f"/agreements/{made.json['id']}"
        moves: list[tuple[dict[str, Any], str, str | None]] = [
            ({"status": "active"}, "active", None),
            ({"end": "2027-01-01T00:00:00+01:00"}, "active", "2026-12-31T23:00:00Z"),
            ({"end": None}, "active", None),
            ({"status": "unsubscribing"}, "unsubscribing", NOW),
            ({"status": "ended"}, "ended", NOW),
        ]
        for patch, status, end in moves:
            answer = await server.made(path, patch, "PATCH")
            assert answer == made.json | {"status": status, "end": end}
            assert await server.made(path, method="GET") == answer
        assert (await server.ask("PATCH", path, {"status": "active"})).status == 409


async def test_a_state_follows_the_sellers_clock() -> None:
    """An agreement is shown in the state that it is in by its seller's own clock."""
    async with served() as server:
        await furnish(server)
        await server.made("/agreements/agmt-lake", {"end": "2026-12-01T00:00:00Z"}, "PATCH")
        for now, status in (("2026-12-01T00:59:00Z", "unsubscribing"), ("2026-12-01T02:00:00Z", "ended")):
            await server.made(f"/clock?account={SELLER}", {"now": now}, "PUT")
            assert (await server.made("/agreements/agmt-lake", method="GET"))["status"] == status


async def test_accounts() -> None:
    """An account not seen before is made by PATCH, answered with 200, and can be restored."""
    async with served() as server:
        await furnish(server)
        for suspended in (True, False):
            answer = await server.ask("PATCH", f"/accounts/{BUYER}", {"suspended": suspended})
            assert (answer.status, answer.json) == (200, {"id": BUYER, "suspended": suspended})
            assert (await server.made(f"/accounts/{BUYER}", method="GET")) == answer.json
        assert [account["id"] for account in await server.listed("/accounts")] == [BUYER, OTHER_BUYER]
        assert (await server.made(f"/accounts/{BUYER}", {}, "PATCH")) == {"id": BUYER, "suspended": False}


async def test_registration_tokens() -> None:
    """A token is issued, shown once with its end four hours on, and ResolveCustomer knows the buyer by it."""
    async with served() as server:
        await furnish(server)
        answer = await server.ask("POST", "/registration-tokens", {"agreement": "agmt-pipeline"})
        assert (answer.status, answer.json["expires"]) == (201, "2026-11-21T16:00:00Z")
        resolved = await server.meter("ResolveCustomer", {"RegistrationToken": answer.json["token"]})
        assert resolved.json["CustomerIdentifier"] == CUSTOMER
        given = {"agreement": "agmt-lake", "token": "known", "issued": "2026-11-21T11:30:00.5Z"}
        expected = {"token": "known", "agreement": "agmt-lake", "expires": "2026-11-21T15:30:00.500000Z"}
        assert (await server.made("/registration-tokens", given)) == expected


async def test_credentials() -> None:
    """Secrets are shown once, when they are made; temporary ones have a token and an end; deleted ones are gone."""
    async with served() as server:
        await furnish(server)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        body = {"account": SELLER, "expires": "2027-01-01T00:00:00Z", "policy": policy}
        made = await server.ask("POST", "/credentials", body)
        assert (made.status, made.json["expires"], made.json["account"]) == (201, body["expires"], SELLER)
        assert made.json["access_key_id"].startswith("ASIA")
        assert made.json["session_token"]
        listed = {one["access_key_id"]: one for one in await server.listed("/credentials")}
        one = listed[made.json["access_key_id"]]
        assert (one["policy"], one["workload"], one["principal"]) == (policy, None, f"arn:aws:iam::{SELLER}:root")
        everything = (await server.ask("GET", "/credentials")).body.decode()
        assert made.json["secret_access_key"] not in everything
        assert made.json["session_token"] not in everything
        path = f"/credentials/{made.json['access_key_id']}"
        gone = await server.ask("DELETE", path)
        assert (gone.status, gone.body) == (204, b"")
        assert (await server.ask("DELETE", path)).status == 404
        assert [one["access_key_id"] for one in await server.listed("/credentials")] == ["AKIDEXAMPLESELLER0001"]


async def test_parameters_of_a_path_may_hold_anything() -> None:
    """A parameter is one segment, percent-encoded, whatever it holds: slashes, question marks, percent signs, dots."""
    async with served() as server:
        await furnish(server)
        for resource_id, segment in (
            ("a/b", "a%2Fb"),
            ("..", "%2E%2E"),
            ("%2F", "%252F"),
            ("?x=1", "%3Fx=1"),
            ("a+b", "a+b"),
        ):
            await server.made("/workloads", TASK | {"resource_id": resource_id})
            assert (await server.made(f"/workloads/{segment}", method="GET"))["resource_id"] == resource_id
        await server.made("/products", PRODUCT | {"code": "a/b:c=d"})
        assert (await server.made("/products/a%2fb%3Ac=d", method="GET"))["code"] == "a/b:c=d"
        assert (await server.ask("GET", "/products/a/b:c=d")).status == 404


async def test_the_whole_catalog_goes_out_and_in() -> None:
    """An exported catalog, loaded by an empty server, is the same there; loading it again changes nothing."""
    async with served() as server, served() as other:
        await furnish(server)
        exported = await server.made("/catalog", method="GET")
        assert "credentials 1, registration tokens 1" in exported["toml"]
        await other.made("/clock", {"now": NOW}, "PUT")
        loaded = await other.made("/catalog", exported)
        assert loaded["changed"] == {"products": 4, "agreements": 5, "accounts": 1}
        left_out = exported["toml"].index("\n")
        assert (await other.made("/catalog", method="GET"))["toml"][left_out - 60 :].endswith(
            exported["toml"][left_out:]
        )
        assert (await other.made("/catalog", exported))["changed"] == {}


async def test_a_load_shows_what_it_made_up_once() -> None:
    """Tokens and secrets made up by a load are in its answer, and in no other; secrets may stand in the environment."""
    async with served() as server:
        await furnish(server)
        toml = (
            f'[[registration_tokens]]\nagreement = "agmt-lake"\n'
            f'[[credentials]]\naccess_key_id = "AKIDNEW"\naccount = "{SELLER}"\n'
            f'[[credentials]]\naccess_key_id = "AKIDENV"\nsecret_access_key_env = "SECRET"\naccount = "{SELLER}"\n'
        )
        loaded = await server.made("/catalog", {"toml": toml})
        assert loaded["changed"] == {"registration_tokens": 1, "credentials": 2}
        (token,), (secret,) = loaded["registration_tokens"], loaded["credentials"]
        assert (token["agreement"], token["expires"]) == ("agmt-lake", "2026-11-21T16:00:00Z")
        assert (secret["access_key_id"], len(secret["secret_access_key"])) == ("AKIDNEW", 40)
        again = await server.made("/catalog", {"toml": toml})
        assert again == {"changed": {}, "registration_tokens": [], "credentials": []}


async def test_lists_come_in_parts() -> None:
    """A list has 100 entries a part, or as many as asked for, in the order of their keys, and each entry once."""
    async with served() as server:
        await furnish(server)
        for number in range(120):
            await server.made(f"/accounts/{number:012}", {"suspended": bool(number % 2)}, "PATCH")
        part = await server.made("/accounts", method="GET")
        assert (len(part["items"]), part["next"] is None) == (100, False)
        expected = sorted([f"{number:012}" for number in range(120)] + [OTHER_BUYER])
        for limit in (1, 7, 40, 120, 121, 122, 1000):
            found = await server.listed(f"/accounts?limit={limit}")
            assert [account["id"] for account in found] == expected
        for bad in (
            "limit=0",
            "limit=1001",
            "limit=x",
            "limit=1.5",
            "limit=",
            "after=",
            "after=!",
            "after=abcd",
            "after=é",
        ):
            answer = await server.ask("GET", f"/accounts?{bad}".replace("é", "%C3%A9"))
            assert (answer.status, answer.error["field"]) == (422, bad.partition("=")[0])


async def test_a_very_long_list_comes_in_the_same_order() -> None:
    """A list that is too long to be sorted in between is sorted all the same: each part behind the one before."""
    keys = [f"{number * 7919 % 12_007:05}" for number in range(12_007)]
    facts = {key: key for key in keys}
    found: list[str] = []
    query = PageQuery(limit=1000)
    while True:
        part, following = await page_of(facts, query)
        found += part
        if following is None:
            break
        query = PageQuery(limit=1000, after=following)
    assert found == sorted(keys)


# A change, by itself. FIRST stands for the id of the first fault.
CHANGES: list[tuple[str, str, Any]] = [
    ("POST", "/catalog", {"toml": f'[[accounts]]\nid = "{SELLER}"\nsuspended = true'}),
    ("POST", "/products", PRODUCT),
    ("PATCH", f"/products/{LAKE}", {"name": "L"}),
    ("POST", f"/products/{BOX}/keys", {}),
    ("POST", "/agreements", {"product": LAKE, "buyer": SELLER}),
    ("PATCH", "/agreements/agmt-lake", {"status": "unsubscribing"}),
    ("PATCH", f"/accounts/{BUYER}", {"suspended": True}),
    ("POST", "/registration-tokens", {"agreement": "agmt-lake", "token": "T"}),
    ("POST", "/credentials", {"account": BUYER}),
    ("DELETE", "/credentials/AKIDEXAMPLESELLER0001", None),
    ("POST", "/workloads", TASK | {"resource_id": "task/2"}),
    ("POST", "/workloads/task%2F1/end", {}),
    ("POST", "/workloads/task%2F1/heartbeat", {}),
    ("PUT", "/clock", {"advance_seconds": 60}),
    ("POST", "/faults", {"operation": "MeterUsage", "fault": "throttle"}),
    ("DELETE", "/faults", None),
    ("DELETE", "/faults/FIRST", None),
    ("POST", "/reset", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_every_change_survives_a_restart(method: str, path: str, body: Any, tmp_path: Path) -> None:
    """What a call has changed is seen at once and, as it was, by the next server of the same ledger."""
    async with served(tmp_path) as server:
        await furnished(server)
        for operation in ("BatchMeterUsage", "MeterUsage"):
            await server.made("/faults", {"operation": operation, "fault": "internal"})
        first, *_ = await server.listed("/faults")
        before = await snapshot(server)
        answer = await server.ask(method, path.replace("FIRST", first["id"]), body)
        assert answer.status in (200, 201, 204)
        after = await snapshot(server)
        assert after != before
    async with served(tmp_path) as server:
        assert await snapshot(server) == after


def test_every_change_is_restarted() -> None:
    """No call that changes something is left out above."""
    assert {f"{method} {template_of(method, path)}" for method, path, _ in CHANGES} == {
        f"{call.method} {call.path}" for call in CALLS if call.method != "GET"
    }
