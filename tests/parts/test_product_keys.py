"""What attests a registration: keys by version, and a JWT that anybody can check by hand with the PEM (contract §7).

The JWT is taken apart and its signature verified step by step, with none of what made it.
"""

import asyncio
import json
from base64 import urlsafe_b64decode
from typing import Any, Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from meterhouse.service import product_keys
from tests.unit.control_market import BOX, BUYER, LAKE, NOW_SECONDS, SELLER, furnish
from tests.unit.control_server import ControlServer, served

HEADER: Final = b'{"alg":"PS256","typ":"JWT"}'


async def begin(server: ControlServer, number: int = 1, account: str = BUYER) -> str:
    """A task; its access key."""
    task = {"platform": "ecs", "account": account, "region": "us-east-1", "resource_id": f"task/{number}"}
    key: str = (await server.made("/workloads", task))["credentials"]["access_key_id"]
    return key


async def register(server: ControlServer, key: str, version: int = 1, **more: Any) -> dict[str, Any]:
    """What RegisterUsage answers."""
    body = {"ProductCode": BOX, "PublicKeyVersion": version, **more}
    answer = await server.meter("RegisterUsage", body, key)
    said: dict[str, Any] = answer.json
    assert answer.status == 200 or "__type" in said
    return said


async def pem_of(server: ControlServer, version: int = 1, product: str = BOX) -> bytes:
    """The public key of a version."""
    answer = await server.ask(
        "GET", f"/products/{product}/keys/{version}", headers={"accept": "application/x-pem-file"}
    )
    assert answer.status == 200
    return answer.body


def decoded(part: str) -> bytes:
    """A part of a JWT."""
    assert not set(part) & set("+/=")
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(signature: str, pem: bytes) -> dict[str, Any]:
    """The claims of a JWT whose signature is right. Raises InvalidSignature."""
    head, claims, signed = signature.split(".")
    public = load_pem_public_key(pem)
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size >= 2048
    salted = padding.PSS(padding.MGF1(SHA256()), SHA256().digest_size)
    public.verify(decoded(signed), f"{head}.{claims}".encode(), salted, SHA256())
    assert decoded(head) == HEADER
    found: dict[str, Any] = json.loads(decoded(claims))
    return found


@pytest.mark.parametrize("nonce", [None, "", "n", "ünïcødé 日本語 😀 \u2028", "x" * 255])
async def test_the_claims_are_these_and_no_others(nonce: str | None) -> None:
    """Product, version, instant, and the nonce where one was sent; the header to the byte."""
    async with served() as server:
        await furnish(server)
        said: dict[str, Any] = {} if nonce is None else {"Nonce": nonce}
        answer = await register(server, await begin(server), **said)
        assert answer.keys() == {"Signature"}
        expected: dict[str, Any] = {"productCode": BOX, "publicKeyVersion": 1, "iat": NOW_SECONDS}
        assert verified(answer["Signature"], await pem_of(server)) == expected | (
            {} if nonce is None else {"nonce": nonce}
        )


async def test_no_other_key_verifies() -> None:
    """Another version's, or another product's: a signature is of one key alone, and of these claims."""
    async with served() as server:
        await furnish(server)
        key = await begin(server)
        await server.made(f"/products/{BOX}/keys")
        signatures = {version: (await register(server, key, version))["Signature"] for version in (1, 2)}
        assert verified(signatures[2], await pem_of(server, 2))["publicKeyVersion"] == 2
        for version, pem in (
            (1, await pem_of(server, 2)),
            (2, await pem_of(server, 1)),
            (1, await pem_of(server, 1, LAKE)),
        ):
            with pytest.raises(InvalidSignature):
                verified(signatures[version], pem)
        head, claims, _ = signatures[1].split(".")
        _, _, signed = signatures[2].split(".")
        with pytest.raises(InvalidSignature):
            verified(f"{head}.{claims}.{signed}", await pem_of(server))


async def test_each_call_is_signed_anew() -> None:
    """A fresh JWT, also within one second and for one nonce; its instant is that of the buyer's clock."""
    async with served() as server:
        await furnish(server)
        key = await begin(server)
        signatures = {(await register(server, key, Nonce="n"))["Signature"] for _ in range(5)}
        assert len(signatures) == 5
        await server.made(f"/clock?account={BUYER}", {"advance_seconds": 90.75}, "PUT")
        later = (await register(server, key, Nonce="n"))["Signature"]
        assert verified(later, await pem_of(server))["iat"] == NOW_SECONDS + 90


async def test_a_rotated_version_says_since_when() -> None:
    """Only the version that was rotated out, from its rotation on, by the seller's clock; it goes on signing."""
    async with served() as server:
        await furnish(server)
        key = await begin(server)
        assert "PublicKeyRotationTimestamp" not in await register(server, key)
        await server.made(f"/clock?account={SELLER}", {"advance_seconds": 10.5}, "PUT")
        await server.made(f"/products/{BOX}/keys")
        await server.made(f"/clock?account={SELLER}", {"advance_seconds": 10}, "PUT")
        await server.made(f"/products/{BOX}/keys")
        found = {version: await register(server, key, version) for version in (1, 2, 3)}
        assert found[1]["PublicKeyRotationTimestamp"] == NOW_SECONDS + 10.5
        assert found[2]["PublicKeyRotationTimestamp"] == NOW_SECONDS + 20.5
        assert "PublicKeyRotationTimestamp" not in found[3]
        for version in (1, 2, 3):
            claims = verified(found[version]["Signature"], await pem_of(server, version))
            assert claims["publicKeyVersion"] == version


async def test_an_unknown_version_is_refused_and_leaves_nothing() -> None:
    """Neither a key nor a registration."""
    async with served() as server:
        await furnish(server)
        key = await begin(server)
        for version in (2, 3, 2**63 - 1):
            assert (await register(server, key, version))["__type"] == "InvalidPublicKeyVersionException"
        assert (await server.ask("GET", f"/products/{BOX}/keys/2")).status == 404
        assert await server.listed("/records") == []


async def test_a_first_key_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty tasks that register at the same time are all signed by one key, and only one was made."""
    made: list[bytes] = []
    new_private_key = product_keys.new_private_key

    def counted() -> bytes:
        made.append(new_private_key())
        return made[-1]

    monkeypatch.setattr(product_keys, "new_private_key", counted)
    async with served() as server:
        await furnish(server)
        keys = [await begin(server, number) for number in range(20)]
        answers = await asyncio.gather(*(register(server, key) for key in keys))
        pem = await pem_of(server)
        for answer in answers:
            verified(answer["Signature"], pem)
        assert len(made) == 1
        assert len(await server.listed("/journal")) == 20


async def test_private_keys_are_sealed() -> None:
    """What is kept of a key pair in the clear is its public half."""
    async with served() as server:
        await furnish(server)
        await register(server, await begin(server))
        _, documents = await server.parts.ledger.load()
        (kept,) = (one.body for one in documents if one.kind == "product key")
        assert kept is not None
        assert b"BEGIN PUBLIC KEY" in kept
        assert b"PRIVATE KEY" not in kept
