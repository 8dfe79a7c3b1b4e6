"""A killed server loses nothing that it acknowledged, and doubles nothing.

`scripts/kill-test` does the same at length. Here too: that whoever watches would notice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from meterhouse.core.usage import Entry, Partition, RecordKey, Series, text_of_id
from meterhouse.ledger.protocol import Header, JournalEntry
from tests.e2e.killing import CONTESTED_DIMENSION, PRODUCT, Batch, Key, Truth, run
from tests.e2e.seller import REGION, Answer


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """After `kill -9` under load all that was acknowledged is there, once, and retries of everything end right."""
    assert len(list(run(3, 20_261_121, tmp_path, batch_count=100))) == 3


FIRST, SECOND, THIRD = (Key(7200, "000000000001", dimension) for dimension in ("d1", "d2", "d3"))
CONTESTED = Key(7200, "000000000001", CONTESTED_DIMENSION)
BATCHES = [
    Batch(0, [(FIRST, FIRST.quantity), (SECOND, SECOND.quantity), (CONTESTED, 1)], frozenset({FIRST, SECOND})),
    Batch(1, [(THIRD, THIRD.quantity), (CONTESTED, 2)], frozenset({THIRD})),
]
KEPT = [[(FIRST, FIRST.quantity, 1), (SECOND, SECOND.quantity, 2), (CONTESTED, 1, 3)], [(THIRD, THIRD.quantity, 4)]]
"""What a right ledger holds, row by row: key, quantity, number of the record's id."""


def _id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _journal(rows: Sequence[Sequence[tuple[Key, int, int]]], first_position: int = 1) -> list[JournalEntry]:
    header = Header("", "BatchMeterUsage", "", "", 0, 0, "")
    return [
        JournalEntry(
            Partition(REGION, PRODUCT),
            position,
            header,
            [
                Entry(
                    RecordKey(key.timestamp // 3600, Series("", key.customer, key.dimension)),
                    key.timestamp * 1_000_000,
                    quantity * 1_000_000,
                    _id(number),
                )
                for key, quantity, number in row
            ],
        )
        for position, row in enumerate(rows, first_position)
    ]


def _answer(*results: int | str) -> Answer:
    said: list[dict[str, Any]] = [
        {"Status": "Success", "MeteringRecordId": text_of_id(_id(one))} if isinstance(one, int) else {"Status": one}
        for one in results
    ]
    return Answer(200, {}, {"Results": said, "UnprocessedRecords": []})


@pytest.fixture
def truth() -> Truth:
    """Both batches were acknowledged; the first won what was contested."""
    heard = Truth()
    heard.expect(BATCHES)
    heard.hear(BATCHES[0], _answer(1, 2, 3))
    heard.hear(BATCHES[1], _answer(4, "DuplicateRecord"))
    return heard


def test_a_right_ledger_is_accepted(truth: Truth) -> None:
    """What holds all that was acknowledged, and no more, passes; a repeat of the same answers too."""
    truth.hear(BATCHES[0], _answer(1, 2, 3))
    truth.check(_journal(KEPT))


FALSE = [
    ("nothing is kept", [], "acknowledged, and not kept"),
    ("a batch is lost", KEPT[:1], "acknowledged, and not kept"),
    ("half of a batch is lost", [KEPT[0][1:], KEPT[1]], "kept in part"),
    ("a contested record is lost", [KEPT[0][:2], KEPT[1]], "is kept as None"),
    ("a record is kept twice", [*KEPT, KEPT[1]], "kept twice"),
    ("an id has changed", [KEPT[0], [(THIRD, THIRD.quantity, 9)]], "is kept as"),
    ("a quantity has changed", [KEPT[0], [(THIRD, THIRD.quantity + 1, 4)]], "is kept as"),
    ("the loser is kept", [[*KEPT[0][:2], (CONTESTED, 2, 3)], KEPT[1]], "is kept as"),
]


@pytest.mark.parametrize(("rows", "complaint"), [row[1:] for row in FALSE], ids=[row[0] for row in FALSE])
def test_a_false_ledger_is_noticed(
    truth: Truth, rows: Sequence[Sequence[tuple[Key, int, int]]], complaint: str
) -> None:
    """Whatever is missing, doubled or changed in a ledger is objected to."""
    with pytest.raises(AssertionError, match=complaint):
        truth.check(_journal(rows))


def test_a_gap_is_noticed(truth: Truth) -> None:
    """A journal that does not count from 1 is objected to."""
    with pytest.raises(AssertionError, match="gap"):
        truth.check(_journal(KEPT, first_position=2))


CONTRADICTIONS = [
    ("another id", 0, _answer(1, 2, 9)),
    ("a second winner", 1, _answer(4, 3)),
    ("a conflict where nobody disagrees", 1, _answer("DuplicateRecord", "DuplicateRecord")),
    ("a customer unsubscribed", 1, _answer("CustomerNotSubscribed", "DuplicateRecord")),
    ("a refusal", 1, Answer(400, {}, {"__type": "ValidationException"})),
]


@pytest.mark.parametrize(
    ("number", "answer"), [row[1:] for row in CONTRADICTIONS], ids=[row[0] for row in CONTRADICTIONS]
)
def test_a_contradiction_is_noticed(truth: Truth, number: int, answer: Answer) -> None:
    """An answer that cannot be true beside an earlier one is objected to."""
    with pytest.raises(AssertionError):
        truth.hear(BATCHES[number], answer)
