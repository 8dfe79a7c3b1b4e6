"""IMDSv2 of one instance: a token first, then what an SDK asks; and nothing to whoever is not the instance's own."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import pytest

from meterhouse.core.moment import SECOND
from meterhouse.server.instance_metadata import TOKENS_LIMIT, Instance
from meterhouse.server.platforms import PlatformAnswer
from meterhouse.service.hand_out import HandOuts
from tests.unit.control_market import BUYER, furnish
from tests.unit.control_server import ControlServer, served
from tests.unit.test_hand_out import Clock

ROLE: Final = "/latest/meta-data/iam/security-credentials"
HOST: Final = {b"host": b"127.0.0.1:40000"}


class Asking(NamedTuple):
    """An instance, and the clock by which its tokens end."""

    server: ControlServer
    clock: Clock
    instance: Instance

    async def get(self, path: str, token: str | None, headers: Mapping[bytes, bytes] = HOST) -> PlatformAnswer:
        """What is answered to a GET."""
        sent = {} if token is None else {b"x-aws-ec2-metadata-token": token.encode()}
        return await self.instance.answer("GET", path, {**headers, **sent})

    async def put(self, seconds: str, **more: str) -> PlatformAnswer:
        """What is answered to a PUT for a token."""
        headers = {name.replace("_", "-").encode(): value.encode() for name, value in more.items()}
        ttl = {b"x-aws-ec2-metadata-token-ttl-seconds": seconds.encode()}
        return await self.instance.answer("PUT", "/latest/api/token", {**HOST, **ttl, **headers})

    async def token(self, seconds: int = 60) -> str:
        """A session token."""
        answer = await self.put(str(seconds))
        assert answer.status == 200
        return answer.body.decode()


@asynccontextmanager
async def asking() -> AsyncIterator[Asking]:
    """An instance that was started just now."""
    clock = Clock()
    async with served() as server:
        await furnish(server)
        workload = {"platform": "ec2", "account": BUYER, "region": "eu-west-1", "resource_id": "i-0123456789"}
        secret = (await server.made("/workloads", workload))["credentials_uri"].rpartition("/")[2]
        parts = server.parts
        hand_outs = HandOuts(parts.market, parts.sources, parts.real_now)
        found = hand_outs.by_secret(secret, None)
        assert found is not None
        yield Asking(server, clock, Instance(hand_outs, found[0], clock, parts.sources.random_bytes))


async def test_an_sdk_finds_role_credentials_and_identity() -> None:
    """What is answered is what SDKs read, and what the workload is."""
    async with asking() as instance:
        token = await instance.token()
        for slash in ("", "/"):
            assert (await instance.get(ROLE + slash, token)).body == b"meterhouse-workload"
        issued = json.loads((await instance.get(f"{ROLE}/meterhouse-workload", token)).body)
        assert issued.keys() == {
            "Code",
            "LastUpdated",
            "Type",
            "AccessKeyId",
            "SecretAccessKey",
            "Token",
            "Expiration",
        }
        assert (issued["Code"], issued["Type"]) == ("Success", "AWS-HMAC")
        credential = instance.server.parts.market.catalog.credentials[issued["AccessKeyId"]]
        assert instance.server.parts.market.secret_of(credential) == (issued["SecretAccessKey"], issued["Token"])
        answer = await instance.get("/latest/dynamic/instance-identity/document", token)
        identity = json.loads(answer.body)
        assert answer.content_type == b"application/json"
        assert (
            identity
            | {
                "accountId": BUYER,
                "instanceId": "i-0123456789",
                "region": "eu-west-1",
                "availabilityZone": "eu-west-1a",
                "pendingTime": "2026-11-21T12:00:00Z",
            }
            == identity
        )
        for name, text in (
            ("instance-id", "i-0123456789"),
            ("placement/region", "eu-west-1"),
            ("placement/availability-zone", "eu-west-1a"),
        ):
            assert (await instance.get(f"/latest/meta-data/{name}", token)).body == text.encode()


# What is asked for, and the status of the answer
ASKED: Final[list[tuple[str, str, dict[bytes, bytes], int]]] = [
    ("PUT", "/latest/api/token", {}, 400),
    ("PUT", "/latest/api/token", {b"x-aws-ec2-metadata-token-ttl-seconds": b""}, 400),
    ("PUT", "/latest/api/token", {b"x-aws-ec2-metadata-token-ttl-seconds": b"0"}, 400),
    ("PUT", "/latest/api/token", {b"x-aws-ec2-metadata-token-ttl-seconds": b"-1"}, 400),
    ("PUT", "/latest/api/token", {b"x-aws-ec2-metadata-token-ttl-seconds": b"21601"}, 400),
    ("PUT", "/latest/api/token", {b"x-aws-ec2-metadata-token-ttl-seconds": b"9" * 5000}, 400),
    ("PUT", "/latest/api/token", {b"x-aws-ec2-metadata-token-ttl-seconds": "²".encode("latin-1")}, 400),
    ("PUT", "/latest/api/token", {b"x-aws-ec2-metadata-token-ttl-seconds": b"1"}, 200),
    ("PUT", "/latest/api/token", {b"x-aws-ec2-metadata-token-ttl-seconds": b"21600"}, 200),
    (
        "PUT",
        "/latest/api/token",
        {b"x-aws-ec2-metadata-token-ttl-seconds": b"60", b"x-forwarded-for": b"10.0.0.1"},
        403,
    ),
    ("GET", "/latest/api/token", {}, 405),
    ("POST", ROLE, {}, 405),
    ("GET", ROLE, {}, 401),
    ("GET", ROLE, {b"x-aws-ec2-metadata-token": b""}, 401),
    ("GET", ROLE, {b"x-aws-ec2-metadata-token": b"made-up"}, 401),
    ("GET", ROLE, {b"x-aws-ec2-metadata-token": "é".encode()}, 401),
    ("GET", "/latest/meta-data/nothing", {}, 401),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), ASKED)
async def test_without_a_token_there_is_nothing_but_a_token(
    method: str, path: str, headers: dict[bytes, bytes], status: int
) -> None:
    """As an instance that requires version 2."""
    async with asking() as instance:
        assert (await instance.instance.answer(method, path, HOST | headers)).status == status


@pytest.mark.parametrize(
    "path", ["/latest/meta-data/nothing", "/latest/meta-data", "/", "", f"{ROLE}/another-role", "/latest/user-data"]
)
async def test_what_is_not_there_is_404(path: str) -> None:
    """With a token too."""
    async with asking() as instance:
        assert (await instance.get(path, await instance.token())).status == 404


async def test_a_token_ends() -> None:
    """After as many seconds as were asked for; the answer says how many."""
    async with asking() as instance:
        answer = await instance.put("007")
        assert answer.more == ((b"x-aws-ec2-metadata-token-ttl-seconds", b"7"),)
        token = answer.body.decode()
        instance.clock.micros += 7 * SECOND - 1
        assert (await instance.get(ROLE, token)).status == 200
        instance.clock.micros += 1
        assert (await instance.get(ROLE, token)).status == 401


async def test_tokens_are_bounded() -> None:
    """Whoever asks for tokens without end takes away the oldest, and no memory."""
    async with asking() as instance:
        first = await instance.token()
        tokens = [await instance.token() for _ in range(TOKENS_LIMIT)]
        assert (await instance.get(ROLE, first)).status == 401
        assert (await instance.get(ROLE, tokens[0])).status == 200
        assert len(set(tokens)) == TOKENS_LIMIT


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("127.0.0.1:40000", True),
        ("localhost:40000", True),
        ("[::1]:40000", True),
        ("evil.example:40000", False),
        ("169.254.169.254", False),
        ("", False),
    ],
)
async def test_a_web_page_cannot_reach_it_by_a_name_of_its_own(host: str, *, answered: bool) -> None:
    """The Host must be a loopback name, for the token and for all else."""
    async with asking() as instance:
        token = await instance.token()
        sent: dict[bytes, Any] = {b"host": host.encode(), b"x-aws-ec2-metadata-token-ttl-seconds": b"60"}
        assert (await instance.get(ROLE, token, sent)).status == (200 if answered else 403)
        answer = await instance.instance.answer("PUT", "/latest/api/token", sent)
        assert answer.status == (200 if answered else 403)


async def test_an_ended_instance_has_nothing() -> None:
    """Its token is still one, and leads nowhere."""
    async with asking() as instance:
        token = await instance.token()
        await instance.server.made("/workloads/i-0123456789/end")
        assert (await instance.get(ROLE, token)).status == 404
