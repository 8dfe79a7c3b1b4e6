"""What the figures were taken on: without it they say nothing to anybody else."""

import math
import os
import platform
import sqlite3
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

_SYNCS: Final = 200
_SYNCED: Final = bytes(65_536)
"""About what a group of 25 requests writes."""


def describe(folder: Path) -> dict[str, Any]:
    """The machine, its software, and how quick it syncs where the ledgers will lie."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gigabytes": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "file_system": _file_system(folder),
        "sync_micros": sync_micros(folder),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "system_sqlite": sqlite3.sqlite_version,
    }


ALONE: Final = 0.05
"""What others may take of the processors (the system's own threads among them) before figures are not to be trusted."""

_BUSY: Final = (0, 1, 2, 5, 6, 7)
"""The columns of /proc/stat that are work, or (steal) somebody else's: neither idle nor waiting for a disk."""


class Others:
    """What others take of the machine's processors meanwhile: everything that neither this process nor its children do.

    Children count once they have ended and were waited for.
    """

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._theirs = _busy_seconds() - _own_seconds()

    def share(self) -> float:
        """From 0 to 1, since this was made; nan where the system does not tell."""
        seconds = (time.perf_counter() - self._begun) * (os.cpu_count() or 1)
        return max(0.0, (_busy_seconds() - _own_seconds() - self._theirs) / seconds)


def _busy_seconds() -> float:
    try:
        columns = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    except OSError:
        return math.nan
    return sum(int(columns[place]) for place in _BUSY) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def load_average() -> float:
    """How many others wanted a processor in the last minute: above a half, figures are not to be trusted."""
    return round(os.getloadavg()[0], 2)


def sync_micros(folder: Path) -> int:
    """The median time of a sync of 64 KiB added to a file."""
    path = folder / "synced"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        taken = []
        for _ in range(_SYNCS):
            os.write(descriptor, _SYNCED)
            begun = time.perf_counter()
            os.fsync(descriptor)
            taken.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
        path.unlink()
    return round(1e6 * statistics.median(taken))


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder is on, by the longest mount point above it."""
    with suppress(OSError):
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
        above = [(mount[1], mount[2]) for mount in mounts if folder.resolve().is_relative_to(mount[1])]
        return max(above, key=lambda mount: len(mount[0]))[1]
    return "unknown"
