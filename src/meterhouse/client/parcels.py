"""Which records go together in the next request, and how the bad one among them is found. No I/O in this file.

Theory. A request-level error condemns a whole batch for the sake of one record (contract §4, "All or nothing"), and
names it only in words that AWS does not promise. So the record is looked for by sending parts of the batch again. That
is safe whatever comes of it, since a record has one key however often it is sent, and it rests on one rule:

    a record is refused only after it was refused *alone*.

No message is trusted and nothing is inferred; inference only decides what to send next, so the worst that a wrong
guess costs is a request. The search, for a batch that is condemned:

* where the message names places (`usageRecords.3.member…`, as Meterhouse's and Coral's messages do), those records go
  alone and the rest together: two requests for one bad record;
* else the first half is sent. If it is accepted, the second half holds the bad record and is halved without being sent
  as a whole; if it is condemned, the second half is unknown again and goes back among those that wait, to fill up other
  batches. So one bad record among 25 costs about 5 requests, and hardly one more for those that were beside it;
* where more than a third of what was settled has been refused, halving costs more than it saves: each goes alone.

One error can come from the company itself: licenses of several products in one request (InvalidLicenseException). It is
seen when a record that was the last to be blamed is accepted alone; from then on, requests of that group hold records
of one license each.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from meterhouse.client.errors import InvalidLicenseException, MeteringError
from meterhouse.client.operations import MOST_RECORDS
from meterhouse.client.wording import Said

MOST_BYTES: Final = 1_000_000
"""A body stays below: "1 MB" may mean this or 1,048,576, and AWS does not say which (contract §1)."""
ENVELOPE_BYTES: Final = 400
"""More than what is around the records in a body."""

_PLACE: Final = r"\busageRecords\.(\d{1,2})\.member\b"


class Pending(Struct, eq=False, gc=False):
    """A record on its way."""

    place: int
    """In the order given."""
    said: Said
    bytes_at_most: int
    """What it adds to a body."""
    rounds: int = 0
    """How often it has come back without being settled."""
    is_lost: bool = False
    """Whether it was sent once and no answer came."""


class Parcel(Struct, frozen=True):
    """The records of one request."""

    members: tuple[Pending, ...]
    beside: tuple[Pending, ...] = ()
    """The other half of a condemned batch: it holds the bad record if this one is accepted."""
    is_blamed: bool = False
    """Whether this one record is the last that the blame can fall on."""


class Group:
    """Records that may go together: those of one product code, or those without one."""

    def __init__(self, product_code: str | None) -> None:
        self.product_code = product_code
        self._waiting: deque[Pending] = deque()
        self._next: deque[Parcel] = deque()
        self._is_mixed = False
        self._is_sorted = False
        self._settled = 0
        self._refused = 0

    def add(self, pending: Iterable[Pending]) -> None:
        """Records whose company does not matter wait for the next request."""
        self._waiting.extend(pending)
        self._is_sorted = False

    @property
    def has_more(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._next or self._waiting)

    def take(self) -> Parcel | None:
        """The next request's records; those that a search is about come first."""
        if self._next:
            return self._next.popleft()
        if not self._waiting:
            return None
        if self._is_mixed and not self._is_sorted:
            self._waiting = deque(sorted(self._waiting, key=_license))
            self._is_sorted = True
        waiting = self._waiting
        members = [waiting.popleft() for _ in range(min(MOST_RECORDS, len(waiting)))]
        while len(members) > 1 and not self._go_together(members):
            waiting.appendleft(members.pop())
        return Parcel(tuple(members))

    def _go_together(self, members: list[Pending]) -> bool:
        if self._is_mixed and _license(members[-1]) != _license(members[0]):
            return False
        return sum([one.bytes_at_most for one in members]) <= MOST_BYTES - ENVELOPE_BYTES

    def drain(self) -> list[Pending]:
        """All that wait, taken out."""
        left = [one for parcel in self._next for one in (*parcel.members, *parcel.beside)]
        left.extend(self._waiting)
        self._next.clear()
        self._waiting.clear()
        return left

    def accepted(self, parcel: Parcel, error: MeteringError | None) -> None:
        """A parcel's request was accepted. `error`: what condemned the batch that it was taken from, if one was."""
        self._settled += len(parcel.members)
        if parcel.is_blamed and isinstance(error, InvalidLicenseException):
            self._is_mixed = True
            self._is_sorted = False
        if parcel.beside:
            self._halve(parcel.beside)

    def condemned(self, parcel: Parcel, error: MeteringError) -> Pending | None:
        """A parcel's request was refused: the record that is to blame, where it was alone."""
        self.add(parcel.beside)
        members = parcel.members
        if len(members) == 1:
            self._settled += 1
            self._refused += 1
            return members[0]
        named = {int(place) - 1 for place in re.findall(_PLACE, error.message)}
        if self._is_mixed and isinstance(error, InvalidLicenseException) and len(set(map(_license, members))) > 1:
            self.add(members)
        elif named and max(named) < len(members):
            self._next.extend(Parcel((members[place],), is_blamed=True) for place in sorted(named))
            self._add_parcel([one for place, one in enumerate(members) if place not in named])
        elif self._refused * 3 > self._settled:
            self._next.extend(Parcel((one,)) for one in members)
        else:
            self._halve(members)
        return None

    def _halve(self, members: Sequence[Pending]) -> None:
        if len(members) == 1:
            self._next.append(Parcel((members[0],), is_blamed=True))
        else:
            half = (len(members) + 1) // 2
            self._next.append(Parcel(tuple(members[:half]), tuple(members[half:])))

    def _add_parcel(self, members: Sequence[Pending]) -> None:
        if members:
            self._next.append(Parcel(tuple(members)))


def _license(pending: Pending) -> str:
    return pending.said.license_arn or ""
