"""A disk that can lose power: a SQLite virtual file system that keeps apart what was not synced.

Every file is written through to a real one, so the ledger works as usual. Beside it the disk remembers, per file, what
is durable (what it held at its last sync) and what was written since. At a power cut everything durable is there, and
of what was written since *anything* may be: nothing, all, the first so many writes, any subset of them, or parts of a
single one (whole sectors of 512 bytes). SQLite assumes no more than that: a sync makes all earlier writes of the file
durable, and a write changes no bytes beside its own.

The disk can also fail: a call is refused with an error of the test's choice. A sync that fails makes nothing durable,
and what it should have made durable no later sync will (so do Linux's files), although it can still be read.

Threads may use a disk together, and even a file: a sync makes durable what was written before it began, no more; and
that one failed is told, at its next sync, to everybody who had the file open (as Linux does), for it may have been
their writes that are lost.
"""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw

SECTOR = 512


class Write(NamedTuple):
    """Bytes written at a place, or, without bytes, a cut to a size."""

    offset: int
    written: bytes | None


class Contents:
    """One file."""

    def __init__(self) -> None:
        self.durable = b""
        self.since: list[Write] = []
        self.settled = 0
        """How many writes are no longer in `since`."""
        self.ever_synced = False
        self.failed_syncs = 0

    @property
    def written(self) -> int:
        """How many writes there ever were."""
        return self.settled + len(self.since)

    def sync(self, written: int) -> None:
        """Makes the first so many of all writes durable."""
        self.durable = _applied(self.durable, self.since[: max(0, written - self.settled)])
        self._settle(written)
        self.ever_synced = True

    def lose(self, written: int) -> None:
        """Gives up what a sync should have made durable."""
        self._settle(written)
        self.failed_syncs += 1

    def _settle(self, written: int) -> None:
        """Another sync may have ended meanwhile that began later."""
        count = max(0, written - self.settled)
        del self.since[:count]
        self.settled += count


class Picture(NamedTuple):
    """A disk at one moment: per file what is durable, what was written since, and whether its name is durable."""

    files: dict[str, tuple[bytes, list[Write], bool]]

    def after_power_cut(self, folder: Path, chance: random.Random) -> None:
        """Writes what may be found when the power is back."""
        folder.mkdir()
        for name, (durable, since, ever_synced) in self.files.items():
            if not ever_synced and chance.random() < 0.5:
                continue
            (folder / name).write_bytes(_applied(durable, _survivors(since, chance)))

    def after_kill(self, folder: Path) -> None:
        """Writes what the next process finds where only the process died: everything that was written."""
        folder.mkdir()
        for name, (durable, since, _) in self.files.items():
            (folder / name).write_bytes(_applied(durable, since))


class Disk:
    """All files of a folder, as a virtual file system under a name of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[str, Contents] = {}
        self.on_step: Callable[[], None] = lambda: None
        """Called after every change of any file, in the thread that made it."""
        self.refuse: Callable[[str, str], apsw.Error | None] = lambda _operation, _name: None
        """Asked before every write, sync and cut: the error that it shall end with, or None."""
        self.read_only = False
        self.lock = threading.Lock()
        """Held while what is known of a file changes."""
        self._system = _System(self)

    def picture(self) -> Picture:
        """The disk as it is now."""
        with self.lock:
            files = self.files.items()
            return Picture({name: (file.durable, list(file.since), file.ever_synced) for name, file in files})

    def resume(self, picture: Picture) -> None:
        """Goes on from a picture: what was not synced then is not durable now either."""
        self.files = {}
        for name, (durable, since, ever_synced) in picture.files.items():
            contents = self.files[name] = Contents()
            contents.durable, contents.since, contents.ever_synced = durable, list(since), ever_synced

    def close(self) -> None:
        """Takes the virtual file system away."""
        self._system.unregister()


class _System(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        if self._disk.read_only:
            flags[0] = flags[0] & ~(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE) | apsw.SQLITE_OPEN_READONLY
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        super().xDelete(filename, syncdir)
        with self._disk.lock:
            self._disk.files.pop(Path(filename).name, None)
        self._disk.on_step()


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk = disk
        self._name = Path(path).name if path else ""  # a temporary file has no name, and need not survive
        with disk.lock:
            self._contents = disk.files.setdefault(self._name, Contents()) if self._name else Contents()
        self._failed_syncs = self._contents.failed_syncs

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._allowed("write")
        super().xWrite(data, offset)
        with self._disk.lock:
            self._contents.since.append(Write(offset, bytes(data)))
        self._disk.on_step()

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._allowed("cut")
        super().xTruncate(newsize)
        with self._disk.lock:
            self._contents.since.append(Write(newsize, None))
        self._disk.on_step()

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        with self._disk.lock:
            written, failed_syncs = self._contents.written, self._contents.failed_syncs
        if failed_syncs > self._failed_syncs:
            self._failed_syncs = failed_syncs
            raise apsw.IOError("another's sync of this file failed")
        try:
            self._allowed("sync")
        except apsw.Error:
            with self._disk.lock:
                self._contents.lose(written)
                self._failed_syncs = self._contents.failed_syncs
            raise
        super().xSync(flags)
        with self._disk.lock:
            self._contents.sync(written)
        self._disk.on_step()

    def _allowed(self, operation: str) -> None:
        error = self._disk.refuse(operation, self._name)
        if error is not None:
            raise error


def _survivors(since: list[Write], chance: random.Random) -> list[Write]:
    match chance.randrange(4):
        case 0:
            return []
        case 1:
            return since[: chance.randrange(len(since) + 1)]
        case 2:
            return [write for write in since if chance.random() < 0.5]
        case _:
            return [torn for write in since for torn in _torn(write, chance)]


def _torn(write: Write, chance: random.Random) -> list[Write]:
    if write.written is None:
        return [write] if chance.random() < 0.5 else []
    parts, at = [], 0
    while at < len(write.written):
        size = SECTOR - (write.offset + at) % SECTOR
        if chance.random() < 0.7:
            parts.append(Write(write.offset + at, write.written[at : at + size]))
        at += size
    return parts


def _applied(durable: bytes, writes: list[Write]) -> bytes:
    held = bytearray(durable)
    for write in writes:
        if write.written is None:
            del held[write.offset :]
        else:
            held.extend(bytes(max(0, write.offset - len(held))))
            held[write.offset : write.offset + len(write.written)] = write.written
    return bytes(held)
