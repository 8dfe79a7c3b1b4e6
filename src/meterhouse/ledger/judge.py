"""Judging a group of turns: pure, and the same for every engine.

An engine reads what the turns of a group name, puts it into one `Sight` per partition, has the turns judged here, and
appends what `Judged` says. The turns of a group are judged one after another, and what one keeps is staged in the sight
before the next is judged, so that each sees what it would have seen had the turns been committed one by one.

What a rule decided is checked before anything of it is staged (promise 1): a decision that would keep a second record
under a key, or what no engine can hold exactly, is a bug of the rule, fails its own turn alone and leaves nothing. So
the engines need not agree on how they would have failed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from meterhouse.core.outcome import Fault
from meterhouse.core.usage import (
    ClaimKey,
    Entries,
    Kept,
    Partition,
    RecordKey,
    Series,
    columns_of,
    keys_by_columns,
)
from meterhouse.ledger.protocol import Decision, JournalEntry, Keys, Stale, View

QUANTITY_LIMIT: Final = 2**63
"""Quantities from 0 to below this are kept exactly by every engine; contract §4 asks for less than 10**16."""
RECORD_ID_BYTES: Final = 16

_LENGTHS: Final = {RECORD_ID_BYTES}
_NOTHING: Final[Mapping[Series, Entries]] = {}
_SECOND: Final = "a rule would keep a second record under one key"

Verdict = Decision | Exception
"""What became of a turn: what was decided, or the exception to be raised where it waits."""


class Turn(Struct, frozen=True):
    """What `Ledger.turn` was asked."""

    partition: Partition
    keys: Keys
    decide: Callable[[View], Decision]
    revision: int


class Sight:
    """What the turns of a group see of one partition; a `View`, and where staged entries go."""

    __slots__ = ("both_forms", "claims", "made", "position", "records", "staged")

    def __init__(
        self,
        position: int,
        records: Mapping[RecordKey, Kept],
        claims: Mapping[ClaimKey, bytes],
        *,
        both_forms: bool = True,
    ) -> None:
        self.both_forms = both_forms
        """False only where neither what is kept nor what the group names has both forms, so that no rival can be."""
        self.position = position
        """The last one given out, 0 where the partition has no row yet."""
        self.records = records
        """What was kept before the group."""
        self.claims = claims
        """What was claimed before the group."""
        self.staged: dict[int, dict[Series, Entries]] = {}
        """By hour and series, the entries of an earlier turn of the group that has a record there."""
        self.made: dict[ClaimKey, bytes] = {}
        """The claims staged."""

    def record(self, key: RecordKey) -> Kept | None:
        """What is kept or staged under a key."""
        kept = self.records.get(key)
        if kept is None and self.staged:
            entries = self.staged.get(key.hour, _NOTHING).get(key.series)
            if entries is not None:
                return entries.kept(key)
        return kept

    def keeps_any(self, keys: Sequence[RecordKey]) -> bool:
        """Whether something is kept or staged under any of the keys."""
        if self.records and not self.records.keys().isdisjoint(keys):
            return True
        return bool(self.staged) and any(
            not self.staged.get(hour, _NOTHING).keys().isdisjoint(series)
            for hour, series in keys_by_columns(keys).by_hour()
        )

    def stage(self, entries: Entries) -> bool:
        """Stages entries; whether nothing was staged under any of their keys, and no two of them have one."""
        new = 0
        for hour, series in entries.keys.by_hour():
            staged = self.staged.setdefault(hour, {})
            new -= len(staged)
            staged.update(dict.fromkeys(series, entries))
            new += len(staged)
        return new == len(entries)

    def claim(self, key: ClaimKey) -> bytes | None:
        """The value kept or staged under a claim."""
        value = self.made.get(key)
        return self.claims.get(key) if value is None else value


class Judged(NamedTuple):
    """What a group comes to: a verdict per turn, in their order, and everything to be appended in one transaction."""

    verdicts: list[Verdict]
    rows: list[JournalEntry]
    claims: list[tuple[Partition, ClaimKey, bytes]]


def judge(turns: Sequence[Turn], sights: Mapping[Partition, Sight], revision: int) -> Judged:
    """Judges the turns in order, each by what was kept before and what the earlier ones stage.

    `sights` has one for every partition of the turns, and is changed: staged entries appear in it.
    """
    judged = Judged([], [], [])
    for turn in turns:
        judged.verdicts.append(_verdict(turn, sights[turn.partition], revision, judged))
    return judged


def _verdict(turn: Turn, sight: Sight, revision: int, judged: Judged) -> Verdict:
    if turn.revision != revision:
        return Stale(f"the turn was prepared with revision {turn.revision}, the catalog is at {revision}")
    try:
        decision = turn.decide(sight)
        _stage(turn, decision, _check(decision, sight), sight, judged)
    except Fault as fault:  # without its traceback, whose frames hold the whole group: a refusal is no surprise
        return fault.with_traceback(None)
    except Exception as error:  # noqa: BLE001 - whatever one turn's rule raises is that turn's answer, not its neighbours'
        return error
    return decision


def _check(decision: Decision, sight: Sight) -> Entries:
    """The decision's entries, once nothing speaks against them but what is staged (see `_stage`)."""
    entries = columns_of(decision.entries)
    if entries:
        quantities = entries.quantities
        if (
            not 0 <= min(quantities) <= max(quantities) < QUANTITY_LIMIT
            or set(map(len, entries.record_ids)) != _LENGTHS
        ):
            raise AssertionError("a rule would keep a quantity or an id that no ledger can hold")
        if sight.records and not sight.records.keys().isdisjoint(entries.keys):
            raise AssertionError(_SECOND)
        if decision.header is None:
            raise AssertionError("a rule would keep records without a journal row")
    if decision.claims:
        claims = dict(decision.claims)
        if len(claims) != len(decision.claims) or any(sight.claim(key) is not None for key in claims):
            raise AssertionError("a rule would make a claim twice")
    return entries


def _stage(turn: Turn, decision: Decision, entries: Entries, sight: Sight, judged: Judged) -> None:
    if not sight.stage(entries):  # told afterwards, because each look under a key costs a hash of it
        sight.staged = {}
        for row in judged.rows:
            if row.partition == turn.partition:
                sight.stage(columns_of(row.entries))
        raise AssertionError(_SECOND)
    for key, value in decision.claims:
        sight.made[key] = value
        judged.claims.append((turn.partition, key, value))
    if decision.header is not None:
        sight.position += 1
        judged.rows.append(JournalEntry(turn.partition, sight.position, decision.header, entries))
