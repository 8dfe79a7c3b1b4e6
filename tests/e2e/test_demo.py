"""`meterhouse demo`, as a stranger at a terminal has it: what it tells, how it ends, and whether its invitation holds.

What it tells is kept in `demo_told.txt`, ids, ports and folders masked. After a change that is meant, write it anew:
`python -m tests.e2e.test_demo > tests/e2e/demo_told.txt`.
"""

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Final
from urllib.parse import urlsplit

import pytest

from meterhouse.ledger.sqlite import open_sqlite
from tests.e2e.serving import PATIENCE_SECONDS, run_meterhouse
from tests.strangers.environments import javascript, python_of

TOLD: Final = Path(__file__).with_name("demo_told.txt")
RECORD_COUNT: Final = 121
SERVES_ON: Final = "goes on until Ctrl-C"

PLAIN: Final = {"FORCE_COLOR": "", "TTY_COMPATIBLE": "0"}
"""No colours, whatever whoever runs the tests has set."""
FOREIGN: Final = {
    "AWS_PROFILE": "nobody",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "SOMEBODYELSES",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "METERHOUSE_AUTH": "open",
    "METERHOUSE_REGION": "eu-west-1",
    "METERHOUSE_PROFILE": "2018-06",
}
"""Settings that people have, and that are no business of the demo's."""


def masked(told: str) -> str:
    """What the demo told, without what is another each time."""
    told = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<record id>", told)
    told = re.sub(r"[a-z0-9]{8}…", "<token>…", told)
    told = re.sub(r"127\.0\.0\.1:[0-9]+", "127.0.0.1:<port>", told)
    return re.sub(r"\S*/meterhouse-demo-\w+", "<folder>", told)


def told_once(folder: Path, environment: Mapping[str, str]) -> str:
    """What `meterhouse demo --once` tells, masked."""
    done = run_meterhouse("demo", "--once", "--port", "0", folder=folder, environment={**PLAIN, **environment})
    assert (done.returncode, done.stderr) == (0, "")
    return masked(done.stdout)


class Demo:
    """A demo that serves on."""

    def __init__(self, running: "subprocess.Popen[str]", told: str) -> None:
        self.running = running
        self.told = told
        self.url = re.search(r"ready at (\S+)", told).group(1)  # type: ignore[union-attr] # the demo serves

    def text_below(self, caption: str) -> str:
        """What stands under a caption of the invitation, to be copied."""
        lines = self.told.split(f"    {caption}\n", 1)[1].split("\n\n", 1)[0].split("\n")
        return "\n".join(line.removeprefix("    ") for line in lines)

    def exports(self) -> dict[str, str]:
        """The variables that it says are to be exported."""
        lines = self.text_below("In another terminal").splitlines()
        return dict(line.removeprefix("export ").split("=", 1) for line in lines)


@contextmanager
def serving_on(temporary: Path) -> Iterator[Demo]:
    """The demo with its story told; killed at the end, if it still runs."""
    running = subprocess.Popen(
        [sys.executable, "-m", "meterhouse", "demo", "--port", "0"],
        env={**os.environ, **PLAIN, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = Timer(PATIENCE_SECONDS, running.kill)
    watchdog.start()
    told = ""
    with running:
        try:
            assert running.stdout is not None
            for line in running.stdout:
                told += line
                if SERVES_ON in line:
                    break
            watchdog.cancel()
            yield Demo(running, told)
        finally:
            watchdog.cancel()
            running.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """One demo for all who only call it."""
    with tempfile.TemporaryDirectory() as folder, serving_on(Path(folder)) as running:
        yield running


def test_it_tells_the_same_every_time(tmp_path: Path) -> None:
    """Whatever the reader's own settings are, the story is the one that is kept, but for ids and times."""
    assert told_once(tmp_path, FOREIGN) == TOLD.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_without_a_trace(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, a closed terminal or a kill end it well: exit code 0, no complaint, no folder, no service."""
    with serving_on(tmp_path) as demo:
        assert [path.name[:16] for path in tmp_path.iterdir()] == ["meterhouse-demo-"]
        demo.running.send_signal(number)
        _, complaints = demo.running.communicate(timeout=PATIENCE_SECONDS)
    assert (demo.running.returncode, complaints) == (0, "")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(demo.url.rpartition(":")[2])), timeout=PATIENCE_SECONDS)


ENDED_BESIDE: Final = """
import signal, subprocess, sys, threading
from pathlib import Path
from meterhouse.demo.service import Service

signal.signal(signal.SIGHUP, signal.default_int_handler)
with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
    waits = threading.Event()
    beside = threading.Thread(target=lambda: (waits.wait(), signal.pthread_kill(threading.get_ident(), signal.SIGHUP)))
    beside.start()
    try:
        waits.set()
        Service(running, Path()).wait()
    except KeyboardInterrupt:
        print("interrupted")
    running.kill()
"""


def test_a_signal_that_does_not_reach_the_wait_ends_it() -> None:
    """Where the system gives the signal to another thread than the one that waits, the demo ends all the same."""
    done = subprocess.run(
        [sys.executable, "-c", ENDED_BESIDE], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_a_port_that_is_taken_is_said_in_one_sentence(tmp_path: Path) -> None:
    """Nothing is told where nothing can be served."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_meterhouse("demo", "--port", str(port), folder=tmp_path)
    sentence = f"meterhouse: Cannot listen on 127.0.0.1:{port}: another program already uses that port.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


async def test_the_ledger_can_be_kept(tmp_path: Path) -> None:
    """With --data the ledger stays where it was wanted, and has every record."""
    done = run_meterhouse("demo", "--once", "--port", "0", "--data", "kept.db", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    ledger = await open_sqlite(tmp_path / "kept.db")
    try:
        assert (await ledger.size()).records == RECORD_COUNT
    finally:
        await ledger.close()


def test_a_ledger_that_exists_is_left_alone(tmp_path: Path) -> None:
    """The demo writes into nobody's ledger, also where METERHOUSE_DATA names it."""
    ledger = tmp_path / "real.db"
    ledger.write_bytes(b"a person's")
    done = run_meterhouse("demo", "--once", folder=tmp_path, environment={"METERHOUSE_DATA": str(ledger)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"meterhouse: --data: {ledger} exists; the demo needs a ledger of its own.\n"
    assert ledger.read_bytes() == b"a person's"


def test_a_port_that_is_none_is_bad_input(tmp_path: Path) -> None:
    """It is told at once, as `serve` tells it."""
    done = run_meterhouse("demo", "--once", "--port", "-1", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "meterhouse: --port: -1 is no port; 0 to 65535 can be given.\n"


def test_the_invitation_holds_for_python(demo: Demo) -> None:
    """The lines for Python meter, with the newest boto3."""
    assert "'Status': 'Success'" in _spoken([python_of("boto3-newest"), "-c", demo.text_below("Python")], demo)


def test_the_invitation_holds_for_the_aws_cli(demo: Demo) -> None:
    """The line for the AWS CLI meters."""
    folder = python_of("awscli").parent
    spoken = _spoken(["sh", "-c", demo.text_below("AWS CLI")], demo, PATH=f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert '"Status": "Success"' in spoken


def test_the_invitation_holds_for_javascript(demo: Demo) -> None:
    """The lines for JavaScript meter, with AWS's own SDK."""
    here = javascript()
    text = demo.text_below("JavaScript")
    assert "Status: 'Success'" in _spoken([here.node, "--input-type=module", "--eval", text], demo, folder=here.folder)


def test_the_ledger_can_be_asked(demo: Demo) -> None:
    """The call of the control API that the invitation names is answered with the sums."""
    program, option, header, url = shlex.split(demo.text_below("What the ledger holds"))
    assert (program, option) == ("curl", "-H")
    scheme, host, path, query, _ = urlsplit(url)
    assert scheme == "http"
    connection = http.client.HTTPConnection(host, timeout=PATIENCE_SECONDS)
    connection.request("GET", f"{path}?{query}", headers=dict([header.split(": ")]))
    sums = json.loads(connection.getresponse().read())["items"]
    connection.close()
    assert "19862.31625" in {one["quantity"] for one in sums}


def _spoken(command: list[str | Path], demo: Demo, folder: Path | None = None, **more: str) -> str:
    """What a stranger prints, in the environment that the demo says is to be exported, and no other of AWS's."""
    foreign = ("AWS_", "PYTHON", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, **nowhere, **demo.exports(), **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as here:
        sys.stdout.write(told_once(Path(here), {}))
