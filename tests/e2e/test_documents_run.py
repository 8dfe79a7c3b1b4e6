"""The examples of the README and the how-tos are run, block by block, as a reader would run them.

What a block is for, its mark says (`tests/document_blocks.py`). Each document has a folder of its own, in which what a
block exports or writes is there for the later ones. Only five things are not as they are written: the port is one that
the system picked (METERHOUSE_URL says so), the database is the tests' own, the scripts are the commands that they call,
the Python is that of the tests, and the AWS CLI and the JavaScript SDK are those of the strangers.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Final

import pytest

from tests.document_blocks import EXECUTED, ROOT, Block, blocks_of
from tests.e2e.serving import PATIENCE_SECONDS, READY
from tests.postgres import place_url_now
from tests.strangers.environments import javascript, python_of

COMMAND: Final = f"{sys.executable} -m meterhouse"
SCRIPTS: Final = {"scripts/serve": f"{COMMAND} serve --port 0", "scripts/demo": f"{COMMAND} demo --port 0"}
PORT: Final = "8750"
DATABASE: Final = "postgresql://meterhouse@db.example.com/meterhouse"
PROGRAMS: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "meterhouse": ("meterhouse", lambda: COMMAND),
    "python3": ("python3", lambda: sys.executable),
    "aws": ("aws meteringmarketplace", lambda: f"{python_of('awscli')} -m awscli"),
}
"""What documents call by its name: how a text does that, and the command that the name stands for."""
SERVES_ON: Final = "goes on until Ctrl-C"
"""What the demo says when its story is told."""
CHANGING: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|datetime\.datetime\([^()]*(?:\(\))?\)")
"""Ids and times."""


class Reader:
    """Does what the document says, in a folder, and remembers what was exported and printed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "examples").symlink_to(ROOT / "examples")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "METERHOUSE_"))}
        nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        programs = folder / ".programs"
        programs.mkdir()
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**kept, **nowhere, "PATH": path, "PYTHONUNBUFFERED": "1"}
        self._programs = programs
        self._port = PORT
        self._serving: subprocess.Popen[str] | None = None
        self.printed = ""

    def follow(self, block: Block) -> None:
        """Do what one block is for."""
        text = block.text.replace(PORT, self._port)
        if DATABASE in text:
            text = text.replace(DATABASE, place_url_now(self._folder))
        self._provide(text)
        match block.language, block.mark:
            case "sh", "run" | "fails":
                self._run_shell(text, succeeds=block.mark == "run")
            case "sh", "serve":
                self._serve(text)
            case _, "stop":
                self.stop(signal.SIGINT)
            case "python" | "js", "run":
                self._run_program(block.language, text)
            case _, "file":
                (self._folder / block.name).write_text(text)
            case _, "answer":
                assert _masked(self.printed) == _masked(text)
            case _, "load" | "throttle" | "shown":
                pass  # tests/unit/test_documents.py reads the first two
            case _:
                raise AssertionError(f"line {block.line}: nobody knows how to follow this block")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End what was started."""
        serving, self._serving = self._serving, None
        if serving is not None:
            os.killpg(serving.pid, number)
            with serving:
                serving.wait(PATIENCE_SECONDS)

    def _run_program(self, language: str, text: str) -> None:
        if language == "js":
            here = javascript()
            done = self._run([str(here.node), "--input-type=module", "--eval", text], here.folder)
        else:
            done = self._run([sys.executable, "-c", text])
        assert done.returncode == 0, done.stderr
        self.printed = done.stdout

    def _provide(self, text: str) -> None:
        """Puts what the document calls where it is found."""
        for name, (called, command) in PROGRAMS.items():
            program = self._programs / name
            if called in text and not program.exists():
                program.write_text(f'#!/bin/sh\nexec {command()} "$@"\n')
                program.chmod(0o755)

    def _run_shell(self, text: str, *, succeeds: bool) -> None:
        exported = self._folder / ".exported"
        done = self._run(["sh", "-euc", f"{_with_commands(text)}\nenv -0 > {exported}"])
        assert (done.returncode == 0) is succeeds, done.stderr
        self.printed = done.stdout if succeeds else done.stderr
        if succeeds:
            lines = exported.read_text().split("\0")[:-1]
            self._environment = dict(line.split("=", 1) for line in lines)

    def _serve(self, text: str) -> None:
        assert self._serving is None, "a document starts one service"
        self._serving = subprocess.Popen(
            ["sh", "-euc", _with_commands(text)],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        told_by = SERVES_ON if "demo" in text else READY
        watchdog = Timer(PATIENCE_SECONDS, self._serving.kill)
        watchdog.start()
        try:
            self._listen(self._serving, told_by)
        finally:
            watchdog.cancel()

    def _listen(self, serving: "subprocess.Popen[str]", told_by: str) -> None:
        """Wait for the line that says that it goes on, and for the port that it names."""
        assert serving.stdout is not None
        for line in serving.stdout:
            if READY in line:
                self._port = line.rpartition(":")[2].strip()
                self._environment["METERHOUSE_URL"] = f"http://127.0.0.1:{self._port}"
            if told_by in line:
                return
        raise AssertionError("it ended before it served")

    def _run(self, command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=folder or self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )


def _with_commands(text: str) -> str:
    for script, command in SCRIPTS.items():
        text = text.replace(script, command)
    return text


def _masked(text: str) -> str:
    return CHANGING.sub("…", text)


@contextmanager
def reading(folder: Path) -> Iterator[Reader]:
    """A reader, who ends at the end what the document had them start."""
    reader = Reader(folder)
    try:
        yield reader
    finally:
        reader.stop()


@pytest.mark.parametrize("document", EXECUTED)
def test_a_document_can_be_followed(document: str, tmp_path: Path) -> None:
    """Every example of a document works, in their order, and prints what the document says."""
    with reading(tmp_path) as reader:
        for block in blocks_of(document):
            reader.follow(block)


def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    """A document that says what is not so fails."""
    with reading(tmp_path) as reader:
        reader.follow(Block(1, "sh", "run", "", "echo 7\n"))
        reader.follow(Block(4, "text", "answer", "", "7\n"))
        with pytest.raises(AssertionError):
            reader.follow(Block(7, "text", "answer", "", "8\n"))
