"""What workloads are handed: credentials that are renewed before they end, and never given to another (§3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from meterhouse.core.moment import HOUR, SECOND
from meterhouse.server.control.application import control_application
from meterhouse.service.hand_out import LIFETIME_MICROS, RENEWED_BEFORE_MICROS, HandedOut, HandOuts
from tests.unit.control_market import BUYER, furnish
from tests.unit.control_server import ControlServer, served

BEGUN: Final = 1_795_262_400 * SECOND


class Clock:
    """Real time, as a test has it."""

    def __init__(self) -> None:
        self.micros = BEGUN

    def __call__(self) -> int:
        """The instant."""
        return self.micros


class Handing:
    """A workload, the clock by which its credentials end, and what it is handed."""

    def __init__(self, server: ControlServer, clock: Clock, secret: str, token: str) -> None:
        self.server = server
        self.clock = clock
        self.hand_outs = HandOuts(server.parts.market, server.parts.sources, clock)
        self.secret = secret
        self.token = token

    async def fetch(self) -> HandedOut | None:
        """What the workload is handed now."""
        found = self.hand_outs.by_secret(self.secret, self.token)
        return None if found is None else await self.hand_outs.give(found[0])

    async def fetched(self) -> HandedOut:
        """The same, where it must be handed some."""
        handed = await self.fetch()
        assert handed is not None
        return handed

    def known(self) -> set[str]:
        """The access keys that the market knows of workloads."""
        credentials = self.server.parts.market.catalog.credentials.values()
        return {one.access_key_id for one in credentials if one.workload is not None}


@asynccontextmanager
async def handing() -> AsyncIterator[Handing]:
    """A task that was started at the beginning."""
    clock = Clock()
    async with served() as server:
        server.parts = server.parts._replace(real_now=clock)
        await furnish(server)
        task = {"platform": "ecs", "account": BUYER, "region": "us-east-1", "resource_id": "task/1"}
        server.application = control_application(server.parts)
        started = await server.made("/workloads", task)
        secret = started["credentials_uri"].rpartition("/")[2]
        yield Handing(server, clock, secret, started["authorization_token"])


async def test_credentials_stay_until_they_near_their_end() -> None:
    """The same ones up to an hour before; from then on new ones, for six hours from now."""
    async with handing() as task:
        first = await task.fetched()
        assert (first.made_micros, first.expires_micros) == (BEGUN, BEGUN + LIFETIME_MICROS)
        task.clock.micros = BEGUN + LIFETIME_MICROS - RENEWED_BEFORE_MICROS - 1
        assert await task.fetched() == first
        task.clock.micros += 1
        second = await task.fetched()
        assert second.access_key_id != first.access_key_id
        assert (second.secret_access_key, second.session_token) != (first.secret_access_key, first.session_token)
        assert second.expires_micros == task.clock.micros + LIFETIME_MICROS
        assert await task.fetched() == second


async def test_whoever_asks_gets_some_that_last() -> None:
    """Over days, each answer is good for more than an hour: longer than any SDK waits before it asks again."""
    async with handing() as task:
        for _ in range(100):
            assert (await task.fetched()).expires_micros - task.clock.micros >= RENEWED_BEFORE_MICROS
            task.clock.micros += 37 * 60 * SECOND


async def test_older_credentials_stay_good_until_their_own_end_and_are_forgotten_after() -> None:
    """As on AWS; so a workload never has more than a few."""
    async with handing() as task:
        first = await task.fetched()
        task.clock.micros += 5 * HOUR
        second = await task.fetched()
        assert task.known() == {first.access_key_id, second.access_key_id}
        task.clock.micros += 5 * HOUR
        third = await task.fetched()
        assert task.known() == {second.access_key_id, third.access_key_id}


async def test_calls_at_once_renew_once() -> None:
    """Fifty that ask together are handed the same new credentials."""
    async with handing() as task:
        await task.fetched()
        task.clock.micros += 5 * HOUR
        handed = await asyncio.gather(*(task.fetched() for _ in range(50)))
        assert len({one.access_key_id for one in handed}) == 1
        assert len(task.known()) == 2


async def test_an_ended_workload_is_handed_nothing() -> None:
    """Neither what it had nor anything new."""
    async with handing() as task:
        await task.fetched()
        await task.server.made("/workloads/task%2F1/end")
        assert await task.fetch() is None
        task.clock.micros += 5 * HOUR
        assert await task.fetch() is None


async def test_credentials_that_were_deleted_are_replaced() -> None:
    """A workload whose credentials were deleted by a call is handed new ones."""
    async with handing() as task:
        first = await task.fetched()
        assert (await task.server.ask("DELETE", f"/credentials/{first.access_key_id}")).status == 204
        assert (await task.fetched()).access_key_id != first.access_key_id


@pytest.mark.parametrize("token", ["another", "", "  "])
async def test_a_wrong_token_is_refused(token: str) -> None:
    """Where one is sent it must be the right one; where none is sent the address alone is enough."""
    async with handing() as task:
        with pytest.raises(PermissionError):
            task.hand_outs.by_secret(task.secret, token)
        assert task.hand_outs.by_secret(task.secret, None) == task.hand_outs.by_secret(task.secret, task.token)


async def test_secrets_are_not_kept() -> None:
    """Neither of the two secrets stands in a document, and no other secret opens a hand-out."""
    async with handing() as task:
        _, documents = await task.server.parts.ledger.load()
        for document in documents:
            whole = document.key.encode() + (document.body or b"")
            assert task.secret.encode() not in whole
            assert task.token.encode() not in whole
        assert task.hand_outs.by_secret(task.secret[:-1], None) is None
        assert task.hand_outs.by_secret("", None) is None
