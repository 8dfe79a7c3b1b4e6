"""What is counted while the server runs. How Prometheus reads it stands in `exposition.py`.

What is counted on the way of a request is an addition to a plain dictionary or list: no lock, no label object, no text
is made, and no library is imported for it. All of it belongs to the event loop.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from meterhouse.core.outcome import Outcome

OK: Final = "ok"
"""The outcome of a request that was not refused; of the others it is the fault's name."""
DROPPED: Final = "dropped"
"""The outcome of a request whose connection an injected fault dropped."""
UNNAMED: Final = "none"
"""The operation of a request that names none."""
UNPROCESSED: Final = "unprocessed"
"""What became of a record that an injected fault left out."""

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets for how long something takes."""
TURNS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Upper bounds of the buckets for how many turns were committed together."""

_OTHERS: Final = tuple(outcome for outcome in Outcome if outcome is not Outcome.ACCEPTED)


class Histogram:
    """Counts by bucket, and a sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone; the last has no bound."""
        self.total = 0.0

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By operation and outcome."""
        self.request_seconds: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        """By operation."""
        self.records: dict[str, int] = {**dict.fromkeys(Outcome, 0), UNPROCESSED: 0}
        """By what became of them."""
        self.faults: defaultdict[str, int] = defaultdict(int)
        """Injected ones, by name."""
        self.group_turns = Histogram(TURNS)
        self.commit_seconds = Histogram(SECONDS)
        self.double_billings = 0

    def answered(self, operation: str, outcome: str, seconds: float) -> None:
        """A request was answered, or dropped by an injected fault."""
        self.requests[operation, outcome] += 1
        self.request_seconds[operation].add(seconds)

    def judged(self, outcomes: Sequence[Outcome]) -> None:
        """What became of the records of a request that was accepted."""
        accepted = outcomes.count(Outcome.ACCEPTED)
        self.records[Outcome.ACCEPTED] += accepted
        if accepted != len(outcomes):
            for outcome in _OTHERS:
                self.records[outcome] += outcomes.count(outcome)

    def left_out(self, records: int) -> None:
        """So many records were left unprocessed by an injected fault."""
        self.records[UNPROCESSED] += records

    def struck(self, fault: str) -> None:
        """An injected fault has struck."""
        self.faults[fault] += 1

    def committed(self, turns: int, seconds: float) -> None:
        """A group of turns was kept together."""
        self.group_turns.add(turns)
        self.commit_seconds.add(seconds)

    def double_billing(self) -> None:
        """The same usage was kept under both forms of naming it."""
        self.double_billings += 1
