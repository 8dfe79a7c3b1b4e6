"""How a workload comes by its credentials: what the platform it runs on would hand it, and hand it anew (contract §3).

A hand-out is kept for each workload that was started by a call: the hash of the secret in its address, the hash of its
authorization token, and the access keys handed out so far, newest first. Credentials live for six hours and are renewed
an hour before they end, so whoever asks always gets some that outlast an SDK's refresh window; those that were handed
out before stay good until their own end, as on AWS.
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct, structs

from meterhouse.core.catalog import Catalog, Credential, Workload
from meterhouse.core.moment import HOUR
from meterhouse.ledger.protocol import Document
from meterhouse.service.credentials import handed_to
from meterhouse.service.draft import Change, Gone, Sources
from meterhouse.service.market import Market

HAND_OUT_KIND: Final = "hand-out"
"""The kind under which hand-outs are kept, by the hash of the secret in their address."""
LIFETIME_MICROS: Final = 6 * HOUR
"""How long handed-out credentials are good for."""
RENEWED_BEFORE_MICROS: Final = HOUR
"""How long before their end new ones are handed out."""


_SECRET_BYTES: Final = 32


class HandOut(Struct, frozen=True, array_like=True):
    """A workload's access to its credentials, as it is kept."""

    resource_id: str
    authorization_sha256: bytes
    access_key_ids: tuple[str, ...]
    """Newest first; those behind the first are forgotten once they have expired."""
    port: int | None = None
    """The loopback port of its instance metadata service, where it has one."""


class Opened(NamedTuple):
    """The two secrets of a new hand-out, the only time they are known."""

    address_secret: str
    authorization_token: str


class HandedOut(NamedTuple):
    """Credentials as they are handed to a workload."""

    workload: Workload
    access_key_id: str
    secret_access_key: str
    session_token: str
    made_micros: int
    expires_micros: int


def new_hand_out(
    resource_id: str, access_key_id: str, random_bytes: Callable[[int], bytes], port: int | None = None
) -> tuple[Document, Opened]:
    """A hand-out for a workload's first credentials."""
    opened = Opened(random_bytes(_SECRET_BYTES).hex(), random_bytes(_SECRET_BYTES).hex())
    hand_out = HandOut(resource_id, _digest(opened.authorization_token), (access_key_id,), port)
    return _document(_name(opened.address_secret), hand_out), opened


class HandOuts:
    """The hand-outs of a market, and what they give."""

    def __init__(self, market: Market, sources: Sources, real_micros: Callable[[], int]) -> None:
        self._market = market
        self._sources = sources
        self._real_micros = real_micros

    def by_secret(self, address_secret: str, authorization_token: str | None) -> tuple[str, HandOut] | None:
        """The hand-out at an address, with its name; None where there is none.

        Raises PermissionError where a token is sent that is not its own.
        """
        name = _name(address_secret)
        hand_out = self._kept(name)
        if hand_out is None:
            return None
        if authorization_token is not None and not hmac.compare_digest(
            _digest(authorization_token), hand_out.authorization_sha256
        ):
            raise PermissionError("the authorization token is not that of these credentials")
        return name, hand_out

    def ports(self) -> dict[str, int]:
        """The ports of those that have an instance metadata service and whose workload runs, by their names."""
        kept = {name: self._kept(name) for name in self._market.settings(HAND_OUT_KIND)}
        return {
            name: hand_out.port
            for name, hand_out in kept.items()
            if hand_out is not None and hand_out.port is not None and self._runs(hand_out)
        }

    def lives(self, name: str) -> bool:
        """Whether the workload of a hand-out runs."""
        hand_out = self._kept(name)
        return hand_out is not None and self._runs(hand_out)

    async def move(self, name: str, port: int) -> None:
        """Another port has taken the place of a hand-out's."""

        def plan(_catalog: Catalog) -> Change[None]:
            hand_out = self._kept(name)
            return Change([] if hand_out is None else [_document(name, structs.replace(hand_out, port=port))], None)

        await self._market.change(plan)

    async def give(self, name: str) -> HandedOut | None:
        """The credentials of a hand-out, renewed where they near their end; None once the workload was ended."""

        def plan(catalog: Catalog) -> Change[HandOut | None]:
            hand_out = self._kept(name)
            workload = None if hand_out is None else catalog.running(hand_out.resource_id)
            if hand_out is None or workload is None:
                return Change([], None)
            return self._renewed(name, hand_out, workload, catalog)

        hand_out = await self._market.change(plan)
        if hand_out is None:
            return None
        catalog = self._market.catalog
        credential = catalog.credentials[hand_out.access_key_ids[0]]
        secret, session_token = self._market.secret_of(credential)
        assert session_token is not None, "handed-out credentials are temporary"
        assert credential.expires_micros is not None, "handed-out credentials are temporary"
        made_micros = credential.expires_micros - LIFETIME_MICROS
        return HandedOut(
            catalog.workloads[hand_out.resource_id],
            credential.access_key_id,
            secret,
            session_token,
            made_micros,
            credential.expires_micros,
        )

    def _kept(self, name: str) -> HandOut | None:
        body = self._market.settings(HAND_OUT_KIND).get(name)
        return None if body is None else msgspec.msgpack.decode(body, type=HandOut)

    def _runs(self, hand_out: HandOut) -> bool:
        return self._market.catalog.running(hand_out.resource_id) is not None

    def _renewed(self, name: str, hand_out: HandOut, workload: Workload, catalog: Catalog) -> Change[HandOut | None]:
        now_micros = self._real_micros()
        newest = catalog.credentials.get(hand_out.access_key_ids[0])
        if newest is not None and _remaining(newest, now_micros) > RENEWED_BEFORE_MICROS:
            return Change([], hand_out)
        credential, _ = handed_to(workload, now_micros + LIFETIME_MICROS, self._sources)
        older = [key for key in hand_out.access_key_ids if key in catalog.credentials]
        expired = [key for key in older if _remaining(catalog.credentials[key], now_micros) <= 0]
        still_good = tuple(key for key in older if key not in expired)
        renewed = structs.replace(hand_out, access_key_ids=(credential.access_key_id, *still_good))
        return Change([credential, *map(Gone, expired), _document(name, renewed)], renewed)


def _remaining(credential: Credential, now_micros: int) -> int:
    return 0 if credential.expires_micros is None else credential.expires_micros - now_micros


def _name(address_secret: str) -> str:
    return sha256(address_secret.encode()).hexdigest()


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _document(name: str, hand_out: HandOut) -> Document:
    return Document(HAND_OUT_KIND, name, msgspec.msgpack.encode(hand_out))
