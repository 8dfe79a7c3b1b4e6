"""What docs/scaling.md reckons with is what was measured: its figures are held against the benchmarks' results."""

import re
from typing import Final

import pytest

from benchmarks.page import KEPT
from benchmarks.results import Results, read
from tests.document_blocks import ROOT

TEXT: Final = " ".join((ROOT / "docs/scaling.md").read_text(encoding="utf-8").split())
RESULTS: Final[Results] = read(ROOT / KEPT)
MOVES: Final = 2
"""By how much a figure may move with what else the machine does."""
FIGURES: Final = [
    (r"One connection keeps ([\d,]+) groups of 25", "postgres-groups", "25 records, as the owner", "groups_per_second"),
    (r"some ([\d,]+) groups a second with small", "postgres-groups", "25 records, as the owner", "groups_per_second"),
    (r"about ([\d,]+) records a second", "postgres-groups", "1,600 records, as the owner", "records_per_second"),
    (r"([\d,]+) bytes a record are", "postgres-growth", "grown ledger", "bytes_a_record"),
    (r"([\d,]+) MB/s of write-ahead log beside it", "postgres-growth", "grown ledger", "log_bytes_a_record"),
]


@pytest.mark.parametrize(("pattern", "row", "of", "figure"), FIGURES)
def test_what_is_reckoned_with_was_measured(pattern: str, row: str, of: str, figure: str) -> None:
    """Each figure of the page lies as near to the results as figures of a shared machine can."""
    (said,) = re.findall(pattern, TEXT)
    measured = RESULTS.rows[row].medians[of][figure]
    assert measured / MOVES <= float(said.replace(",", "")) <= measured * MOVES


def test_the_quotients_are_right() -> None:
    """The processors of the reckoning are what its figures come to."""
    ((wanted, groups, pairs, processors),) = re.findall(r"([\d,]+) / (\d+) = (\d+) such pairs, (\d+) processors", TEXT)
    exact = float(wanted.replace(",", "")) / float(groups)
    assert exact <= int(pairs) < exact + 1
    assert int(processors) == 2 * int(pairs)
