"""The row of clients: what `benchmarks/client.py` prints, read from its first table."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.measuring import Bench
from benchmarks.results import Run

ROOT: Final = Path(__file__).resolve().parent.parent
_LINE: Final = re.compile(r"^(?P<name>\S.*?)\s{2,}(?P<cpu>[0-9]+)\s+(?P<wall>[0-9]+)(?:\s|$)", re.MULTILINE)


def clients(bench: Bench) -> Iterator[Run]:
    """Processor and wall microseconds of a call of 25 records; each client's figure is the least of the rounds."""
    sizes = ["--rounds", str(bench.sizes.rounds), "--calls", str(bench.sizes.calls)]
    command = [sys.executable, "-m", "benchmarks.client", *sizes]
    printed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    yield from read_table(printed)


def read_table(printed: str) -> Iterator[Run]:
    """The clients of the first table, which has two columns of whole numbers."""
    for found in _LINE.finditer(printed.partition("\n\n")[0]):
        yield Run(found["name"], {"cpu_micros_per_call": int(found["cpu"]), "wall_micros_per_call": int(found["wall"])})
