"""The page on what the client costs is made from what was measured."""

import json

import pytest

from benchmarks import client_page
from tests.documents import DOCUMENTS

ROOT = DOCUMENTS.parent
PAGE = (ROOT / client_page.PAGE).read_text(encoding="utf-8")
KEPT = json.loads((ROOT / client_page.KEPT).read_text(encoding="utf-8"))


def test_the_tables_are_those_of_the_figures_kept() -> None:
    """Made anew from the figures, the page is as it stands; from other figures it would not be."""
    assert client_page.made(PAGE, KEPT) == PAGE
    other = {**KEPT, "first": {**KEPT["first"], "ours": 2 * KEPT["first"]["ours"]}}
    assert client_page.made(PAGE, other) != PAGE


def test_a_page_without_a_place_for_a_table_is_noticed() -> None:
    """A mark that was taken away does not go with its table in silence."""
    with pytest.raises(AssertionError, match="places for calls"):
        client_page.made(PAGE.replace("<!-- calls -->", ""), KEPT)
