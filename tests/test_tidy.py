"""The house's taste as a test: what may import what, which words and calls are out, what must not be left behind.

The tables to extend are in ``tests/tidy/tables.py``, the rules in ``tests/tidy/rules.py``. Here every rule is run on
this tree, and on small bad ones that it must object to: a rule that notices nothing would fail here.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.tidy import rules
from tests.tidy.tree import Tree, this_tree

Rule = Callable[[Tree], Iterator[str]]

PYPROJECT = """
[project]
dependencies = ["msgspec>=0.20", "pyjwt"]
scripts = { meterhouse = "meterhouse.cli:main" }
[project.optional-dependencies]
postgres = ["asyncpg"]
"""

# A rule, then a tree that breaks it. Paths without a folder are modules of the package.
BROKEN: list[tuple[Rule, dict[str, str]]] = [
    (rules.arrows, {"core/a.py": "from meterhouse.wire import b", "wire/b.py": ""}),
    (rules.arrows, {"core/a.py": "def f():\n    import meterhouse.wire.b", "wire/b.py": ""}),
    (rules.arrows, {"service/a.py": "from meterhouse.ledger.sqlite import b", "ledger/sqlite.py": ""}),
    (rules.arrows, {"client/a.py": "from meterhouse.ledger.protocol import b", "ledger/protocol.py": ""}),
    (rules.arrows, {"attic/a.py": ""}),
    (rules.no_cycles, {"core/a.py": "from meterhouse.core import b", "core/b.py": "from meterhouse.core.a import c"}),
    (
        rules.no_cycles,
        {
            "core/a.py": "from meterhouse.core import b",
            "core/b.py": "from meterhouse.core import c",
            "core/c.py": "from meterhouse.core.b import x",
        },
    ),
    (rules.purity, {"core/a.py": "import time"}),
    (rules.purity, {"wire/a.py": "from asyncio import Queue"}),
    (rules.purity, {"client/flow.py": "def f():\n    import socket"}),
    (rules.purity, {"core/a.py": "import starlette"}),
    (rules.libraries, {"server/a.py": "import numpy", "/pyproject.toml": PYPROJECT}),
    (rules.libraries, {"server/a.py": "import pytest", "/pyproject.toml": PYPROJECT}),
    (rules.libraries, {"server/a.py": "import asyncpg", "/pyproject.toml": PYPROJECT}),
    (rules.asking, {"ledger/a.py": "import time\nnow = time.time_ns"}),
    (rules.asking, {"ledger/a.py": "from datetime import UTC, datetime\ndatetime.now(UTC)"}),
    (rules.asking, {"ledger/a.py": "import datetime as d\nd.datetime.now()"}),
    (rules.asking, {"ledger/a.py": "from secrets import token_hex\ntoken_hex(4)"}),
    (rules.asking, {"client/flow.py": "import random\nrandom.random()"}),
    (rules.asking, {"ledger/a.py": "import os\nos.environ['A']"}),
    (rules.calls, {"server/app.py": "import uuid\nuuid.uuid4()"}),
    (rules.calls, {"server/app.py": "from asyncio import get_event_loop as loop\nloop()"}),
    (rules.calls, {"/tests/test_a.py": "import pytest\n@pytest.mark.skip\ndef test_a(): ..."}),
    (rules.calls, {"/tests/test_a.py": "from time import sleep\nsleep(1)"}),
    (rules.words, {"server/utils.py": ""}),
    (rules.words, {"/tests/unit/helper.py": ""}),
    (rules.words, {"core/a.py": "class UsageEvent: ..."}),
    (rules.words, {"core/a.py": "def handle(x): ..."}),
    (rules.words, {"core/a.py": "def data_received(x): ..."}),
    (rules.words, {"core/a.py": "def f(*, max_qty): ..."}),
    (rules.words, {"core/a.py": "item_count = 1"}),
    (rules.words, {"core/a.py": "def f(self): self.base = 1"}),
    (rules.left_behind, {"/docs/a.md": "Here is a " + "TO" + "DO left."}),
    (rules.left_behind, {"core/a.py": "x = 1  # FIX" + "ME"}),
    (rules.left_behind, {"core/a.py": "break" + "point()"}),
    (rules.left_behind, {"core/a.py": "<<<<" + "<<< ours\n"}),
    (rules.machine_paths, {"/docs/a.md": "Look into /ho" + "me/anna/notes."}),
    (rules.machine_paths, {"/scripts/a": "cd /ro" + "ot/x"}),
    (rules.machine_paths, {"/requirements/run.lock": "--index-" + "url https://example.org"}),
    (rules.machine_paths, {"/tests/strangers/javascript/package-lock.json": "https://registry.np" + "mjs.org/a"}),
    (rules.explained, {"core/a.py": "x = f()  # type: " + "ignore[arg-type]"}),
    (rules.explained, {"core/a.py": "x = f()  # no" + "qa: BLE001"}),
    (rules.explained, {"core/a.py": "x = f()  # no" + "qa: BLE001, S101 - so"}),
    (rules.length, {"core/a.py": "x = 1\n" * 501}),
    (rules.alive, {"cli.py": "", "core/a.py": "", "/pyproject.toml": PYPROJECT}),
    (
        rules.alive,
        {"cli.py": "", "core/a.py": "import meterhouse.core.b", "core/b.py": "", "/pyproject.toml": PYPROJECT},
    ),
    (rules.executables, {"/scripts/a": "#!/bin/sh\n"}),
    (rules.executables, {"/scripts/run-without-shebang": "echo\n"}),
    (rules.changelog, {"/CHANGELOG.md": "# Changes\n\n## 0.1.0\n\n## Unreleased\n"}),
    (
        rules.dependencies,
        {"/pyproject.toml": PYPROJECT, "/docs/decisions/dependencies.md": "| `msgspec` | x | fast |\n"},
    ),
    (rules.dependencies, {"/docs/decisions/dependencies.md": "| `msgspec` | x | fast |\n"}),
    (rules.dependencies, {"/tests/strangers/moto.in": "moto[server]\n"}),
    (rules.locked, {"/pyproject.toml": PYPROJECT}),
    (rules.locked, {"/requirements/run.lock": "msgspec==1\n", "/requirements/dev.lock": "msgspec==2\n"}),
    (rules.locked, {"/tests/strangers/moto.in": "moto[server]\n", "/tests/strangers/moto.txt": "boto3==1\n"}),
]

# A rule, then a tree that keeps it although it looks alike.
FINE: list[tuple[Rule, dict[str, str]]] = [
    (rules.arrows, {"service/a.py": "from meterhouse.ledger.protocol import b", "ledger/protocol.py": ""}),
    (rules.arrows, {"cli/serve.py": "from meterhouse.server import app", "server/app.py": ""}),
    (rules.arrows, {"core/a.py": "from meterhouse import __version__", "__init__.py": ""}),
    (rules.no_cycles, {"core/a.py": "from meterhouse.core import b", "core/b.py": ""}),
    (rules.purity, {"core/a.py": "import msgspec\nfrom datetime import UTC", "ledger/a.py": "import asyncio"}),
    (rules.libraries, {"ledger/postgres.py": "import asyncpg", "/pyproject.toml": PYPROJECT}),
    (rules.libraries, {"server/a.py": "import jwt\ndef f():\n    import asyncpg", "/pyproject.toml": PYPROJECT}),
    (rules.libraries, {"testing/plugin.py": "import pytest", "/pyproject.toml": PYPROJECT}),
    (rules.asking, {"server/app.py": "import time, os\ntime.time_ns(), os.urandom(16)"}),
    (rules.asking, {"ledger/a.py": "import time, datetime\ntime.monotonic(), datetime.datetime.fromtimestamp(0)"}),
    (rules.calls, {"server/app.py": "import uuid\nuuid.UUID(int=1)"}),
    (rules.words, {"core/a.py": "DUPLICATE_RECORD = 'DuplicateRecord'\nfor one in {}.items(): process_name()"}),
    (rules.left_behind, {"core/a.py": "example = 'X01EXAMPLEX XXXX'"}),
    (rules.machine_paths, {"core/a.py": "url = 'http://example.org/home/page'"}),
    (rules.explained, {"core/a.py": "x = f()  # no" + "qa: BLE001 - whatever a plugin raises is its own"}),
    (rules.explained, {"core/a.py": "# The answer is of any kind.\nx = f()  # type: " + "ignore[arg-type]"}),
    (rules.alive, {"cli.py": "from meterhouse.core import a", "core/a.py": "", "/pyproject.toml": PYPROJECT}),
    (
        rules.alive,
        {"cli.py": "engines = ('meterhouse.ledger.memory',)", "ledger/memory.py": "", "/pyproject.toml": PYPROJECT},
    ),
    (
        rules.alive,
        {"cli.py": "app.command('meterhouse.cli.serve:serve')", "cli/serve.py": "", "/pyproject.toml": PYPROJECT},
    ),
    (rules.changelog, {"/CHANGELOG.md": "# Changes\n\n## Unreleased\n"}),
    (rules.locked, {"/requirements/run.lock": "a==1 \\\n", "/requirements/dev.lock": "a==1 \\\nb==1\n"}),
]

RULES = sorted({rule for rule, _ in BROKEN}, key=lambda rule: rule.__name__)


def _tree(sample: dict[str, str]) -> Tree:
    files = {path[1:] if path[0] == "/" else f"src/meterhouse/{path}": text for path, text in sample.items()}
    return Tree(files, executable=frozenset(path for path in files if "without-shebang" in path))


def _name(value: Rule | dict[str, str]) -> str | None:
    return None if isinstance(value, dict) else value.__name__


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    """Nothing in this tree breaks a rule."""
    broken = list(rule(this_tree()))
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


@pytest.mark.parametrize(("rule", "sample"), BROKEN, ids=_name)
def test_a_rule_notices_what_breaks_it(rule: Rule, sample: dict[str, str]) -> None:
    """A rule that would let a bad tree pass holds nothing."""
    assert list(rule(_tree(sample)))


@pytest.mark.parametrize(("rule", "sample"), FINE, ids=_name)
def test_a_rule_lets_pass_what_is_fine(rule: Rule, sample: dict[str, str]) -> None:
    """A rule that objects to good code would be switched off."""
    assert not list(rule(_tree(sample)))


def test_every_rule_is_tried() -> None:
    """A rule without a bad tree to notice is not known to work."""
    written = {rule for name, rule in vars(rules).items() if callable(rule) and not name.startswith("_")}
    assert {rule for rule in written if getattr(rule, "__module__", "") == rules.__name__} == set(RULES)
