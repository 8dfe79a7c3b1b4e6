"""Token buckets that several processes of one server share: an account is throttled alike whichever of them it reaches.

A table in memory that the parent maps before it forks, in groups of places. A place has three numbers: whose bucket it
is, and when that will be full again, in whole microseconds and the ticks beyond (`throttle`). A bucket lies in a group
that its name says, in whichever of its places is free.

Whoever looks into a group holds the system's lock on one byte of a nameless file: the lock of a process that is killed
goes with it, which no lock in shared memory does. The two calls cost about two microseconds.
"""

import fcntl
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Hashable
from typing import Final

GROUPS: Final = 4096
PLACES: Final = 16
"""In a group. 65,536 buckets in all that are not full; those that find no place are their process's own."""

_NUMBER_BYTES: Final = 8
_MASK: Final = 2**64 - 1
_TICKS: Final = 1_000_000
"""In a microsecond."""

Draw = Callable[[int], tuple[int, bool]]
"""Given when a bucket will be full again: when it will be once a token was drawn from it, and whether there was one."""


class SharedBuckets:
    """Made before the processes are; in all of them the same name has the same bucket. Instants are in ticks."""

    def __init__(self, groups: int = GROUPS) -> None:
        self._groups = groups
        size = groups * PLACES * _NUMBER_BYTES
        memory = memoryview(mmap.mmap(-1, 3 * size))
        self._owners, self._micros, self._ticks = (
            memory[start : start + size].cast("Q") for start in range(0, 3 * size, size)
        )
        self._descriptor, name = tempfile.mkstemp(prefix="meterhouse-")
        os.unlink(name)  # noqa: PTH108 - beside os.close, which has no pathlib form
        weakref.finalize(self, os.close, self._descriptor)

    def draw(self, name: Hashable, now: int, draw: Draw) -> bool | None:
        """Whether a token could be drawn from a bucket; None where the bucket has no place here."""
        owner = hash(name) & _MASK or 1
        group = owner % self._groups
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, group)
        try:
            place = self._place_of(owner, group * PLACES, now)
            if place is None:
                return None
            full_at, admitted = draw(self._full_at(place) if self._owners[place] == owner else now)
            self._owners[place] = owner
            self._micros[place], self._ticks[place] = divmod(full_at, _TICKS)
            return admitted
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, group)

    def _place_of(self, owner: int, first: int, now: int) -> int | None:
        free = None
        for place in range(first, first + PLACES):
            if self._owners[place] == owner:
                return place
            if free is None and self._full_at(place) <= now:
                free = place
        return free

    def _full_at(self, place: int) -> int:
        return self._micros[place] * _TICKS + self._ticks[place]
