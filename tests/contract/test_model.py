"""Any engine, any sequence of calls: what comes out is what the naive ledger says, also after reopening."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from meterhouse.core.moment import HOUR
from meterhouse.core.usage import Allotment, ClaimKey, Entry, Partition, RecordKey, Series
from meterhouse.ledger.protocol import Cursor, Document, Keys, Ledger, RecordFilter
from meterhouse.ledger.select import place_of
from tests.contract.engines import Bounds, Engine
from tests.contract.model import Naive
from tests.contract.usage import fresh_id, header_of, keep, look

answer_type = TypeVar("answer_type")

HOURS = [-17_259_888, -9000, -1, 0, 498_000, 498_001, 498_700, 70_389_527]
PARTITIONS = st.builds(Partition, st.sampled_from(["eu-west-1", "us-east-1"]), st.sampled_from(["a", "b"]))
SERIES = st.builds(
    Series,
    st.sampled_from(["", "arn:l"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["d", "é", ""]),
    st.sampled_from(["", "i-1"]),
    st.sampled_from(["", "t"]),
)
KEYS = st.builds(RecordKey, st.sampled_from(HOURS), SERIES)
ALLOCATIONS = st.lists(st.builds(Allotment, st.integers(0, 9)), max_size=2).map(tuple)
ENTRIES = st.builds(
    lambda key, into_hour, quantity, allocations: Entry(
        key, key.hour * HOUR + into_hour, quantity, fresh_id(), allocations
    ),
    KEYS,
    st.sampled_from([0, 1, HOUR - 1, 2 * HOUR]),
    st.one_of(st.integers(0, 3), st.integers(0, 2**63 - 1)),
    ALLOCATIONS,
)
CLAIMS = st.tuples(
    st.builds(ClaimKey, st.sampled_from(["token", "first"]), st.sampled_from(["x", "y"])), st.binary(max_size=3)
)
RECEIVED = st.sampled_from([5, 6, 7, 2**50])
MOMENTS = st.one_of(st.none(), st.sampled_from(HOURS).map(lambda hour: hour * HOUR), st.integers(0, 498_001 * HOUR))
FILTERS = st.builds(
    RecordFilter,
    st.sampled_from([None, None, "eu-west-1"]),
    st.sampled_from([None, None, "a"]),
    st.sampled_from([None, None, "1", "nobody"]),
    st.sampled_from([None, None, "", "arn:l"]),
    st.sampled_from([None, None, "d", ""]),
    MOMENTS,
    MOMENTS,
)
CURSORS = st.one_of(
    st.none(),
    st.builds(
        Cursor, RECEIVED, st.sampled_from(["", "eu-west-1", "us-east-1"]), st.sampled_from("ab"), st.integers(0, 4)
    ),
)
DOCUMENTS = st.lists(
    st.builds(Document, st.sampled_from("pq"), st.sampled_from("xyz"), st.none() | st.binary(max_size=3)),
    max_size=4,
    unique_by=lambda document: document[:2],
)


class EngineAndModel(RuleBasedStateMachine):
    """An engine and the naive ledger, told the same."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = Path(tempfile.mkdtemp())
        self.model = Naive()
        self.ledger: Ledger = self.run(self.engine.open(self.place, Bounds()))

    def run(self, call: Coroutine[Any, Any, answer_type] | Any) -> Any:
        """The answer of a call."""
        return self.runner.run(call)

    @rule(
        partition=PARTITIONS,
        entries=st.lists(ENTRIES, max_size=4),
        claims=st.lists(CLAIMS, max_size=2, unique_by=lambda claim: claim[0]),
        received=RECEIVED,
    )
    def keep(self, partition: Partition, entries: list[Entry], claims: list[Any], received: int) -> None:
        """One turn."""
        header = header_of(received)
        answer = self.run(
            keep(self.ledger, entries, claims, partition=partition, header=header, revision=self.model.revision)
        )
        assert answer == self.model.keep(partition, header, entries, claims)

    @rule(turns=st.lists(st.tuples(PARTITIONS, st.lists(ENTRIES, max_size=3)), min_size=2, max_size=6))
    def keep_at_once(self, turns: list[tuple[Partition, list[Entry]]]) -> None:
        """Several turns, which become groups in the order they were asked."""

        async def at_once() -> list[Any]:
            return await asyncio.gather(
                *(
                    keep(self.ledger, entries, partition=partition, header=header_of(), revision=self.model.revision)
                    for partition, entries in turns
                )
            )

        expected = [self.model.keep(partition, header_of(), entries, ()) for partition, entries in turns]
        assert self.run(at_once()) == expected

    @rule(partition=PARTITIONS, keys=st.lists(KEYS, max_size=4), rivals=st.lists(KEYS, max_size=2))
    def look(self, partition: Partition, keys: list[RecordKey], rivals: list[RecordKey]) -> None:
        """What a turn sees."""
        claim = ClaimKey("token", "x")
        named = Keys(keys, [claim], rivals)
        seen = self.run(look(self.ledger, named, partition=partition, revision=self.model.revision))
        assert seen.records == {key: self.model.kept(partition, key) for key in [*keys, *rivals]}
        assert seen.claims[claim] == self.model.claims.get((partition, claim))

    @rule(partition=PARTITIONS, after=st.integers(0, 4), limit=st.integers(1, 5))
    def scan(self, partition: Partition, after: int, limit: int) -> None:
        """A partition's rows."""
        rows = self.run(self.ledger.scan(partition, after=after, limit=limit))
        assert as_read(rows) == as_read(self.model.scan(partition, after, limit))

    @rule(what=FILTERS, after=CURSORS, limit=st.integers(1, 5))
    def history(self, what: RecordFilter, after: Cursor | None, limit: int) -> None:
        """All rows, filtered."""
        rows = self.run(self.ledger.history(what, after=after, limit=limit))
        assert as_read(rows) == as_read(self.model.history(what, after, limit))

    @rule(what=FILTERS, limit=st.integers(1, 3))
    def page_through_history(self, what: RecordFilter, limit: int) -> None:
        """Page by page, each begun where the last ended: every row once."""
        found: list[Any] = []
        after: Cursor | None = None
        while rows := self.run(self.ledger.history(what, after=after, limit=limit)):
            found += rows
            after = place_of(rows[-1])
        assert as_read(found) == as_read(self.model.history(what, None, 10**6))

    @rule(what=FILTERS)
    def sums(self, what: RecordFilter) -> None:
        """Sums, of any size."""
        assert list(self.run(self.ledger.sums(what))) == self.model.sums(what)

    @rule(documents=DOCUMENTS)
    def change(self, documents: list[Document]) -> None:
        """Documents made, changed, deleted."""
        revision = self.run(self.ledger.change(documents, expected=self.model.revision))
        assert revision == self.model.change(documents)

    @rule(after=st.integers(0, 5))
    def changes(self, after: int) -> None:
        """What changed behind a revision that the catalog has had."""
        after = min(after, self.model.revision)
        revision, documents = self.run(self.ledger.changes(after))
        assert (revision, set(documents), len(documents)) == (
            self.model.revision,
            self.model.changes(after),
            len(self.model.changes(after)),
        )

    @rule()
    def load(self) -> None:
        """All documents."""
        revision, documents = self.run(self.ledger.load())
        assert (revision, set(documents)) == (self.model.revision, self.model.load())

    @rule()
    def reset(self) -> None:
        """Usage is emptied."""
        self.run(self.ledger.reset())
        self.model.reset()

    @precondition(lambda self: self.engine.durable)
    @rule()
    def reopen(self) -> None:
        """The ledger is closed and opened again."""
        self.run(self.ledger.close())
        self.ledger = self.run(self.engine.open(self.place, Bounds()))

    @invariant()
    def size(self) -> None:
        """As many rows and records as the model has."""
        size = self.run(self.ledger.size())
        assert size.journal_rows == len(self.model.rows)
        assert size.records == sum(len(row.entries) for row in self.model.rows)

    def teardown(self) -> None:
        """Ends the run."""
        self.run(self.ledger.close())
        self.runner.close()
        shutil.rmtree(self.place)


def as_read(rows: Any) -> list[Any]:
    """Rows in a form that compares."""
    return [(row.partition, row.position, row.header, list(row.entries)) for row in rows]


def test_an_engine_is_the_model(engine: Engine) -> None:
    """1-6, 9: whatever is asked of an engine, in whatever order, it answers as the naive ledger does."""
    machine = type("Machine", (EngineAndModel,), {"engine": engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
