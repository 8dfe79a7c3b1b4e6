"""The key pairs that attest registrations: made, rotated, and used to sign (contract §7).

Versions count from 1; the first is made when it is first needed. A rotated version goes on signing for software that
still names it, and its answers say since when it is rotated out.

To make a key takes a tenth of a second and is done on a thread; to sign with one takes a third of a millisecond. To
check a key as it is read would take as long as making it, and says nothing: it was made here, and sealed since.
"""

import asyncio
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from msgspec import structs

from meterhouse.core.call import Attestation
from meterhouse.core.catalog import Catalog, ProductKey, product_key_name
from meterhouse.core.moment import SECOND
from meterhouse.core.shapes import RegisterUsageResult
from meterhouse.core.usage import timestamp_of
from meterhouse.service.draft import Change, Sources
from meterhouse.service.market import Market
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.seal import Seal, place_of

ALGORITHM: Final = "PS256"
KEY_BITS: Final = 2048
_PUBLIC_EXPONENT: Final = 65537
_PRIVATE_MEMBER: Final = "sealed_private"


def newest_key(catalog: Catalog, product: str) -> ProductKey | None:
    """A product's key of the highest version; None where none was ever made."""
    newest, version = None, 1
    while (key := catalog.product_keys.get(product_key_name(product, version))) is not None:
        newest, version = key, version + 1
    return newest


def new_private_key() -> bytes:
    """A private key as PEM. Slow, so it is called on a thread, before the change that keeps it."""
    pair = rsa.generate_private_key(_PUBLIC_EXPONENT, KEY_BITS)
    return pair.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def first_key(product: str, private: bytes, catalog: Catalog, sources: Sources) -> Change[ProductKey]:
    """The first version of a product's key: the one that is there, or else this one. NOT_FOUND."""
    seller = _seller_of(product, catalog)
    present = catalog.product_keys.get(product_key_name(product, 1))
    if present is not None:
        return Change([], present)
    key = _sealed(product, 1, private, sources.now(seller), sources)
    return Change([key], key)


def rotated_key(product: str, first: bytes, private: bytes, catalog: Catalog, sources: Sources) -> Change[ProductKey]:
    """`POST /products/{code}/keys`: a new version takes the place of the newest, by the seller's clock. NOT_FOUND.

    Where no key was ever made, `first` becomes the version that is rotated out.
    """
    now_micros = sources.now(_seller_of(product, catalog))
    present = newest_key(catalog, product) or _sealed(product, 1, first, now_micros, sources)
    key = _sealed(product, present.version + 1, private, now_micros, sources)
    return Change([structs.replace(present, rotated_micros=now_micros), key], key)


def public_key(product: str, version: int, catalog: Catalog) -> ProductKey:
    """`GET /products/{code}/keys/{version}`. NOT_FOUND."""
    _seller_of(product, catalog)
    key = catalog.product_keys.get(product_key_name(product, version))
    if key is None:
        raise Refused(RefusalKind.NOT_FOUND, f'the product "{product}" has no key of version {version}')
    return key


class Attestor:
    """Signs the answers of RegisterUsage, and makes a product's first key when that is needed."""

    def __init__(self, market: Market, sources: Sources) -> None:
        self._market = market
        self._sources = sources
        self._one_first_key = asyncio.Lock()

    async def answer(self, attestation: Attestation) -> RegisterUsageResult:
        """The signed answer. Raises `Busy` and `LedgerFailure` where a first key cannot be kept."""
        key = self._key(attestation)
        if key is None:
            key = await self._first_key(attestation)
        rotated = None if key.rotated_micros is None else timestamp_of(key.rotated_micros)
        return RegisterUsageResult(attest(attestation, key, self._market.seal), rotated)

    def _key(self, attestation: Attestation) -> ProductKey | None:
        return self._market.catalog.product_keys.get(product_key_name(attestation.product, attestation.key_version))

    async def _first_key(self, attestation: Attestation) -> ProductKey:
        """Made once, however many tasks register at the same time."""
        async with self._one_first_key:
            key = self._key(attestation)
            if key is not None:
                return key
            private = await asyncio.to_thread(new_private_key)
            return await self._market.change(
                lambda catalog: first_key(attestation.product, private, catalog, self._sources)
            )


def attest(attestation: Attestation, key: ProductKey, seal: Seal) -> str:
    """The JWT of a RegisterUsage answer, signed PS256 by the key of the version that the request named."""
    claims: dict[str, Any] = {
        "productCode": attestation.product,
        "publicKeyVersion": attestation.key_version,
        "iat": attestation.issued_micros // SECOND,
    }
    if attestation.nonce is not None:
        claims["nonce"] = attestation.nonce
    private = _read(seal.open(place_of(key, _PRIVATE_MEMBER), key.sealed_private))
    assert isinstance(private, rsa.RSAPrivateKey), "only such keys are made"
    return jwt.encode(claims, private, algorithm=ALGORITHM)


def _read(private: bytes) -> PrivateKeyTypes:
    return serialization.load_pem_private_key(private, None, unsafe_skip_rsa_key_validation=True)


def _seller_of(product: str, catalog: Catalog) -> str:
    found = catalog.products.get(product)
    if found is None:
        raise Refused(RefusalKind.NOT_FOUND, f'there is no product "{product}"')
    return found.seller


def _sealed(product: str, version: int, private: bytes, now_micros: int, sources: Sources) -> ProductKey:
    pem = (
        _read(private)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    unsealed = ProductKey(product, version, pem.decode(), b"", now_micros)
    return structs.replace(unsealed, sealed_private=sources.seal(place_of(unsealed, _PRIVATE_MEMBER), private))
