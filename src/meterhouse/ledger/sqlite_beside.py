"""A connection beside the writer's: made when it is first used, and kept off the file while the writer connects.

Why the writer has to be alone then is said in `sqlite_carrying`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import apsw


class Beside:
    """What the reader and the carrier share. Whoever uses `_db` holds `_alone`; it raises `apsw.Error`."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._alone = threading.RLock()
        self._connection: apsw.Connection | None = None

    @property
    def _db(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        """Lets go of the file, behind a use that is under way; any thread may ask for it. A later use connects."""
        with self._alone:
            db, self._connection = self._connection, None
            if db is not None:
                with suppress(apsw.Error):
                    db.close(force=True)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Lets go of the file in the same way, and keeps off it meanwhile."""
        with self._alone:
            self.close()
            yield
