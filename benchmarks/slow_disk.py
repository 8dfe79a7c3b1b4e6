"""A disk whose syncs take longer: a SQLite virtual file system that waits, and then does what the usual one does."""

import threading

import apsw


class SlowDisk(apsw.VFS):
    """Registers itself under `name`. Each sync of any file takes `delay_seconds` more."""

    def __init__(self, name: str, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """A file of the usual file system, but for its syncs."""
        return _SlowFile(name, flags, self._delay_seconds)


class _SlowFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], delay_seconds: float) -> None:
        super().__init__("", name, flags)
        self._delay_seconds = delay_seconds
        self._never = threading.Event()

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._never.wait(self._delay_seconds)  # as a disk does: the other threads go on meanwhile
        super().xSync(flags)
