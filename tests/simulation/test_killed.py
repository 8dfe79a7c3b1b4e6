"""Promise 5 against `kill -9`: a program that acknowledges into a pipe is killed at random points."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.load import complaints

ROOT = Path(__file__).parents[2]


def run_and_kill(path: Path, first: int, lines: int) -> set[int]:
    """Lets a program write until it has acknowledged so much, kills it, and says what it had acknowledged by then."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.simulation.load", str(path), str(first)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        told = [program.stdout.readline() for _ in range(lines)]
        program.kill()
        told += program.stdout.read().splitlines(keepends=True)
    return {int(line) for line in told if line.endswith("\n")}


@pytest.mark.parametrize("seed", range(2))
async def test_killed_amid_turns_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    """5: whatever a killed program had acknowledged is there; what it had not is there whole or not at all; and the
    next program goes on with the same file.
    """
    chance = random.Random(seed)
    path = tmp_path / "ledger.db"
    acknowledged: set[int] = set()
    sent: set[int] = set()
    for first in (0, 1_000_000):
        acknowledged |= run_and_kill(path, first, chance.randrange(1, 300))
        sent.update(range(first, max(acknowledged) + 100))
    assert len(acknowledged) >= 2
    assert await complaints(path, acknowledged, sent) == []
