"""One deadline that moves with every request, and one timer that rarely does.

A timer for every request would be made and cancelled thousands of times a second. Here setting the deadline is one
comparison: the timer stays where it is, looks when it fires whether the deadline has moved on, and sleeps again until
then. Only a deadline earlier than the timer needs a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf


class Deadline:
    """Calls `missed` when the loop's clock reaches what was last `set`, unless it was cleared or set anew before."""

    __slots__ = ("_at", "_loop", "_missed", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, missed: Callable[[], None]) -> None:
        self._loop = loop
        self._missed: Callable[[], None] | None = missed
        self._at = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def set(self, seconds: float) -> None:
        """The deadline is so many seconds from now."""
        self._at = at = self._loop.time() + seconds
        if at < self._timer_at:
            self._set_timer(at)

    def clear(self) -> None:
        """There is no deadline until the next `set`."""
        self._at = inf

    def end(self) -> None:
        """There is none any more, and the owner is let go."""
        self._at = inf
        self._missed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        self._timer_at = inf
        if self._loop.time() < self._at:
            if self._at < inf:
                self._set_timer(self._at)
        elif self._missed is not None:
            self._at = inf
            self._missed()
