"""The commands there are, and that each says how it is used."""

import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from cyclopts import App

from meterhouse.cli import app, run
from tests.documents import code, tables_of

VERBS: Final = {
    "product": ["list", "show", "create", "update", "rotate-key", "public-key"],
    "agreement": ["list", "show", "create", "update", "activate", "unsubscribe", "end"],
    "account": ["list", "show", "suspend", "restore"],
    "token": ["create"],
    "credential": ["list", "create", "delete"],
    "workload": ["list", "show", "start", "heartbeat", "end"],
    "record": ["list", "totals"],
    "journal": ["list", "follow"],
    "clock": ["show", "freeze", "advance", "real"],
    "fault": ["list", "add", "remove", "clear"],
    "catalog": ["check", "load", "export"],
    "key": ["rotate"],
    "reset": [],
    "call": [],
    "backup": [],
    "prune": [],
    "copy": [],
    "migrate": [],
    "serve": [],
    "demo": [],
}
LEAVES: Final = [[noun, verb] for noun, verbs in VERBS.items() for verb in verbs] + [
    [noun] for noun, verbs in VERBS.items() if not verbs
]
OFFLINE: Final = [["key", "rotate"], ["call"], ["backup"], ["prune"], ["migrate"], ["copy"], ["serve"], ["demo"]]


def names_in(commands: App) -> Iterator[str]:
    """What can follow, flags left out."""
    return (name for name in commands if not name.startswith("-"))


def function_of(words: list[str]) -> Callable[..., Any]:
    """The function of a command."""
    found = app
    for word in words:
        found = found[word]
    assert callable(found.default_command)
    return found.default_command


def test_the_commands_are_those_of_the_contract() -> None:
    """Every noun and verb is there, and no other."""
    assert set(names_in(app)) == set(VERBS)
    for noun, verbs in VERBS.items():
        assert list(names_in(app[noun])) == verbs


def test_the_commands_are_documented() -> None:
    """The how-to has every noun with its verbs, in their order."""
    documented = {
        code(noun): [code(verb) for verb in verbs.split(", ")] if verbs else []
        for noun, verbs, _ in tables_of("how-to/command-line.md")["All nouns and verbs"]
    }
    assert documented == VERBS


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_a_command_says_how_it_is_used(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--help of every command has an example, which is a call of this very command, and a word about each flag."""
    assert run([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    example = example_of(words)
    assert f"Example: meterhouse {shlex.join(example)}" in " ".join(shown.split()).replace('"', "'")
    command, _, _ = app.parse_args(example, exit_on_error=False)
    assert command is function_of(words)
    rows = re.findall(r"^│ (.*) │$", shown, re.MULTILINE)
    named = [row for row in rows if re.match(r"(\*  |   )?(--)?[A-Za-z]", row)]
    assert named
    for row in named:
        name, _, said = row.strip("* ").partition("  ")
        assert re.match(r"[^[]", said.strip()), name


@pytest.mark.parametrize("words", [words for words in LEAVES if words not in OFFLINE], ids=" ".join)
def test_a_command_that_asks_a_server_can_be_told_which(words: list[str]) -> None:
    """Each takes --url and --json; METERHOUSE_URL names the server as well."""
    _, bound, _ = app.parse_args([*example_of(words), "--url", "http://h:1", "--json"], exit_on_error=False)
    server = bound.arguments["server"]
    assert (server.url, server.json) == ("http://h:1", True)


def example_of(words: list[str]) -> list[str]:
    """The words of its example."""
    (example,) = re.findall(r"^Example: meterhouse (.*)$", inspect.getdoc(function_of(words)) or "", re.MULTILINE)
    return shlex.split(example.partition(" > ")[0])


def test_the_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """METERHOUSE_URL is the server where no flag says another; variables of `serve` are no flags of others."""
    monkeypatch.setenv("METERHOUSE_URL", "http://h:2")
    monkeypatch.setenv("METERHOUSE_REGION", "us-east-1,eu-west-1")
    monkeypatch.setenv("METERHOUSE_PRODUCT", "nonsense")
    _, bound, _ = app.parse_args(["journal", "list"], exit_on_error=False)
    assert bound.arguments["server"].url == "http://h:2"
    assert not {"region", "product"} & set(bound.arguments)


def test_the_list_of_commands_says_what_each_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    """`meterhouse` alone and with --help lists every noun with a word about it."""
    assert run([]) == 0
    shown = capsys.readouterr().out
    for noun in VERBS:
        assert re.search(rf"^│ {noun} +\w", shown, re.MULTILINE), noun
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["agrement", "list"], 'Unknown command "agrement". Did you mean "agreement"?'),
        (["agreement", "lst"], 'Unknown command "lst". Did you mean "list"?'),
        (["agreement", "show"], "agreement show needs AGREEMENT; see meterhouse agreement show --help."),
        (["prune"], "prune needs --before; see meterhouse prune --help."),
        (["product", "update", "p"], "Nothing is to be replaced: give a FILE"),
        (["agreement", "list", "more"], '"more" is more than this command takes'),
        (["agreement", "list", "--lmit", "3"], "Unknown option: --lmit. Did you mean --limit?"),
        (["agreement", "list", "--limit", "few"], 'Invalid value for --limit: unable to convert "few" into int.'),
        (
            ["agreement", "create", "p", "b", "--status", "gone"],
            'Invalid value "gone" for --status. Choose from: "pending"',
        ),
        (["clock", "advance", "soon"], '"soon" is no span of time'),
        (["clock", "advance", "-1h"], '"-1h" is no span of time'),
        (["agreement", "update", "agmt-1"], "Nothing is to be replaced: give --start"),
        (["agreement", "update", "agmt-1", "--end", "2027-01-01", "--no-end"], "--end and --no-end contradict"),
        (["clock", "freeze", "soon"], '"soon" is no time'),
        (["fault", "add", "BatchMeterUsage", "nonsense"], 'Invalid value "nonsense" for FAULT'),
        (["fault", "add", "BatchMeterUsage", "unprocessed", "--records", "a"], '"a" is no list of numbers'),
        (["record", "list", "--csv", "--json"], "--csv prints all of it, and nothing else"),
        (["record", "list", "--csv", "--all"], "--csv prints all of it, and nothing else"),
        (["journal", "follow", "--after", "3", "--product", "p"], "give --product and --region"),
        (["product", "create", "none.toml"], "none.toml cannot be read: No such file or directory."),
        (["catalog", "check", "none.toml"], "none.toml cannot be read: No such file or directory."),
        (["backup", "copy.db", "--data", "memory"], "--data: this is for a SQLite file"),
        (["backup", "copy.db", "--data", "postgresql://h/d"], "--data: this is for a SQLite file"),
        (["prune", "--before", "2026-01"], "--export FILE is needed: nothing is removed that is not in a file"),
        (["prune", "--before", "2026-01", "--export", "f", "--data", "none.db"], "there is no ledger at none.db."),
        (["prune", "--before", "2026-01", "--export", "f", "--data", "memory"], "there is no ledger at memory."),
        (["key", "rotate", "--data", "memory"], "--data: this is for a SQLite file"),
        (["key", "rotate", "--data", "postgresql://h/d"], "METERHOUSE_NEW_MASTER_KEY is not set"),
        (["key", "rotate", "--data", "none.db"], "--data: there is no ledger at none.db."),
    ],
)
def test_what_is_typed_wrong_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input is told by one line, and exit code 2, before anybody is asked."""
    assert run(words) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("meterhouse: ")
    assert sentence in error
    assert error.count("\n") == 1
