"""The stage budget in instructions: the same on a busy machine as on a quiet one.

The stages run under Valgrind's callgrind, which counts every instruction of the process and its threads (the kernel's
not, and not what a cache miss costs). It runs with counting switched off, some fifty times slower with it on; so the
process itself asks for it around each stage. Valgrind hears such a request when it meets a sequence of instructions
that does nothing; here those are put into memory and called, since Python has no other way to say them. Outside
Valgrind they do nothing indeed. x86-64 alone.

Each stage's count is then in a file of its own, numbered in the order in which they ran.
"""

import ctypes
import mmap
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.measuring import Bench
from benchmarks.results import Run
from benchmarks.stages import MEASURED, REQUESTS, Meter, budget
from meterhouse.server.log import LogLevel, configure_logs

_REQUEST: Final = bytes.fromhex(
    "4889f8"  # mov rax, rdi: where the request's words are
    "31d2"  # xor edx, edx: the answer, if nobody hears it
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi by 3, 13, 61 and 51: 128 in all, so nothing has changed
    "4887db"  # xchg rbx, rbx: by this Valgrind knows that it is meant
    "4889d0 c3"  # mov rax, rdx; ret
)
_CALLGRIND: Final = ord("C") << 24 | ord("T") << 16
_DUMP, _START, _STOP = _CALLGRIND, _CALLGRIND + 4, _CALLGRIND + 5
_WARM_ROUNDS: Final = 1


def available() -> bool:
    """Whether instructions can be counted here."""
    return shutil.which("valgrind") is not None and platform.machine() == "x86_64" and sys.platform == "linux"


def instructions(bench: Bench) -> Iterator[Run]:
    """Thousands of instructions per request of each stage, by itself, and of the whole; nothing where not available."""
    if not available():
        return
    with bench.place() as folder:
        counted = folder / "counted"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={counted}"]
        inside = [sys.executable, "-m", "benchmarks.instructions", str(folder)]
        ran = subprocess.run([*command, *inside], capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            raise SystemExit(f"valgrind could not count:\n{ran.stderr[-2000:]}")
        for stage, count in _counts(counted).items():
            yield Run(stage, {"kilo_instructions": count / REQUESTS / 1000})


def _counts(counted: Path) -> Mapping[str, int]:
    """What stands in the last round's files."""
    first = _WARM_ROUNDS * len(MEASURED) + 1
    counts = {}
    for number, stage in enumerate(MEASURED, first):
        text = counted.with_name(f"{counted.name}.{number}").read_text(encoding="utf-8")
        found = re.search(r"^totals: ([0-9]+)$", text, re.MULTILINE)
        if found is None:
            raise SystemExit("callgrind counted nothing")
        counts[stage] = int(found[1])
    return counts


class _Counter(Meter):
    """Has callgrind count between `begin` and `end`, and write it down."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def begin(self) -> None:
        self._ask(_START)

    def end(self) -> float:
        self._ask(_STOP)
        self._ask(_DUMP)
        return 0

    def _ask(self, request: int) -> None:
        words = (ctypes.c_uint64 * 6)(request)
        self._call(ctypes.addressof(words))


if __name__ == "__main__":
    configure_logs(LogLevel.WARNING)
    budget(Path(sys.argv[1]), _WARM_ROUNDS + 1, _Counter())
