"""What is wrong with a catalog file is said in one sentence: the file, the line, the table, the key and the reason."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from meterhouse.service.reading import read_catalog
from meterhouse.service.refused import Refused
from tests.unit.marketplace import CREDENTIAL, PRODUCT, Place

WRONG = Path(__file__).parents[1] / "vectors" / "wrong-catalogs.txt"


def wrong_catalogs() -> Sequence[tuple[str, str]]:
    """Each file of the table, and the sentence that is said of it."""
    cases = [case.split("\n", 1) for case in WRONG.read_text().split("\n=> ")[1:]]
    return [(text, sentence) for sentence, text in cases]


@pytest.mark.parametrize(("text", "sentence"), wrong_catalogs())
def test_a_wrong_file_is_refused_with_one_sentence(text: str, sentence: str) -> None:
    """A file that is wrong in one place is refused as a whole, and the sentence leads there."""
    place = Place()
    place.load(PRODUCT.replace("pipeline", "before"))
    kept = dict(place.kept)
    with pytest.raises(Refused) as refused:
        place.load(text)
    assert str(refused.value) == f"catalog.toml, {sentence}"
    assert place.kept == kept
    assert list(place.catalog.products) == ["before"]


def test_the_table_is_not_empty() -> None:
    """The table of wrong files was found, and read to its end."""
    assert len(wrong_catalogs()) > 80


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        (b"\xff", "not UTF-8: invalid start byte at byte 0"),
        ("x = " + "[" * 50_000, "not a catalog: nested too deeply"),
        ("x = [", "not TOML: "),
        ("code = 1\ncode = 2", "not TOML: "),
        ("x = " + "9" * 5000, "not TOML: "),
    ],
)
def test_what_is_no_catalog_at_all_is_refused(text: str | bytes, beginning: str) -> None:
    """Bytes that are not text, text that is not TOML, and nesting without end are refused, not crashed upon."""
    with pytest.raises(Refused) as refused:
        read_catalog(text, "catalog.toml")
    assert str(refused.value).startswith(f"catalog.toml: {beginning}")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (PRODUCT.replace("pipeline", "x" * 256), f'"{"x" * 60}…" is not a product code: 1 to 255 of A-Z, a-z, 0-9 '),
        (
            PRODUCT + "dimensions = [" + ",".join(f'{{key="d{n}",unit="u",price="1"}}' for n in range(201)) + "]",
            "dimensions: a list of 201 is not a list of at most 200 dimensions",
        ),
    ],
)
def test_large_values_are_cut_and_counted(text: str, end: str) -> None:
    """A sentence stays one that can be read, however large the value is."""
    with pytest.raises(Refused) as refused:
        Place().load(text)
    assert end in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("secret", ["hidden" * 1000, ""])
def test_a_secret_is_never_in_the_sentence(secret: str) -> None:
    """What is wrong with a secret is said without it."""
    with pytest.raises(Refused) as refused:
        Place().load(CREDENTIAL.replace("very secret", secret))
    assert "what is given is not a secret" in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_byte_order_mark_is_no_fault() -> None:
    """Some editors begin a file with one."""
    assert Place().load("\ufeff" + PRODUCT).changed == {"products": 1}
