"""Secrets at rest: sealed (AES-256-GCM) under one master key, each for the place it is kept at.

A sealed value is a mark, a random nonce, and the ciphertext with its tag. The place it is kept at (kind, key,
member) goes into the tag, so that a value copied to another row does not open there. With the first opening a random
*fingerprint key* is made and kept, sealed, as a document: whether it opens tells a wrong master key at the start, also
where there are no secrets yet; and fingerprints made with it compare secrets without keeping anything that could be
guessed against.

Rotation writes all sealed values anew in one change of documents. With a key file the new key lies beside it before
the change and takes its place after it; a start after a crash in between tries both (`master_key.keys_from`).
"""

import hmac
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import structs

from meterhouse.core.catalog import FACT_OF, KIND_OF, Fact, key_of
from meterhouse.ledger.protocol import Document
from meterhouse.service.master_key import (
    KEY_LENGTH,
    KeySource,
    WrongKey,
    make_key_file,
    new_file_of,
    read_key_file,
    replace_key_file,
)

SEAL_KIND: Final = "seal"
"""The kind of the document that holds the fingerprint key."""
_SEAL_PLACE: Final = f"{SEAL_KIND}/"

_MARK: Final = b"mhs1"
_NONCE_LENGTH: Final = 12
_SEALED: Final = {
    kind: tuple(field.name for field in structs.fields(fact) if field.name.startswith("sealed_"))
    for kind, fact in FACT_OF.items()
}
"""The members of each kind of fact that hold sealed values: their names say so."""


class Documents(Protocol):
    """The part of a ledger that keeps documents (`ledger.protocol.Ledger`)."""

    async def load(self) -> tuple[int, Sequence[Document]]:
        """The revision and every document that is not deleted."""

    async def changes(self, after: int) -> tuple[int, Sequence[Document]]:
        """The revision and what changed behind another, deletions included."""

    async def change(self, documents: Sequence[Document], *, expected: int) -> int:
        """Keeps all of these documents and returns the new revision, or raises `Stale`."""


class Seal:
    """Seals and opens secrets under one master key."""

    def __init__(self, key: bytes, fingerprint_key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        self._cipher = AESGCM(key)
        self._fingerprint_key = fingerprint_key
        self._random_bytes = random_bytes

    def seal(self, place: str, secret: bytes) -> bytes:
        """A secret encrypted for the place it is kept at."""
        return _seal(self._cipher, place, secret, self._random_bytes)

    def open(self, place: str, sealed: bytes) -> bytes:
        """The secret sealed for a place. Raises WrongKey where it was sealed under another key or for another place."""
        secret = _open(self._cipher, place, sealed)
        if secret is None:
            raise WrongKey(f"what is kept at {place} was not sealed for that place with this master key")
        return secret

    def fingerprint(self, secret: str) -> str:
        """The same for the same secret as long as the data lives, and worth nothing to who holds the data alone."""
        return hmac.digest(self._fingerprint_key, secret.encode(), sha256).hex()


def place_of(fact: Fact, member: str) -> str:
    """Where a fact's sealed member is kept."""
    return f"{KIND_OF[type(fact)]}/{key_of(fact)}/{member}"


def place_of_document(kind: str, key: str) -> str:
    """Where a document is kept whose whole body is a sealed value."""
    return f"{kind}/{key}"


def opened(keys: Sequence[bytes], kept: bytes | None, random_bytes: Callable[[int], bytes]) -> tuple[Seal, Document]:
    """The seal under the first of these keys that opens what was kept (None: data never sealed before).

    Also the document that holds the fingerprint key, to be kept where it was not. Raises WrongKey.
    """
    if kept is None:
        fingerprint_key = random_bytes(KEY_LENGTH)
        sealed = _seal(AESGCM(keys[0]), _SEAL_PLACE, fingerprint_key, random_bytes)
        return Seal(keys[0], fingerprint_key, random_bytes), Document(SEAL_KIND, "", sealed)
    for key in keys:
        found = _open(AESGCM(key), _SEAL_PLACE, kept)
        if found is not None:
            return Seal(key, found, random_bytes), Document(SEAL_KIND, "", kept)
    raise WrongKey("the master key is not the one that this data's secrets were sealed with")


# Rotation


async def rotate(ledger: Documents, old: KeySource, new: bytes, random_bytes: Callable[[int], bytes]) -> int:
    """Writes every secret anew under another key, in one change; returns how many there were.

    No server may run meanwhile (`Stale` where one changed the data). Raises WrongKey where the old key is wrong.
    """
    revision, documents = await ledger.load()
    kept = _kept(documents)
    if kept is None:
        return 0
    seal, _ = opened(old(first=False), kept, random_bytes)
    cipher = AESGCM(new)

    def reseal(place: str, sealed: bytes) -> bytes:
        return _seal(cipher, place, seal.open(place, sealed), random_bytes)

    resealed = list(_resealed(documents, reseal))
    await ledger.change([document for document, _ in resealed], expected=revision)
    return sum(count for document, count in resealed if document.kind != SEAL_KIND)


async def rotate_key_file(
    ledger: Documents, old: KeySource, key_file: Path, random_bytes: Callable[[int], bytes]
) -> int:
    """The same under a new key, which then is the key file's."""
    new_file = new_file_of(key_file)
    if new_file.exists():  # an earlier rotation was interrupted: before its change of documents, or after it
        _, documents = await ledger.load()
        kept = _kept(documents)
        if kept is not None and _open(AESGCM(read_key_file(new_file)), _SEAL_PLACE, kept) is not None:
            replace_key_file(key_file)
        new_file.unlink(missing_ok=True)
    new = random_bytes(KEY_LENGTH)
    make_key_file(new_file, new)
    count = await rotate(ledger, old, new, random_bytes)
    replace_key_file(key_file)
    return count


def _kept(documents: Sequence[Document]) -> bytes | None:
    return next((document.body for document in documents if document.kind == SEAL_KIND), None)


def _resealed(documents: Sequence[Document], reseal: Callable[[str, bytes], bytes]) -> Iterator[tuple[Document, int]]:
    """Every document that holds secrets, resealed, and how many it holds.

    Some facts have sealed members; a setting is, if it is secret, one sealed value as a whole.
    """
    for kind, key, body in documents:
        if body is None:
            continue
        if names := _SEALED.get(kind):
            fact: Fact = msgspec.msgpack.decode(body, type=FACT_OF[kind])
            sealed = {name: value for name in names if (value := getattr(fact, name)) is not None}
            new = {name: reseal(place_of(fact, name), value) for name, value in sealed.items()}
            yield Document(kind, key, msgspec.msgpack.encode(structs.replace(fact, **new))), len(new)
        elif body.startswith(_MARK):
            yield Document(kind, key, reseal(place_of_document(kind, key), body)), 1


def _seal(cipher: AESGCM, place: str, secret: bytes, random_bytes: Callable[[int], bytes]) -> bytes:
    nonce = random_bytes(_NONCE_LENGTH)
    return _MARK + nonce + cipher.encrypt(nonce, secret, place.encode())


def _open(cipher: AESGCM, place: str, sealed: bytes) -> bytes | None:
    start = len(_MARK) + _NONCE_LENGTH
    if not sealed.startswith(_MARK):
        return None
    try:
        return cipher.decrypt(sealed[len(_MARK) : start], sealed[start:], place.encode())
    except (InvalidTag, ValueError):
        return None
