"""The market: the one door by which the catalog changes, whole, kept, and seen by every process."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from msgspec import structs

from meterhouse.core.catalog import Account, Agreement, Catalog, Credential, Fact, OpenIdentity, Product, ProductType
from meterhouse.ledger.memory import open_memory
from meterhouse.ledger.protocol import Busy, Document, Ledger, Stale
from meterhouse.service.catalog_file import LOADED_KIND, Circumstances, Loaded, load
from meterhouse.service.credentials import new_credential
from meterhouse.service.draft import Change, Gone, Sources
from meterhouse.service.market import Market
from meterhouse.service.master_key import WrongKey
from meterhouse.service.places import Source
from meterhouse.service.reading import read_catalog
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import CredentialRow
from meterhouse.wire.policy import policy_of
from tests.unit.marketplace import AGREEMENT, BUYER, NOW, PRODUCT, SELLER, Chance

KEY = b"k" * 32


def keys(*, first: bool) -> Sequence[bytes]:
    """The master key of these tests."""
    return [KEY]


async def opened(ledger: Ledger) -> Market:
    """A market over a ledger, as another process would open it too."""
    return await Market.open(ledger, keys, Chance())


def sources_of(market: Market) -> Sources:
    """What rules need, with the market's own seal."""
    return Sources(lambda _account: NOW, Chance(), market.seal.seal, policy_of)


def suspend(account: str) -> Change[str]:
    """A change of one account."""
    return Change([Account(account, suspended=True)], account)


async def loaded(market: Market, text: str) -> Loaded:
    """A file's text, loaded."""
    written = read_catalog(text, "catalog.toml")

    def plan(catalog: Catalog) -> Change[Loaded]:
        circumstances = Circumstances(Source.FILE, market.settings(LOADED_KIND), market.seal.fingerprint, {})
        return load(written, catalog, circumstances, sources_of(market))

    return await market.change(plan)


def facts_of(catalog: Catalog) -> list[object]:
    """All that a catalog holds, in an order of its own."""
    return sorted([*catalog.facts(), catalog.open], key=repr)


async def test_what_was_changed_is_found_again() -> None:
    """A market opened later over the same ledger has the same catalog, the same settings and the same secrets."""
    ledger = await open_memory()
    market = await opened(ledger)
    await loaded(market, PRODUCT + AGREEMENT + f'[open]\naccount = "{BUYER}"\n')
    row = CredentialRow(account=SELLER, access_key_id="AKID", secret_access_key="one", session_token="two")
    await market.change(lambda catalog: new_credential(row, catalog, sources_of(market)))
    await market.change(lambda _: Change([Document("clock", "", b"x")], None))
    again = await opened(ledger)
    assert facts_of(again.catalog) == facts_of(market.catalog)
    assert again.catalog.revision == market.catalog.revision
    assert dict(again.settings("clock")) == {"": b"x"}
    assert again.secret_of(again.catalog.credentials["AKID"]) == ("one", "two")
    assert again.catalog.identifier_of_buyer == market.catalog.identifier_of_buyer


async def test_a_change_answers_with_what_its_plan_says() -> None:
    """And moves the revision."""
    market = await opened(await open_memory())
    before = market.catalog.revision
    assert await market.change(lambda _: suspend(BUYER)) == BUYER
    assert market.catalog.suspended(BUYER)
    assert market.catalog.revision == before + 1


async def test_what_changes_nothing_is_not_written() -> None:
    """Facts, settings and deletions that are so already leave the revision alone."""
    market = await opened(await open_memory())
    await market.change(lambda _: Change([Account(BUYER), Document("clock", "", b"x")], None))
    before = market.catalog.revision
    same: list[Fact | Gone | Document] = [
        Account(BUYER),
        Document("clock", "", b"x"),
        Document("clock", BUYER, None),
        Gone("AKID"),
        OpenIdentity(),
    ]
    await market.change(lambda _: Change(same, None))
    assert market.catalog.revision == before


async def test_a_refused_change_changes_nothing() -> None:
    """What the plan raises is raised, and the door is open for the next."""
    market = await opened(await open_memory())
    before = market.catalog.revision

    def plan(_catalog: Catalog) -> Change[None]:
        raise Refused(RefusalKind.CONFLICT, "no")

    with pytest.raises(Refused):
        await market.change(plan)
    assert market.catalog.revision == before
    await market.change(lambda _: suspend(BUYER))


async def test_a_long_change_holds_nobody_up() -> None:
    """While a change is planned aside others look whether anything has moved, find that nothing has, and go on."""
    market = await opened(await open_memory())
    looked = threading.Event()

    def plan(_catalog: Catalog) -> Change[str]:
        assert looked.wait(30), "nobody could look"
        return suspend(BUYER)

    changing = asyncio.ensure_future(market.change(plan, aside=True))
    await asyncio.sleep(0)
    await market.refresh()
    assert not market.catalog.suspended(BUYER)
    looked.set()
    assert await changing == BUYER
    assert market.catalog.suspended(BUYER)


async def test_a_deleted_credential_is_gone_everywhere() -> None:
    """For this process at once, for another after it has caught up, and after a reopening."""
    ledger = await open_memory()
    market = await opened(ledger)
    row = CredentialRow(account=SELLER, access_key_id="AKID")
    await market.change(lambda catalog: new_credential(row, catalog, sources_of(market)))
    other = await opened(ledger)
    await market.change(lambda _: Change([Gone("AKID")], None))
    assert "AKID" not in market.catalog.credentials
    assert "AKID" in other.catalog.credentials
    await other.refresh()
    assert "AKID" not in other.catalog.credentials
    assert (await opened(ledger)).catalog.credentials == {}


async def test_a_deleted_setting_is_gone_everywhere() -> None:
    """Views that were taken before show it too."""
    ledger = await open_memory()
    market, other = await opened(ledger), await opened(ledger)
    view, other_view = market.settings("clock"), other.settings("clock")
    await market.change(lambda _: Change([Document("clock", "", b"x")], None))
    await other.refresh()
    assert dict(view) == dict(other_view) == {"": b"x"}
    await market.change(lambda _: Change([Document("clock", "", None)], None))
    await other.refresh()
    assert dict(view) == dict(other_view) == {}


async def test_a_plan_is_made_anew_where_another_process_was_faster() -> None:
    """It then sees what that process has changed, and both changes are kept."""
    ledger = await open_memory()
    market, other = await opened(ledger), await opened(ledger)
    await other.change(lambda _: suspend(SELLER))
    seen: list[bool] = []

    def plan(catalog: Catalog) -> Change[str]:
        seen.append(catalog.suspended(SELLER))
        return suspend(BUYER)

    await market.change(plan)
    assert seen == [False, True]
    await other.refresh()
    assert facts_of(market.catalog) == facts_of(other.catalog)
    assert market.catalog.revision == other.catalog.revision


async def test_a_conflict_with_another_process_is_found() -> None:
    """Of two that make the same product, one is refused."""
    ledger = await open_memory()
    market, other = await opened(ledger), await opened(ledger)
    row = CredentialRow(account=SELLER, access_key_id="AKID")
    await other.change(lambda catalog: new_credential(row, catalog, sources_of(other)))
    with pytest.raises(Refused) as refused:
        await market.change(lambda catalog: new_credential(row, catalog, sources_of(market)))
    assert refused.value.kind is RefusalKind.CONFLICT


async def test_many_changes_at_once_are_all_kept() -> None:
    """From several processes, each of which plans against its own view."""
    ledger = await open_memory()
    markets = [await opened(ledger) for _ in range(3)]
    accounts = [f"{number:012}" for number in range(60)]

    async def change(market: Market, account: str) -> None:
        await market.change(lambda _: suspend(account))

    await asyncio.gather(*(change(markets[number % 3], account) for number, account in enumerate(accounts)))
    for market in markets:
        await market.refresh()
        assert set(market.catalog.accounts) == set(accounts)


class Contended:
    """A ledger in which somebody else is always faster."""

    def __init__(self, ledger: Ledger) -> None:
        self.load, self.changes = ledger.load, ledger.changes

    async def change(self, documents: Sequence[Document], *, expected: int) -> int:
        """Never."""
        raise Stale(f"{len(documents)} documents, not at {expected}")


async def test_waiting_for_a_gap_is_bounded() -> None:
    """A change that never gets through ends with Busy, and so does an opening; neither runs for ever."""
    ledger = await open_memory()
    with pytest.raises(Busy):
        await Market.open(Contended(ledger), keys, Chance())
    await opened(ledger)
    market = await Market.open(Contended(ledger), keys, Chance())
    with pytest.raises(Busy):
        await market.change(lambda _: suspend(BUYER))
    assert not market.catalog.suspended(BUYER)


class Forgetful:
    """A ledger that keeps a change and whose answer is then lost."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.load, self.changes = ledger.load, ledger.changes
        self.loses = False

    async def change(self, documents: Sequence[Document], *, expected: int) -> int:
        """Keeps them, and loses the answer where it is told to."""
        revision = await self.ledger.change(documents, expected=expected)
        if self.loses:
            self.loses = False
            raise asyncio.CancelledError
        return revision


async def test_a_change_whose_answer_was_lost_is_caught_up_with() -> None:
    """Kept but not applied, it is seen by the next change, which plans again on top of it."""
    ledger = Forgetful(await open_memory())
    market = await Market.open(ledger, keys, Chance())
    ledger.loses = True
    with pytest.raises(asyncio.CancelledError):
        await market.change(lambda _: suspend(SELLER))
    assert not market.catalog.suspended(SELLER)
    await market.change(lambda _: suspend(BUYER))
    assert market.catalog.suspended(SELLER)
    assert market.catalog.suspended(BUYER)


async def test_two_processes_open_new_data_at_once() -> None:
    """The first one's fingerprint key is both's."""
    ledger = await open_memory()
    one, other = await asyncio.gather(opened(ledger), Market.open(ledger, keys, Chance()))
    assert one.seal.fingerprint("a") == other.seal.fingerprint("a")


async def test_a_wrong_key_refuses_the_opening() -> None:
    """Also where no secret was ever kept."""
    ledger = await open_memory()
    await opened(ledger)

    def wrong(*, first: bool) -> Sequence[bytes]:
        assert not first
        return [b"w" * 32]

    with pytest.raises(WrongKey):
        await Market.open(ledger, wrong, Chance())


async def test_facts_are_applied_in_any_order() -> None:
    """An agreement that is read before its product finds its customer's name all the same."""
    ledger = await open_memory()
    market = await opened(ledger)
    agreement = Agreement("agmt-1", "p", BUYER, "arn:aws:x:::l", "X01", NOW)
    await market.change(lambda _: Change([agreement, Product("p", "prod-1", "n", SELLER, ProductType.SAAS)], None))
    assert market.catalog.buyer_of_identifier == {(SELLER, "X01"): BUYER}
    assert (await opened(ledger)).catalog.buyer_of_identifier == {(SELLER, "X01"): BUYER}


async def test_a_replaced_secret_is_not_taken_for_the_old_one() -> None:
    """What is remembered of a credential is of that credential alone."""
    market = await opened(await open_memory())
    row = CredentialRow(account=SELLER, access_key_id="AKID", secret_access_key="one")
    await market.change(lambda catalog: new_credential(row, catalog, sources_of(market)))
    assert market.secret_of(market.catalog.credentials["AKID"]) == ("one", None)
    await market.change(lambda _: Change([Gone("AKID")], None))
    row = structs.replace(row, secret_access_key="two")
    await market.change(lambda catalog: new_credential(row, catalog, sources_of(market)))
    assert market.secret_of(market.catalog.credentials["AKID"]) == ("two", None)


async def test_a_secret_moved_to_another_row_does_not_open() -> None:
    """Whoever can write to the data cannot give one key the secret of another."""
    market = await opened(await open_memory())
    row = CredentialRow(account=SELLER, access_key_id="AKID", secret_access_key="one")
    await market.change(lambda catalog: new_credential(row, catalog, sources_of(market)))
    stolen: Credential = structs.replace(market.catalog.credentials["AKID"], access_key_id="AKIE")
    with pytest.raises(WrongKey):
        market.secret_of(stolen)


async def test_loading_a_file_is_one_change() -> None:
    """However many rows it has; a second load is none."""
    market = await opened(await open_memory())
    before = market.catalog.revision
    await loaded(market, PRODUCT + AGREEMENT * 50)
    assert market.catalog.revision == before + 1
    assert len(market.catalog.agreements) == 50
    assert (await loaded(market, PRODUCT + AGREEMENT * 50)).changed == {}
    assert market.catalog.revision == before + 1
