"""Judging a group, without an engine."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.usage import ClaimKey, Entry, Kept, Partition, RecordKey, Series
from meterhouse.ledger.judge import Judged, Sight, Turn, judge
from meterhouse.ledger.protocol import Decision, Header, JournalEntry, Keys, Stale, View

HERE, THERE = Partition("us-east-1", "a"), Partition("us-east-1", "b")
HEADER = Header("request", "BatchMeterUsage", "arn", "1", 0, 0, "2026-11")
CLAIM = ClaimKey("token", "x")


def key(hour: int) -> RecordKey:
    """One key an hour."""
    return RecordKey(hour, Series("", "1", "d"))


def entry(hour: int, number: int) -> Entry:
    """A record told by its number."""
    return Entry(key(hour), 0, number, number.to_bytes(16, "big"))


def keeping(*entries: Entry) -> Callable[[View], Decision]:
    """The rule that keeps what is new and answers how many those were."""

    def decide(view: View) -> Decision:
        new = [one for one in entries if view.record(one.key) is None]
        return Decision(len(new), new, (), HEADER if new else None)

    return decide


def blindly(*entries: Entry) -> Callable[[View], Decision]:
    """The rule that keeps without looking."""
    return lambda _: Decision(len(entries), entries, (), HEADER)


def sight(position: int = 0, *kept: Entry) -> Sight:
    """A partition in which something is kept already."""
    return Sight(position, {one.key: Kept(one.quantity_micros, one.record_id) for one in kept}, {})


def group(*rules: Callable[[View], Decision], partition: Partition = HERE, revision: int = 0) -> list[Turn]:
    """Turns of one partition."""
    return [Turn(partition, Keys(), rule, revision) for rule in rules]


def answers(judged: Judged) -> list[object]:
    """Of each turn its answer, or its exception's type."""
    return [verdict.answer if isinstance(verdict, Decision) else type(verdict) for verdict in judged.verdicts]


def test_each_turn_sees_what_the_earlier_staged() -> None:
    """What a turn keeps, later turns of the group see, with its quantity and id; what was kept before, all see."""
    seen: list[Kept | None] = []

    def look(view: View) -> Decision:
        seen.extend([view.record(key(1)), view.record(key(2)), view.record(key(3))])
        return Decision(None)

    here = sight(7, entry(1, 1))
    judged = judge(group(look, keeping(entry(2, 2), entry(3, 3)), look, keeping(entry(3, 4))), {HERE: here}, 0)
    kept = [Kept(number, number.to_bytes(16, "big")) for number in range(4)]
    assert seen == [kept[1], None, None, kept[1], kept[2], kept[3]]
    assert answers(judged) == [None, 2, None, 0]
    assert [(row.position, list(row.entries)) for row in judged.rows] == [(8, [entry(2, 2), entry(3, 3)])]


def test_partitions_count_and_see_for_themselves() -> None:
    """Positions go on from each partition's last, and nothing staged in one is seen in another."""
    turns = group(keeping(entry(1, 1))) + group(keeping(entry(1, 2)), partition=THERE) + group(keeping(entry(2, 3)))
    judged = judge(turns, {HERE: sight(4), THERE: sight(0)}, 0)
    assert [(row.partition, row.position) for row in judged.rows] == [(HERE, 5), (THERE, 1), (HERE, 6)]


def test_claims_are_seen_and_listed() -> None:
    """A claim staged by one turn is seen by the next, with an empty value too, and is listed to be appended."""

    def claim(view: View) -> Decision:
        made = [] if view.claim(CLAIM) is not None else [(CLAIM, b"")]
        return Decision(len(made), (), made)

    judged = judge(group(claim, claim), {HERE: sight()}, 0)
    assert answers(judged) == [1, 0]
    assert judged.claims == [(HERE, CLAIM, b"")]
    assert judged.rows == []


def test_a_stale_turn_is_not_asked() -> None:
    """A turn of another revision is stale and its rule is not asked; the others are judged."""
    turns = group(keeping(entry(1, 1)), revision=3) + group(keeping(entry(1, 2)), revision=4)
    judged = judge(turns, {HERE: sight()}, 4)
    assert answers(judged) == [Stale, 1]
    assert [list(row.entries) for row in judged.rows] == [[entry(1, 2)]]


def test_what_a_rule_raises_is_its_own() -> None:
    """An exception is the verdict of its turn alone."""

    def fail(_: View) -> Decision:
        raise LookupError

    judged = judge(group(fail, keeping(entry(1, 1))), {HERE: sight()}, 0)
    assert answers(judged) == [LookupError, 1]


def test_a_blind_rule_leaves_the_sight_as_it_was() -> None:
    """A rule that keeps under a staged key fails; what it would have staged is not seen, what others staged is."""
    blind = Decision("blind", [entry(2, 9), entry(1, 9)], [(CLAIM, b"")], HEADER)
    here = sight(0, entry(5, 5))
    turns = group(keeping(entry(1, 1)), lambda _: blind, keeping(entry(1, 2), entry(2, 3)))
    judged = judge(turns, {HERE: here}, 0)
    assert answers(judged) == [1, AssertionError, 1]
    assert here.record(key(1)) == Kept(1, entry(1, 1).record_id)
    assert here.record(key(2)) == Kept(3, entry(2, 3).record_id)
    assert here.claim(CLAIM) is None
    assert [row.position for row in judged.rows] == [1, 2]


@given(
    kept=st.sets(st.integers(0, 5)),
    turns=st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 5), max_size=4, unique=True)), max_size=8),
)
def test_a_group_is_as_good_as_one_by_one(kept: set[int], turns: list[tuple[bool, list[int]]]) -> None:
    """Judging turns as a group comes to the same as judging each alone, after what the earlier kept was kept."""
    before = [entry(hour, 100 + hour) for hour in kept]
    rules = []
    for number, (looks, hours) in enumerate(turns):
        entries = [entry(hour, 10 * number + hour) for hour in hours]
        rules.append(keeping(*entries) if looks else blindly(*entries))
    together = judge(group(*rules), {HERE: sight(0, *before)}, 0)
    rows: list[JournalEntry] = []
    verdicts: list[object] = []
    for rule in rules:
        alone = judge(group(rule), {HERE: sight(len(rows), *before)}, 0)
        before += [one for row in alone.rows for one in row.entries]
        rows += alone.rows
        verdicts += answers(alone)
    assert (answers(together), together.rows) == (verdicts, rows)
