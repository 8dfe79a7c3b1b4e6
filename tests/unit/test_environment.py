"""``scripts/environment.py``: each environment is made once, by one maker, and again only when it has to be."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from scripts.environment import CannotMakeError, once, run


class _Builder:
    """Counts its builds and what it was told; fails when it is asked to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[bool] = []
        self.fails = False

    def __call__(self, *, cut_short: bool) -> None:
        self.told.append(cut_short)
        self.folder.mkdir(exist_ok=True)
        if self.fails:
            raise CannotMakeError("the network is away")


@pytest.fixture
def builder(tmp_path: Path) -> _Builder:
    """A builder of a folder that is not there yet."""
    return _Builder(tmp_path / "kept" / "environment")


LOCK = Path("run.lock")


def test_what_is_built_is_not_built_again(builder: _Builder) -> None:
    """The same lock asks for no work."""
    for _ in range(3):
        once(builder.folder, LOCK, [b"a==1"], builder)
    assert builder.told == [False]


def test_another_lock_builds_again(builder: _Builder) -> None:
    """A changed lock is followed, back and forth."""
    for text in (b"a==1", b"a==2", b"a==1"):
        once(builder.folder, LOCK, [text], builder)
    assert builder.told == [False, False, False]


def test_two_locks_share_a_folder(builder: _Builder) -> None:
    """An environment that grew from one lock to the next holds both."""
    for name in ("run.lock", "dev.lock", "run.lock", "dev.lock"):
        once(builder.folder, Path(name), [name.encode()], builder)
    assert builder.told == [False, False]


def test_what_was_cut_short_is_begun_again(builder: _Builder) -> None:
    """After a build that failed in the middle the next one is told so, and the one after it is not."""
    builder.fails = True
    with pytest.raises(CannotMakeError):
        once(builder.folder, LOCK, [b"a==1"], builder)
    builder.fails = False
    once(builder.folder, LOCK, [b"a==1"], builder)
    once(builder.folder, LOCK, [b"a==2"], builder)
    assert builder.told == [False, True, False]


def test_of_two_at_once_one_builds(builder: _Builder) -> None:
    """Whoever comes while another builds waits, and finds it built."""
    start = Barrier(8)

    def come() -> None:
        start.wait()
        once(builder.folder, LOCK, [b"a==1"], builder)

    with ThreadPoolExecutor(max_workers=8) as pool:
        for one in [pool.submit(come) for _ in range(8)]:
            one.result()
    assert builder.told == [False]


def test_a_failed_command_is_told_with_what_it_said() -> None:
    """The message names the command, its exit and its last words."""
    with pytest.raises(CannotMakeError, match=r"(?s)no such package.*`sh -c .*` ended with 3"):
        run(["sh", "-c", "echo no such package >&2; exit 3"])
