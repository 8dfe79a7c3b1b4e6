"""RegisterUsage's signature: it holds for one product, key version and nonce, under one key."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from meterhouse.client.errors import InvalidRegistrationSignatureError
from meterhouse.client.registration import Registration, verify_registration_signature


@pytest.fixture(scope="module")
def keys() -> list[rsa.RSAPrivateKey]:
    """The product's key, and another."""
    return [rsa.generate_private_key(65537, 2048) for _ in range(2)]


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


NOW = datetime.now(UTC).replace(microsecond=0)
CLAIMS: dict[str, Any] = {"productCode": "p", "publicKeyVersion": 1, "nonce": "n", "iat": NOW}


def _signed(key: Any, algorithm: str = "PS256", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm)


def test_a_signature_that_holds(keys: list[rsa.RSAPrivateKey]) -> None:
    """It says for what it was given, and when; with or without a nonce."""
    pem = _pem(keys[0])
    whole = verify_registration_signature(
        _signed(keys[0]), pem.decode(), product_code="p", public_key_version=1, nonce="n"
    )
    assert whole == Registration("p", 1, "n", NOW)
    bare = verify_registration_signature(
        _signed(keys[0], nonce=None, iat=None), pem, product_code="p", public_key_version=1
    )
    assert bare == Registration("p", 1, None, None)


def test_a_signature_that_does_not_hold(keys: list[rsa.RSAPrivateKey]) -> None:
    """Another key, product, version, nonce or algorithm, a time to come, or no JWT at all."""
    ours, other = keys
    for signature in (
        _signed(other),
        _signed(ours, productCode="q"),
        _signed(ours, publicKeyVersion=2),
        _signed(ours, nonce="m"),
        _signed(ours, nonce=None),
        _signed(ours, "RS256"),
        _signed("a shared secret, long enough for HMAC", "HS256"),
        _signed(ours, iat=NOW + timedelta(hours=1)),
        _signed("", "none"),
        "not.a.jwt",
        "",
    ):
        with pytest.raises(InvalidRegistrationSignatureError):
            verify_registration_signature(signature, _pem(ours), product_code="p", public_key_version=1, nonce="n")


def test_a_key_that_is_none(keys: list[rsa.RSAPrivateKey]) -> None:
    """A PEM that cannot be read is said, not trusted."""
    with pytest.raises(InvalidRegistrationSignatureError):
        verify_registration_signature(_signed(keys[0]), "no key", product_code="p", public_key_version=1, nonce="n")
