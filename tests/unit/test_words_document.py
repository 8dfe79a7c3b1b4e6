"""`docs/words.md` has a word for each value that people see, one word for each thing, and none that is banned."""

from collections import Counter
from enum import StrEnum
from typing import Final

import pytest

from meterhouse.core.catalog import AgreementState, Integration, Platform
from meterhouse.core.outcome import Outcome
from meterhouse.core.profile import NEWEST
from tests.documents import tables_of
from tests.tidy.tables import BANNED_WORDS

TABLES: Final = tables_of("words.md")
AVOIDED: Final = TABLES.pop("Words that are not used")
MEANINGS: Final = {row[0]: row[1] for rows in TABLES.values() for row in rows}

# Values that people see, and where the glossary says what they are
VALUES: Final[list[tuple[type[StrEnum], str]]] = [(Outcome, "{}"), (AgreementState, "`{}`"), (Integration, "`{}`")]


@pytest.mark.parametrize(("values", "form"), VALUES, ids=lambda value: getattr(value, "__name__", None))
def test_every_value_that_people_see_has_its_word(values: type[StrEnum], form: str) -> None:
    """Each outcome, state and integration is a word of the glossary, in the order of the code."""
    words = [form.format(value.value) for value in values]
    assert [word for word in MEANINGS if word in words] == words


def test_the_platforms_and_the_newest_profile_are_named() -> None:
    """What is explained by its values names them all."""
    assert all(f"`{platform.value}`" in MEANINGS["platform"] for platform in Platform)
    assert f"`{NEWEST.name}`" in MEANINGS["profile"]


def test_an_outcome_says_that_it_is_one() -> None:
    """Words of one kind are known by it."""
    assert all(MEANINGS[outcome.value].startswith("Outcome: ") for outcome in Outcome)


def test_a_word_has_one_meaning_in_one_line() -> None:
    """No word stands twice, and each meaning is a sentence."""
    words = Counter(row[0] for rows in TABLES.values() for row in rows)
    assert [word for word, count in words.items() if count > 1] == []
    assert [word for word, meaning in MEANINGS.items() if not meaning.endswith(".")] == []


def test_the_words_that_are_not_used_are_those_that_are_banned() -> None:
    """What the tidy test refuses in names, the document explains, with the same word in its place."""
    assert {row[0]: row[1] for row in AVOIDED} == BANNED_WORDS
    assert [row[0] for row in AVOIDED] == sorted(BANNED_WORDS)


def test_no_word_of_ours_is_a_banned_one() -> None:
    """The glossary keeps to its own rules."""
    assert not {part for word in MEANINGS for part in word.strip("`").split()} & BANNED_WORDS.keys()
