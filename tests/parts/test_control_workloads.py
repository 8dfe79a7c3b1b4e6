"""Workloads and the keys that attest them: what their calls answer, and where an SDK finds its credentials."""

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.unit.control_market import BOX, BUYER, NOW, furnish
from tests.unit.control_server import TOKEN, Answer, served

TASK = {"platform": "ecs", "account": BUYER, "region": "us-east-1", "resource_id": "task/1"}


async def test_keys() -> None:
    """The first version is made when it is first asked for; a rotation makes the next, and both PEMs verify."""
    async with served() as server:
        await furnish(server)
        first = await server.made(f"/products/{BOX}/keys/1", method="GET")
        assert (first["version"], first["rotated"]) == (1, None)
        assert await server.made(f"/products/{BOX}/keys/1", method="GET") == first
        answer = await server.ask("POST", f"/products/{BOX}/keys")
        assert (answer.status, answer.json["version"], answer.json["rotated"]) == (201, 2, NOW)
        assert await server.made(f"/products/{BOX}/keys/1", method="GET") == first | {"rotated": NOW}
        second = await server.made(f"/products/{BOX}/keys/2", method="GET")
        assert second == answer.json | {"rotated": None}
        assert second["pem"] != first["pem"]
        for accept in ("application/x-pem-file", "text/html, Application/X-PEM-File;q=0.5"):
            alone = await server.ask("GET", f"/products/{BOX}/keys/2", headers={"accept": accept})
            assert (alone.headers["content-type"], alone.body.decode()) == ("application/x-pem-file", second["pem"])
            load_pem_public_key(alone.body)


async def test_a_product_without_a_key_is_rotated_to_version_2() -> None:
    """Version 1 counts as there from the beginning: rotating a product that never had a key makes version 2."""
    async with served() as server:
        await furnish(server)
        assert (await server.made(f"/products/{BOX}/keys"))["version"] == 2
        assert (await server.made(f"/products/{BOX}/keys/1", method="GET"))["rotated"] == NOW


async def test_a_registration_is_verified_by_the_fetched_key() -> None:
    """What RegisterUsage signs, the PEM of the version verifies."""
    async with served() as server:
        await furnish(server)
        started = await server.made("/workloads", TASK)
        key_id = started["credentials"]["access_key_id"]
        body = {"ProductCode": BOX, "PublicKeyVersion": 1, "Nonce": "n"}
        signature = (await server.meter("RegisterUsage", body, key_id)).json["Signature"]
        pem = (await server.made(f"/products/{BOX}/keys/1", method="GET"))["pem"]
        claims = jwt.decode(signature, pem, algorithms=["PS256"], options={"verify_iat": False})
        assert (claims["productCode"], claims["nonce"]) == (BOX, "n")


async def test_workloads() -> None:
    """A workload starts with credentials and their address, shows signs of life, and ends once."""
    async with served() as server:
        await furnish(server)
        answer = await server.ask("POST", "/workloads", TASK | {"heartbeat_seconds": 60})
        started = answer.json
        assert (answer.status, started["launched"], started["registered"]) == (201, NOW, [])
        shown = {name: started[name] for name in list(started)[:9]}
        path = "/workloads/task%2F1"
        assert await server.made(path, method="GET") == shown
        await server.made("/clock", {"advance_seconds": 600}, "PUT")
        beaten = await server.made(f"{path}/heartbeat")
        assert beaten == shown | {"last_seen": "2026-11-21T12:10:00Z"}
        ended = await server.ask("POST", f"{path}/end")
        assert (ended.status, ended.json) == (200, beaten | {"ended": "2026-11-21T12:10:00Z"})
        assert await server.listed("/workloads") == [ended.json]


async def test_a_workload_finds_its_credentials() -> None:
    """The address works without a header and with its token, not with another, and not once the workload has ended."""
    async with served() as server:
        await furnish(server)
        started = await server.made("/workloads", TASK)
        assert started["credentials_uri"].startswith("http://127.0.0.1:8750/_meterhouse/credentials/")
        path = started["credentials_uri"].removeprefix("http://127.0.0.1:8750")
        server.token = None

        async def fetch(authorization: str | None, status: int) -> Answer:
            headers = {} if authorization is None else {"authorization": authorization}
            answer = await server.ask("GET", path, headers=headers)
            assert answer.status == status
            return answer

        handed = (await fetch(None, 200)).json
        assert (await fetch(started["authorization_token"], 200)).json == handed
        await fetch("another", 403)
        shown = started["credentials"]
        assert [handed["AccessKeyId"], handed["SecretAccessKey"], handed["Token"]] == [
            shown["access_key_id"],
            shown["secret_access_key"],
            shown["session_token"],
        ]
        assert (await server.ask("GET", path + "x")).status == 404
        server.token = TOKEN
        await server.made("/workloads/task%2F1/end")
        server.token = None
        await fetch(None, 404)


class Metadata:
    """Instance metadata services that are counted, not opened."""

    def __init__(self) -> None:
        self.ports: dict[int, str | None] = {}

    async def listen(self) -> int:
        """The next port."""
        port = 9000 + len(self.ports)
        self.ports[port] = None
        return port

    async def open(self, name: str, port: int) -> str:
        """A service of a name."""
        self.ports[port] = name
        return f"http://127.0.0.1:{port}"

    async def give_up(self, port: int) -> None:
        """A port that is not needed."""
        del self.ports[port]

    async def close_ended(self) -> None:
        """A workload has ended."""
        self.ports.clear()


async def test_an_instance_gets_a_metadata_service() -> None:
    """Under --imds an `ec2` workload gets a metadata endpoint of its own; one that is refused leaves no port behind."""
    services = Metadata()
    async with served(instance_metadata=services) as server:
        await furnish(server)
        instance = TASK | {"platform": "ec2", "resource_id": "i-1"}
        assert (await server.made("/workloads", instance))["metadata_endpoint"] == "http://127.0.0.1:9000"
        assert (await server.ask("POST", "/workloads", instance)).status == 409
        assert (await server.made("/workloads", TASK))["metadata_endpoint"] is None
        assert list(services.ports) == [9000]
        assert services.ports[9000] is not None
        await server.made("/workloads/i-1/end")
        assert services.ports == {}
