"""The market: the live catalog over a ledger's documents, and the one door by which it is changed.

Rules of this file
- `catalog` is what requests read. It moves only in `_apply`, which does not await: on the event loop, between two
  requests, never half. Its revision is that of the ledger as of the last document applied.
- A change is a pure plan. It is made against the catalog, written under the revision it was made against, and applied
  when it is kept. Where another process was faster (`Stale`) its changes are applied first and the plan is made anew.
  Changes of this process wait for each other.
- Documents whose kind is no fact's are *settings*: small values of other owners (clocks, faults, keys) that go by the
  same door and are found in `settings(kind)`.
- One change costs as much as it changes, whatever the size of the catalog.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec

from meterhouse.core.catalog import (
    FACT_OF,
    KIND_OF,
    Catalog,
    Credential,
    Fact,
    key_of,
)
from meterhouse.ledger.protocol import Busy, Document, Stale
from meterhouse.service.draft import Change, Gone, held
from meterhouse.service.master_key import KeySource
from meterhouse.service.seal import SEAL_KIND, Documents, Seal, opened, place_of

answer_type = TypeVar("answer_type")

_DECODERS: Final[dict[str, msgspec.msgpack.Decoder[Fact]]] = {
    kind: msgspec.msgpack.Decoder(fact) for kind, fact in FACT_OF.items()
}
_ENCODER: Final = msgspec.msgpack.Encoder()
_CREDENTIAL_KIND: Final = KIND_OF[Credential]
_ATTEMPTS: Final = 64
"""How often a change is planned anew; each time another process has got a change through."""
_SECRETS_REMEMBERED: Final = 4096


class Market:
    """What a marketplace is, and how it is changed. Opened with `Market.open`; belongs to one event loop."""

    def __init__(self, ledger: Documents, seal: Seal) -> None:
        self.catalog = Catalog()
        self.seal = seal
        self._ledger = ledger
        self._settings: dict[str, dict[str, bytes]] = {}
        self._one_change = asyncio.Lock()
        self._opened = lru_cache(_SECRETS_REMEMBERED)(self._open_secrets)

    @classmethod
    async def open(cls, ledger: Documents, keys: KeySource, random_bytes: Callable[[int], bytes]) -> "Market":
        """The market kept in a ledger. Raises WrongKey, and what the ledger raises."""
        for _ in range(_ATTEMPTS):
            revision, documents = await ledger.load()
            kept = next((document.body for document in documents if document.kind == SEAL_KIND), None)
            seal, fingerprint_key = opened(keys(first=kept is None), kept, random_bytes)
            if kept is not None:
                market = cls(ledger, seal)
                with _no_collection():
                    market._apply(documents, revision)
                return market
            try:
                await ledger.change([fingerprint_key], expected=revision)
            except Stale:
                continue  # another process opened the same new data, and its document counts
        raise Busy("the ledger's documents keep changing")

    def settings(self, kind: str) -> Mapping[str, bytes]:
        """The documents of a kind that is no fact's, by key: a live view."""
        return MappingProxyType(self._settings.setdefault(kind, {}))

    async def change(self, plan: Callable[[Catalog], Change[answer_type]], *, aside: bool = False) -> answer_type:
        """Makes a change, all or nothing, synced before this returns; gives back the plan's answer.

        `plan` is called between requests, perhaps more than once, and must not touch what it reads; what it raises
        (`Refused`) is raised, and nothing is changed. Facts that are as they were are not written. Raises `Busy` where
        other processes leave no gap, and `LedgerFailure`.

        `aside`: a plan that takes long is made in a thread, while requests go on. Nothing moves the catalog meanwhile.
        """

        def planned() -> tuple[list[Document], answer_type]:
            writes, answer = plan(self.catalog)
            return [document for write in writes if (document := self._document_of(write)) is not None], answer

        async with self._one_change:
            for _ in range(_ATTEMPTS):
                documents, answer = await asyncio.to_thread(planned) if aside else planned()
                if not documents:
                    return answer
                try:
                    revision = await self._ledger.change(documents, expected=self.catalog.revision)
                except Stale:
                    await self._catch_up()
                    continue
                self._apply(documents, revision)
                return answer
        raise Busy("the catalog keeps changing")

    async def refresh(self) -> None:
        """Applies what other processes have changed.

        Where nothing has been acknowledged that is not applied, a change of this process that takes long is not waited
        for: it does not hold yet.
        """
        before = self.catalog.revision
        revision, documents = await self._ledger.changes(before)
        if revision <= before:
            return
        async with self._one_change:
            if self.catalog.revision == before:
                self._apply(documents, revision)
            else:
                await self._catch_up()

    def secret_of(self, credential: Credential) -> tuple[str, str | None]:
        """The secret access key and the session token of a credential; the last few thousand are remembered."""
        return self._opened(credential)

    def _open_secrets(self, credential: Credential) -> tuple[str, str | None]:
        secret = self.seal.open(place_of(credential, "sealed_secret"), credential.sealed_secret).decode()
        sealed = credential.sealed_session_token
        if sealed is None:
            return secret, None
        return secret, self.seal.open(place_of(credential, "sealed_session_token"), sealed).decode()

    async def _catch_up(self) -> None:
        revision, documents = await self._ledger.changes(self.catalog.revision)
        self._apply(documents, revision)

    def _apply(self, documents: Sequence[Document], revision: int) -> None:
        """The only place where the catalog and the settings move."""
        put = self.catalog.put
        for kind, key, body in documents:
            decoder = _DECODERS.get(kind)
            if decoder is None:
                self._apply_setting(kind, key, body)
            elif body is not None:
                put(decoder.decode(body))
            else:
                assert kind == _CREDENTIAL_KIND, f"a {kind} cannot be deleted"
                self.catalog.drop_credential(key)
        self.catalog.revision = revision

    def _apply_setting(self, kind: str, key: str, body: bytes | None) -> None:
        settings = self._settings.setdefault(kind, {})
        if body is None:
            settings.pop(key, None)
        else:
            settings[key] = body

    def _document_of(self, write: Fact | Gone | Document) -> Document | None:
        """What to write; None where it would change nothing."""
        if isinstance(write, Gone):
            known = write.access_key_id in self.catalog.credentials
            return Document(_CREDENTIAL_KIND, write.access_key_id, None) if known else None
        if isinstance(write, Document):
            return None if self._settings.get(write.kind, {}).get(write.key) == write.body else write
        if held(self.catalog, write) == write:
            return None
        return Document(KIND_OF[type(write)], key_of(write), _ENCODER.encode(write))


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for garbage meanwhile: a catalog makes none as it is read, and millions of facts are long to search."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
