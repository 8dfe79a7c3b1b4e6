"""The command line at a terminal: narrow tables, colours, bars, questions, and what goes on until Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest

from tests.e2e.control import TOKEN, ask
from tests.e2e.market import BUYER, CATALOG, CONCURRENT, CUSTOMER, KEYS, LEGACY, LICENSE, now_seconds
from tests.e2e.seller import Seller
from tests.e2e.serving import Server, run_meterhouse
from tests.e2e.terminal import Terminal
from tests.unit.talking_peer import answer, saying

NARROW: Final = 60
ESCAPE: Final = "\x1b["


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox."""
    folder = tmp_path_factory.mktemp("terminal")
    environment = {"METERHOUSE_ADMIN_TOKEN": TOKEN}
    with Server(folder, "--clock", "test", catalog=CATALOG, environment=environment) as started:
        yield started


def environment_of(server: Server) -> dict[str, str]:
    """What leads to it."""
    return {"METERHOUSE_URL": server.url, "METERHOUSE_ADMIN_TOKEN": TOKEN}


def at_terminal(server: Server, *words: str, **how: Any) -> Terminal:
    """A command at a terminal."""
    return Terminal(*words, folder=server.folder, environment=environment_of(server), **how)


def test_a_narrow_terminal_breaks_no_id(server: Server) -> None:
    """At a narrow terminal each row is told a line a member; no line is longer than it must be, and ids are whole."""
    with at_terminal(server, "agreement", "list", columns=NARROW) as terminal:
        assert terminal.end() == 0
    assert "Agreement            agmt-legacy\n" in terminal.text
    assert f"Product              {LEGACY}\n" in terminal.text
    assert max(map(len, terminal.text.splitlines())) <= NARROW


def test_a_pipe_is_as_wide_as_it_must_be(server: Server) -> None:
    """Beside a narrow terminal a pipe still gets the whole table, without colours."""
    with at_terminal(server, "agreement", "list", columns=NARROW, piped=True) as terminal:
        piped = terminal.piped()
        assert terminal.end() == 0
    head, _, first, *_ = piped.splitlines()
    assert re.fullmatch(r"Agreement +Product +Buyer +Customer identifier +Status +Start +End", head)
    assert len(first) > NARROW
    assert ESCAPE not in piped
    assert terminal.text == ""


def test_colours_are_for_terminals(server: Server) -> None:
    """A head is set off at a terminal, unless NO_COLOR or a dumb terminal forbids."""
    with at_terminal(server, "account", "list") as terminal:
        assert terminal.end() == 0
    assert ESCAPE in terminal.text
    with Terminal(
        "account", "list", folder=server.folder, environment={**environment_of(server), "TERM": "dumb"}
    ) as terminal:
        assert terminal.end() == 0
    assert ESCAPE not in terminal.text


def test_what_takes_long_shows_a_bar(tmp_path: Path) -> None:
    """A bar appears at the terminal when the server takes its time, and is gone when it has answered."""
    may_answer = Event()
    with saying(answer(200, b'{"now":"2026-11-30T23:59:59Z","mode":"frozen"}'), may_answer) as peer:
        environment = {"METERHOUSE_URL": peer.url}
        with Terminal("clock", "show", folder=tmp_path, environment=environment, piped=True) as terminal:
            terminal.await_text(f"{peer.url} is asked")
            may_answer.set()
            assert terminal.piped() == "Now   2026-11-30 23:59:59 UTC\nMode  frozen\n"
            assert terminal.end() == 0
    assert terminal.text.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))


def test_what_is_quick_shows_none(server: Server) -> None:
    """Nothing but the answer appears where it comes at once."""
    with at_terminal(server, "clock", "show", piped=True) as terminal:
        assert terminal.end() == 0
    assert terminal.text == ""


@pytest.mark.parametrize(
    ("typed", "exit_code", "said"),
    [("y\n", 0, "Usage, journal and faults are empty."), ("n\n", 1, "nothing was emptied."), ("\n", 1, "nothing was")],
)
def test_a_reset_asks(server: Server, typed: str, exit_code: int, said: str) -> None:
    """Only a yes empties anything."""
    ask(server.port, "POST", "/faults", {"operation": "MeterUsage", "fault": "throttle"})
    with at_terminal(server, "reset") as terminal:
        terminal.await_text(f"Empty all usage, the journal and the faults of {server.url}? [y/N]")
        terminal.type(typed)
        assert terminal.end() == exit_code
    assert said in terminal.text
    assert bool(ask(server.port, "GET", "/faults")["items"]) is (exit_code != 0)


def test_a_reset_without_a_terminal_is_refused(server: Server) -> None:
    """A script that forgot --yes is told so, and nothing is emptied."""
    done = subprocess.run(
        [sys.executable, "-m", "meterhouse", "reset", "--url", server.url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "meterhouse: reset asks before it empties anything, and nobody is here to answer: add --yes.\n"
    )


def meter(server: Server, product: str, hours_ago: int) -> str:
    """A request of the seller's that keeps something new: its id."""
    record = {"Timestamp": now_seconds() - 3600 * hours_ago, "Dimension": "users", "Quantity": 1}
    if product == LEGACY:
        request = {"ProductCode": product, "UsageRecords": [{**record, "CustomerIdentifier": CUSTOMER}]}
    else:
        request = {"UsageRecords": [{**record, "LicenseArn": LICENSE, "CustomerAWSAccountId": BUYER}]}
    with Seller(server.port, KEYS) as seller:
        said = seller.call("BatchMeterUsage", request)
    assert said.body["Results"][0]["Status"] == "Success", said
    return said.headers["x-amzn-requestid"]


def test_a_journal_is_followed_until_ctrl_c(server: Server) -> None:
    """What is there is printed, then each request of any product as it is kept; Ctrl-C ends it, which is success."""
    ask(server.port, "POST", "/reset")
    before = meter(server, LEGACY, 1)
    with at_terminal(server, "journal", "follow", columns=250) as terminal:
        terminal.await_text(before)
        for product, hours_ago in ((LEGACY, 2), (CONCURRENT, 1), (LEGACY, 3)):
            terminal.await_text(meter(server, product, hours_ago))
        terminal.interrupt()
        assert terminal.end() == 0
    lines = [line.split() for line in terminal.text.splitlines() if "BatchMeterUsage" in line]
    assert [line[5] for line in lines if line[3] == LEGACY] == ["1", "2", "3"]
    assert [line[5] for line in lines if line[3] == CONCURRENT] == ["1"]
    assert terminal.text.count("Request id") == 1
    assert "Traceback" not in terminal.text


def test_a_program_follows_a_journal(server: Server) -> None:
    """With --json each request is a line of JSON, from behind a position on; SIGTERM ends it, and that is success."""
    ask(server.port, "POST", "/reset")
    first, second = (meter(server, LEGACY, hours_ago) for hours_ago in (1, 2))
    words = ["journal", "follow", "--product", LEGACY, "--region", "us-east-1", "--after", "1", "--json"]
    with at_terminal(server, *words) as terminal:
        terminal.await_text(second)
        third = meter(server, LEGACY, 3)
        terminal.await_text(third)
        terminal.interrupt(signal.SIGTERM)
        assert terminal.end() == 0
    rows = [json.loads(line) for line in terminal.text.splitlines()]
    assert [(row["position"], row["request_id"]) for row in rows] == [(2, second), (3, third)]
    assert first not in terminal.text
    assert rows == ask(server.port, "GET", "/journal")["items"][1:]


def test_who_stops_reading_is_no_failure(server: Server) -> None:
    """A reader that has seen enough ends the command, without a complaint."""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m meterhouse catalog export; echo $? >&2"],
        env={**os.environ, **environment_of(server)},
        stdout=closed_pipe(),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.stderr == "0\n"


def closed_pipe() -> int:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


REFUSALS: Final = [
    # What is typed, whether the token is the right one; the exit code, and the sentence.
    ("agrement list", True, 2, 'Unknown command "agrement". Did you mean "agreement"?'),
    ("agreement lst", True, 2, 'Unknown command "lst". Did you mean "list"?'),
    ("agreement list --url http://127.0.0.1:9", True, 1, "http://127.0.0.1:9 is not served: nobody listens there."),
    ("agreement list --url 127.0.0.1:9", True, 2, "--url: '127.0.0.1:9' is no address of a server"),
    ("agreement list", False, 1, "this is not the admin token; the command line takes the token from"),
    ("agreement show nobody", True, 1, 'no agreement has the id "nobody".'),
    ("agreement create nothing 444455556666", True, 2, 'product: no product has the code "nothing".'),
    ("agreement activate agmt-former", True, 1, "it is ended already"),
    ("catalog check wrong.toml", True, 2, "wrong.toml, line 2"),
    ("catalog load wrong.toml", True, 2, "wrong.toml, line 2"),
]


@pytest.mark.parametrize(("words", "knows_token", "exit_code", "sentence"), REFUSALS)
def test_a_refusal_is_one_sentence(
    server: Server, words: str, knows_token: bool, exit_code: int, sentence: str
) -> None:
    """A wrong noun, address, token, name or file: one line, and the exit code of whose fault it is."""
    (server.folder / "wrong.toml").write_text('[[products]]\ncode = "a b"\n')
    environment = environment_of(server)
    if not knows_token:
        environment["METERHOUSE_ADMIN_TOKEN"] = "another"
    done = run_meterhouse(*words.split(), folder=server.folder, environment=environment)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert done.stderr.startswith("meterhouse: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
