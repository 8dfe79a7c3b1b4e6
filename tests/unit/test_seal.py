"""Secrets at rest: sealed for their place, under one master key, from the variable or from a file."""

import base64
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.catalog import KIND_OF, Credential, Fact, ProductKey, key_of
from meterhouse.ledger.memory import open_memory
from meterhouse.ledger.protocol import Document, Ledger
from meterhouse.service.market import Market
from meterhouse.service.master_key import KeySource, WrongKey, key_of_text, keys_from, make_key_file, new_file_of
from meterhouse.service.seal import SEAL_KIND, Seal, opened, place_of, place_of_document, rotate, rotate_key_file
from tests.unit.marketplace import Chance

KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def text(key: bytes) -> str:
    """A key as the variable carries it."""
    return base64.b64encode(key).decode()


def always(*keys: bytes) -> KeySource:
    """A source of these keys."""

    def source(*, first: bool) -> Sequence[bytes]:
        return keys

    return source


@given(secret=st.binary(max_size=200), place=st.text(max_size=50))
def test_what_is_sealed_opens_at_its_place(secret: bytes, place: str) -> None:
    """A secret comes back as it was, and nothing of it shows in the sealed value."""
    seal = Seal(KEY, b"f", Chance())
    sealed = seal.seal(place, secret)
    assert seal.open(place, sealed) == secret
    assert len(secret) < 8 or secret not in sealed
    assert seal.seal(place, secret) != sealed


@pytest.mark.parametrize("change", [b"", b"mhs1", b"\x00" * 40, "flip", "cut", "place", "key"])
def test_what_was_tampered_with_does_not_open(change: bytes | str) -> None:
    """A value that was altered, cut, moved to another place, or sealed under another key is refused."""
    seal, place = Seal(KEY, b"f", Chance()), "credential/AKID/sealed_secret"
    sealed = seal.seal(place, b"secret")
    altered = {
        "flip": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "cut": sealed[:-1],
        "place": seal.seal("credential/AKIE/sealed_secret", b"secret"),
        "key": Seal(OTHER_KEY, b"f", Chance()).seal(place, b"secret"),
    }
    with pytest.raises(WrongKey):
        seal.open(place, altered[change] if isinstance(change, str) else change)


def test_a_seal_shows_nothing() -> None:
    """Neither its key nor what it fingerprints with."""
    assert "kkkk" not in repr(Seal(KEY, b"ffff", Chance()))


def test_a_wrong_key_is_known_at_once() -> None:
    """The document kept with the first opening does not open under another key, though nothing else was sealed."""
    _, document = opened([KEY], None, Chance())
    assert document.body is not None
    with pytest.raises(WrongKey, match="not the one that this data's secrets were sealed with"):
        opened([OTHER_KEY], document.body, Chance())


def test_fingerprints_last_as_long_as_the_data() -> None:
    """They are the same after each opening, differ by secret, and differ between two sets of data."""
    first, document = opened([KEY], None, Chance())
    again, _ = opened([OTHER_KEY, KEY], document.body, Chance())
    chance = Chance()
    chance.asked = 17
    elsewhere, _ = opened([KEY], None, chance)
    assert first.fingerprint("a") == again.fingerprint("a")
    assert len({first.fingerprint("a"), first.fingerprint("b"), elsewhere.fingerprint("a")}) == 3


# Keys


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("not base64!", "METERHOUSE_MASTER_KEY is not base64: it must hold 32 random bytes in base64"),
        ("ключ", "METERHOUSE_MASTER_KEY is not base64: it must hold 32 random bytes in base64"),
        (text(b"short"), "METERHOUSE_MASTER_KEY holds 5 bytes: it must hold 32 random bytes in base64"),
    ],
)
def test_a_malformed_key_is_refused_with_one_sentence(given: str, sentence: str) -> None:
    """The sentence names where the key came from, and does not repeat it."""
    with pytest.raises(WrongKey) as refused:
        key_of_text(given)
    assert str(refused.value) == sentence


def test_the_variable_goes_before_the_file(tmp_path: Path) -> None:
    """With the variable set no key file is made or read."""
    key_file = tmp_path / "meterhouse.db.key"
    assert keys_from(f" {text(KEY)}\n", key_file, Chance())(first=True) == [KEY]
    assert not key_file.exists()


def test_without_a_file_the_variable_is_required() -> None:
    """As with PostgreSQL."""
    with pytest.raises(WrongKey, match="METERHOUSE_MASTER_KEY is not set"):
        keys_from(None, None, Chance())(first=True)


def test_a_key_file_is_made_for_new_data_alone(tmp_path: Path) -> None:
    """It is the owner's alone, is found again, and leaves nothing beside it; a lost one is not replaced."""
    key_file = tmp_path / "meterhouse.db.key"
    keys = keys_from(None, key_file, Chance())
    made = keys(first=True)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert keys(first=True) == keys(first=False) == made
    assert list(tmp_path.iterdir()) == [key_file]
    key_file.unlink()
    with pytest.raises(WrongKey, match="is missing, and METERHOUSE_MASTER_KEY is not set"):
        keys(first=False)
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_make_a_key_file_one_wins(tmp_path: Path) -> None:
    """The second finds the first one's key, and does not overwrite it."""
    key_file = tmp_path / "meterhouse.db.key"
    make_key_file(key_file, KEY)
    make_key_file(key_file, OTHER_KEY)
    assert keys_from(None, key_file, Chance())(first=True) == [KEY]


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 44, base64.b64encode(b"x" * 31)])
def test_a_broken_key_file_is_refused_with_one_sentence(tmp_path: Path, content: bytes) -> None:
    """The sentence names the file."""
    key_file = tmp_path / "meterhouse.db.key"
    key_file.write_bytes(content)
    with pytest.raises(WrongKey, match=r"^the key file .*meterhouse\.db\.key "):
        keys_from(None, key_file, Chance())(first=False)


def test_a_folder_that_takes_no_file_is_said_so(tmp_path: Path) -> None:
    """One sentence, not a traceback."""
    with pytest.raises(WrongKey, match="cannot be made"):
        make_key_file(tmp_path / "absent" / "meterhouse.db.key", KEY)


# Rotation


def files_in(folder: Path) -> Sequence[Path]:
    """What lies in a folder."""
    return list(folder.iterdir())


SECRET = Credential("AKID", "111122223333", "arn:aws:iam::111122223333:root", b"")


async def sealed_ledger() -> Ledger:
    """A ledger with two credentials, a product's key and a sealed setting, all under KEY; and one plain setting."""
    ledger = await open_memory()
    market = await Market.open(ledger, always(KEY), Chance())
    seal = market.seal.seal
    facts: list[Fact] = [
        msgspec.structs.replace(
            SECRET,
            sealed_secret=seal(place_of(SECRET, "sealed_secret"), b"one"),
            sealed_session_token=seal(place_of(SECRET, "sealed_session_token"), b"two"),
        ),
        ProductKey("p", 1, "pem", seal("product key/p/1/sealed_private", b"three"), 0),
    ]
    documents = [Document(KIND_OF[type(fact)], key_of(fact), msgspec.msgpack.encode(fact)) for fact in facts]
    documents.append(Document("handed", "task/1", seal(place_of_document("handed", "task/1"), b"four")))
    documents.append(Document("clock", "", b"\x92\xa4real\x00"))
    await ledger.change(documents, expected=market.catalog.revision)
    return ledger


async def test_rotation_writes_every_secret_anew() -> None:
    """Under the new key all opens as before; under the old one nothing does; what is not secret stays."""
    ledger = await sealed_ledger()
    before = {(kind, key): body for kind, key, body in (await ledger.load())[1]}
    assert await rotate(ledger, always(KEY), OTHER_KEY, Chance()) == 4
    market = await Market.open(ledger, always(OTHER_KEY), Chance())
    assert market.secret_of(market.catalog.credentials["AKID"]) == ("one", "two")
    key = market.catalog.product_keys[key_of(ProductKey("p", 1, "", b"", 0))]
    assert market.seal.open(place_of(key, "sealed_private"), key.sealed_private) == b"three"
    assert market.seal.open("handed/task/1", market.settings("handed")["task/1"]) == b"four"
    after = {(kind, key): body for kind, key, body in (await ledger.load())[1]}
    assert {place for place in before if before[place] == after[place]} == {("clock", "")}
    with pytest.raises(WrongKey):
        await Market.open(ledger, always(KEY), Chance())


async def test_rotation_keeps_fingerprints() -> None:
    """A file whose secrets have not changed has not changed because the master key has."""
    ledger = await sealed_ledger()
    before = (await Market.open(ledger, always(KEY), Chance())).seal.fingerprint("a")
    await rotate(ledger, always(KEY), OTHER_KEY, Chance())
    assert (await Market.open(ledger, always(OTHER_KEY), Chance())).seal.fingerprint("a") == before


async def test_rotation_under_a_wrong_key_changes_nothing() -> None:
    """It is refused before anything is written."""
    ledger = await sealed_ledger()
    before = await ledger.load()
    with pytest.raises(WrongKey):
        await rotate(ledger, always(OTHER_KEY), KEY, Chance())
    assert await ledger.load() == before


async def test_new_data_has_nothing_to_rotate() -> None:
    """And nothing is made of it."""
    ledger = await open_memory()
    assert await rotate(ledger, always(KEY), OTHER_KEY, Chance()) == 0
    assert await ledger.load() == (0, [])


async def test_a_key_file_is_rotated(tmp_path: Path) -> None:
    """A new key takes the file's place, and opens what the old one did."""
    key_file = tmp_path / "meterhouse.db.key"
    make_key_file(key_file, KEY)
    keys = keys_from(None, key_file, Chance())
    ledger = await sealed_ledger()
    assert await rotate_key_file(ledger, keys, key_file, Chance()) == 4
    assert files_in(tmp_path) == [key_file]
    assert keys(first=False) != [KEY]
    market = await Market.open(ledger, keys, Chance())
    assert market.secret_of(market.catalog.credentials["AKID"]) == ("one", "two")


@pytest.mark.parametrize("written", [False, True])
async def test_an_interrupted_rotation_loses_nothing(tmp_path: Path, written: bool) -> None:
    """Killed before or after the change of documents, with both files there, a start and a next rotation succeed."""
    key_file = tmp_path / "meterhouse.db.key"
    make_key_file(key_file, KEY)
    make_key_file(new_file_of(key_file), OTHER_KEY)
    ledger = await sealed_ledger()
    keys = keys_from(None, key_file, Chance())
    if written:
        await rotate(ledger, always(KEY), OTHER_KEY, Chance())
    market = await Market.open(ledger, keys, Chance())
    assert market.secret_of(market.catalog.credentials["AKID"]) == ("one", "two")
    assert await rotate_key_file(ledger, keys, key_file, Chance()) == 4
    assert files_in(tmp_path) == [key_file]
    market = await Market.open(ledger, keys, Chance())
    assert market.secret_of(market.catalog.credentials["AKID"]) == ("one", "two")


async def test_the_kept_document_is_sealed_itself() -> None:
    """Whoever holds the data without the key has no fingerprint key."""
    _, documents = await (await sealed_ledger()).load()
    (kept,) = (document.body for document in documents if document.kind == SEAL_KIND)
    assert kept is not None
    assert kept.startswith(b"mhs1")
