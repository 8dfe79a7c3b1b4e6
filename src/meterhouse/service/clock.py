"""The clocks: one for all, and one of its own for each account that was given one (catalog contract, `/clock`).

A clock is real, frozen at an instant, or shifted ahead of real time. It is kept as a document, so it survives a
restart: kind `clock`, key the account (`""`: for all). No document means real time; an account without one follows the
clock for all. Real time is an argument: signatures, expiry and throttling run on it whatever the clocks say.

The moves, and where each leads:

    it is            now             advance_seconds     real
    real             frozen there    shifted ahead       real
    frozen           frozen there    frozen, ahead       real
    shifted          frozen there    shifted further     real

An account's first move starts from the clock for all. An account that is set to real time while all others are not
has a real clock of its own; where the clock for all is real too it has none, and follows it again from then on.
A clock is moved ahead only; to go back, freeze it at an earlier time. Instants stay within the years 1-9999.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, Struct

from meterhouse.core.moment import SECOND
from meterhouse.ledger.protocol import Document
from meterhouse.service.draft import LAST_MICROS, Change, micros_of
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import ClockRow

CLOCK_KIND: Final = "clock"
"""The kind of a clock's document."""
FOR_ALL: Final = ""
"""The key of the clock for all."""


class ClockMode(StrEnum):
    """How a clock goes."""

    REAL = "real"
    FROZEN = "frozen"
    SHIFTED = "shifted"


class ClockState(Struct, frozen=True, array_like=True):
    """A clock as it is kept. `micros`: frozen, the instant; shifted, how far ahead of real time."""

    mode: ClockMode = ClockMode.REAL
    micros: int = 0

    def at(self, real_micros: int) -> int:
        """What the clock shows when it is really that late."""
        match self.mode:
            case ClockMode.REAL:
                return real_micros
            case ClockMode.FROZEN:
                return self.micros
            case ClockMode.SHIFTED:
                return min(real_micros + self.micros, LAST_MICROS)

    def document(self, account: str) -> Document:
        """The clock as it is kept for an account, or for all."""
        return Document(CLOCK_KIND, account, msgspec.msgpack.encode(self))


class Clocks:
    """What time it is, for each account.

    `kept` is the live view of the clocks' documents (`market.settings(CLOCK_KIND)`); without a sandbox an empty mapping
    makes all time real. `real_micros` reads real time, in microseconds since the epoch.
    """

    def __init__(self, kept: Mapping[str, bytes], real_micros: Callable[[], int]) -> None:
        self._kept = kept
        self._real_micros = real_micros

    def now_micros(self, account: str = FOR_ALL) -> int:
        """The present instant by an account's clock, in microseconds since the epoch."""
        kept = self._kept
        if not kept:
            return self._real_micros()
        return self.state(account).at(self._real_micros())

    def state(self, account: str = FOR_ALL) -> ClockState:
        """How an account's clock goes: its own, else the one for all."""
        body = self._kept.get(account) or self._kept.get(FOR_ALL)
        return REAL if body is None else _state_of(body)

    def moved(self, row: ClockRow, account: str = FOR_ALL) -> Change[ClockState]:
        """`PUT /clock`: one move of one clock. Raises Refused for none, several, or one beyond the years 1-9999."""
        given = [name for name in row.__struct_fields__ if getattr(row, name) is not UNSET]
        if len(given) != 1:
            wanted = 'one of "now" (freezes), "advance_seconds" (moves ahead) and "real" (ends) must be given'
            raise Refused(RefusalKind.INVALID, f"{wanted}, and no more")
        if row.now is not UNSET:
            state = ClockState(ClockMode.FROZEN, micros_of(row.now, "now"))
        elif row.advance_seconds is not UNSET:
            state = _advanced(self.state(account), row.advance_seconds, self._real_micros())
        elif row.real is True:
            state = REAL
        else:
            raise Refused(RefusalKind.INVALID, 'only true ends a clock; to freeze it give "now"', "real")
        if state != REAL:
            return Change([state.document(account)], state)
        return Change(self._ended(account), state)

    def _ended(self, account: str) -> list[Document]:
        if account == FOR_ALL:
            real = [key for key, body in self._kept.items() if _state_of(body) == REAL]
            return [Document(CLOCK_KIND, key, None) for key in (FOR_ALL, *real)]
        for_all = self._kept.get(FOR_ALL)
        return [Document(CLOCK_KIND, account, None) if for_all is None else REAL.document(account)]


REAL: Final = ClockState()


def _advanced(state: ClockState, seconds: float, real_micros: int) -> ClockState:
    micros = seconds * SECOND if isinstance(seconds, int) else round(seconds * SECOND)
    mode = ClockMode.FROZEN if state.mode is ClockMode.FROZEN else ClockMode.SHIFTED
    if state.at(real_micros) + micros > LAST_MICROS:
        raise Refused(RefusalKind.INVALID, "that would lead beyond the year 9999", "advance_seconds")
    return ClockState(mode, state.micros + micros) if micros else state


@lru_cache(maxsize=4096)
def _state_of(body: bytes) -> ClockState:
    return msgspec.msgpack.decode(body, type=ClockState)
