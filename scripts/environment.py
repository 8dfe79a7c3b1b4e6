"""Makes a virtual environment hold what a lock file says, and does nothing where it already does.

The one place that makes environments: ``.venv`` for people (by ``scripts/env``) and those of the strangers that the
tests call (by ``tests/strangers/environments.py``). It runs before anything is installed, so it needs Python alone.

What is kept beside an environment, and why:

* ``<folder>/.made-from-<lock>``: a fingerprint of everything it was made from. Where it fits, nothing is done.
* ``<folder>.lock``: a file under ``flock`` while one process makes the environment; others wait, then find the
  fingerprint in place. The system takes the lock back when its holder dies, which a lock folder would not survive.
  The file has a word in it for as long as the making goes on: whoever finds one there begins from nothing, since
  half of a package looks installed to pip.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent


class CannotMakeError(Exception):
    """An environment could not be made; the message says which, by which command, and what that command said."""


def main(arguments: Sequence[str]) -> int:
    """Make ``.venv`` from ``requirements/<name>.lock`` (``run`` or ``dev``), with the project itself in it."""
    (name,) = arguments
    try:
        make(ROOT / ".venv", ROOT / "requirements" / f"{name}.lock", project=ROOT)
    except CannotMakeError as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def make(folder: Path, lock: Path, *, project: Path | None = None) -> Path:
    """Make ``folder`` an environment that holds what ``lock`` lists; return its Python.

    ``project``, where given, is installed editable: its source is used where it lies. Safe to call from many processes
    and threads at once. Raises CannotMakeError.
    """
    python = folder / "bin" / "python"
    metadata = b"" if project is None else (project / "pyproject.toml").read_bytes()
    made_from = (lock.read_bytes(), sys.version.encode(), metadata)

    def build(*, cut_short: bool) -> None:
        if cut_short or not _is_ours(python):
            _make_venv(folder)
        _install(python, "--no-deps", "--require-hashes", "--requirement", str(lock))
        if project is not None:
            # The build backend is in the lock; in an environment of its own it would come unpinned.
            _install(python, "--no-deps", "--no-build-isolation", "--editable", str(project))

    once(folder, lock, made_from, build)
    return python


class Build(Protocol):
    """What fills a folder."""

    def __call__(self, *, cut_short: bool) -> None:
        """Fill it. ``cut_short``: an earlier build ended in the middle, and what is there is not to be used."""


def once(folder: Path, lock: Path, made_from: Sequence[bytes], build: Build) -> None:
    """Build ``folder`` unless it was already built, here, from the very same; one process at a time."""
    stamp = folder / f".made-from-{lock.stem}"
    fingerprint = hashlib.sha256(b"\0".join([str(folder).encode(), *made_from])).hexdigest()

    def is_built() -> bool:
        return stamp.exists() and stamp.read_text(encoding="utf-8") == fingerprint

    if is_built():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder) as cut_short:
        if is_built():
            return
        print(f"Setting up {_short(folder)} from {_short(lock)} (once) ...", file=sys.stderr, flush=True)
        stamp.unlink(missing_ok=True)
        build(cut_short=cut_short)
        stamp.write_text(fingerprint, encoding="utf-8")


def run(command: Sequence[str | Path], *, folder: Path | None = None) -> None:
    """Run a command silently; where it fails, raise CannotMakeError with the end of what it said."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join(done.stdout.splitlines()[-25:])
        raise CannotMakeError(f"{said}\n\nSetting up failed: `{' '.join(words)}` ended with {done.returncode}.")


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold ``folder`` for this process alone while others wait; give whether its last holder was cut short."""
    with folder.with_name(folder.name + ".lock").open("a+", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.seek(0)
        cut_short = bool(held.read())
        held.write("unfinished")
        held.flush()
        yield cut_short
        held.truncate(0)


def _is_ours(python: Path) -> bool:
    """Tell whether there is an environment already, and of the very Python that runs this."""
    if not python.exists():
        return False
    asked = subprocess.run(
        [python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() == sys.version.strip()


def _make_venv(folder: Path) -> None:
    try:
        venv.create(folder, clear=True, symlinks=True, with_pip=_uv() is None)
    except (OSError, subprocess.CalledProcessError) as failure:
        raise CannotMakeError(
            f"{failure}\n\n{sys.executable} cannot make virtual environments; "
            "on Debian and Ubuntu that takes the package python3-venv."
        ) from failure


def _install(python: Path, *arguments: str) -> None:
    uv = _uv()
    if uv is not None:
        run([uv, "pip", "install", "--quiet", "--python", python, *arguments])
    else:
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])


def _uv() -> str | None:
    return shutil.which("uv")


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
