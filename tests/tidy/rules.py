"""The rules: each a function from a tree to the sentences that say what breaks it; none means kept.

Rules that ruff already has (print, relative imports, blanket ``noqa``) are ruff's.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.tidy.tables import (
    ALLOWED_NAMES,
    ALLOWED_PHRASES,
    ANYTHING,
    ASKS,
    BANNED_CALLS,
    BANNED_IN_TESTS,
    BANNED_WORDS,
    EXTRAS_LIVE_IN,
    IMPORTED_AS,
    INDEX_HOSTS,
    LEFT_BEHIND,
    LONGER,
    LONGEST_MODULE,
    MACHINE_PATHS,
    MAY_ASK,
    MAY_IMPORT,
    NOT_IN_PURE,
    PURE,
    SWITCHED_OFF,
    UNDECLARED,
)
from tests.tidy.tree import PACKAGE, Tree

STRANGERS = "tests/strangers/"


def arrows(tree: Tree) -> Iterator[str]:
    """A folder imports only what the table of arrows says."""
    for module in tree.package.values():
        if module.folder not in MAY_IMPORT:
            yield f"{module.path}: the folder {module.folder!r} has no row in MAY_IMPORT"
            continue
        allowed = MAY_IMPORT[module.folder]
        for name, _ in module.imports:
            target = tree.module_of(name)
            if target is None or target.folder in (module.folder, "__init__") or allowed is ANYTHING:
                continue
            inside = target.name.removeprefix("meterhouse.")
            if not any(inside == reach or inside.startswith(reach + ".") for reach in allowed):
                yield f"{module.path}: {module.folder} may not import {target.name}"


def no_cycles(tree: Tree) -> Iterator[str]:
    """No module imports itself by way of others."""
    edges = {
        name: {target.name for imported, _ in module.imports if (target := tree.module_of(imported)) is not None}
        for name, module in tree.package.items()
        if name != "meterhouse"  # it imports nothing as it loads
    }
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield " -> ".join((*path[path.index(name) :], name))
        elif name not in done:
            for target in sorted(edges.get(name, set()) - {name}):
                yield from walk(target, (*path, name))
            done.add(name)

    for name in sorted(edges):
        yield from walk(name, ())


def purity(tree: Tree) -> Iterator[str]:
    """The pure part imports nothing that reaches outside, and of libraries msgspec alone."""
    for module in tree.package.values():
        if module.place.startswith(PURE):
            for name, _ in module.imports:
                first = name.split(".")[0]
                library = first not in sys.stdlib_module_names and first not in ("meterhouse", "msgspec")
                if library or first in NOT_IN_PURE:
                    yield f"{module.path}: {first} does not belong in the pure part"


def libraries(tree: Tree) -> Iterator[str]:
    """The package imports only libraries that it asks for, and those of its extras only where they are needed."""
    declared = {IMPORTED_AS.get(name, name) for name in _names(_project(tree).get("dependencies", []))}
    for module in tree.package.values():
        for name, loading in module.imports:
            first = name.split(".")[0]
            if first in sys.stdlib_module_names or first == "meterhouse" or first in declared:
                continue
            if first in EXTRAS_LIVE_IN:
                if loading and module.place not in EXTRAS_LIVE_IN[first]:
                    yield f"{module.path}: {first} is of an extra: import it late, or name the module in EXTRAS_LIVE_IN"
            elif not module.place.startswith(UNDECLARED.get(first, ("no module",))):
                yield f"{module.path}: {first} is not among the dependencies in pyproject.toml"


def asking(tree: Tree) -> Iterator[str]:
    """Clock, randomness and environment are read only where the table says: elsewhere they are arguments."""
    for module in tree.package.values():
        allowed = {what for place, reasons in MAY_ASK.items() if module.place.startswith(place) for what in reasons}
        for what, names in ASKS.items():
            if what not in allowed:
                for used in _among(module.uses, names):
                    yield f"{module.path}: asks {what} ({used}); take it as an argument, or name the reason in MAY_ASK"


def calls(tree: Tree) -> Iterator[str]:
    """No call that has a better one here; an example is a program of its own, which may wait by the clock."""
    for module in tree.python:
        if module.path.startswith("examples/"):
            continue
        banned = BANNED_CALLS if module.path.startswith(PACKAGE) else BANNED_IN_TESTS
        for used in _among(module.uses, banned):
            instead = next(banned[name] for name in banned if _among({used}, [name]))
            yield f"{module.path}: {used}; instead: {instead}"


def words(tree: Tree) -> Iterator[str]:
    """No name has a banned word in it."""
    for module in tree.python:
        names = [*module.place.removesuffix(".py").split("/")]
        if module.path.startswith(PACKAGE):
            names += [name for node in module.nodes for name in _named(node)]
        allowed = {name for name, places in ALLOWED_NAMES.items() if module.place.startswith(tuple(places))}
        for name in sorted(set(names) - allowed):
            plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
            for phrase in ALLOWED_PHRASES:
                plain = plain.replace(phrase, "")
            for word in plain.split("_"):
                if word in BANNED_WORDS:
                    yield f"{module.path}: {name} has {word!r} in it; instead: {BANNED_WORDS[word]}"


def left_behind(tree: Tree) -> Iterator[str]:
    """Nothing says that it is unfinished, and no debugger is called."""
    yield from _matching(tree.ours, LEFT_BEHIND)


def machine_paths(tree: Tree) -> Iterator[str]:
    """No file names a folder of somebody's machine, or a package index."""
    yield from _matching(tree.ours, MACHINE_PATHS)
    yield from _matching(tree.files, INDEX_HOSTS)


def explained(tree: Tree) -> Iterator[str]:
    """A check that is switched off for a line has its reason beside it, or in a comment right above."""
    for path, text in tree.ours.items():
        above = ""
        for number, line in enumerate(text.splitlines() if path.endswith(".py") else (), 1):
            found = SWITCHED_OFF.search(line)
            if found is not None and not found["reason"] and not above.lstrip().startswith("#"):
                yield f"{path}:{number}: {found[0].strip()}: the reason is missing (`# …: CODE - why`)"
            above = line


def length(tree: Tree) -> Iterator[str]:
    """No module is so long that nobody knows their way in it."""
    for module in tree.python:
        lines = module.text.count("\n")
        if lines > LONGEST_MODULE and module.path not in LONGER:
            yield f"{module.path}: {lines} lines; divide it, or name the reason in LONGER"


def alive(tree: Tree) -> Iterator[str]:
    """Every module is reached from a command, a public name or an entry point."""
    entries = [_project(tree).get("scripts", {}), *_project(tree).get("entry-points", {}).values()]
    waiting = [
        "meterhouse",
        "meterhouse.__main__",
        *(entry.split(":")[0] for group in entries for entry in group.values()),
    ]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        module = tree.package.get(name)
        if module is None or name in reached:
            continue
        reached.add(name)
        waiting += [".".join(name.split(".")[:-1])]
        waiting += [target.name for imported, _ in module.imports if (target := tree.module_of(imported)) is not None]
        # A table may name a module, or something in one, that is imported when it is asked for.
        waiting += [
            node.value.partition(":")[0]
            for node in module.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    for name in sorted(set(tree.package) - reached):
        yield f"{tree.package[name].path}: nothing imports it"


def executables(tree: Tree) -> Iterator[str]:
    """What begins with #! can be run, and nothing else claims to."""
    for path, text in tree.files.items():
        if text.startswith("#!") != (path in tree.executable):
            yield f"{path}: executable is what begins with #!, and nothing else"


def changelog(tree: Tree) -> Iterator[str]:
    """The list of changes has a place for the next one, above all others."""
    headings = re.findall(r"^## (.*)$", tree.files.get("CHANGELOG.md", ""), re.MULTILINE)
    if headings[:1] != ["Unreleased"]:
        yield "CHANGELOG.md: its first section must be `## Unreleased`"


def dependencies(tree: Tree) -> Iterator[str]:
    """Each dependency has its row, with a reason, in the page on dependencies; and no row is of anything else."""
    page = tree.files.get("docs/decisions/dependencies.md", "")
    rows = re.findall(r"^\| `([^`]+)` \|[^|\n]+\|.*\w.*\|$", page, re.MULTILINE)
    wanted = set(_dependencies(tree))
    for name in sorted(wanted - set(rows)):
        yield f"docs/decisions/dependencies.md: no row for {name}, or no reason in it"
    for name in sorted(set(rows) - wanted):
        yield f"docs/decisions/dependencies.md: {name} is not a dependency"
    for name in sorted({name for name in rows if rows.count(name) > 1}):
        yield f"docs/decisions/dependencies.md: {name} has two rows"


def locked(tree: Tree) -> Iterator[str]:
    """Each dependency is in its lock file, and dev.lock holds all of run.lock, so that one environment fits both."""
    run = _pins(tree, "requirements/run.lock")
    dev = _pins(tree, "requirements/dev.lock")
    for requirements, lock in ((_run_time(tree), run), (_declared(tree), dev)):
        for name in sorted(set(requirements) - {name for name, _ in lock}):
            yield f"requirements: {name} is missing in a lock file; run scripts/lock"
    for name, version in sorted(run - dev):
        yield f"requirements: run.lock has {name} {version}, dev.lock has not; run scripts/lock"
    for path, text in tree.files.items():
        if path.startswith(STRANGERS) and path.endswith(".in"):
            lock = _pins(tree, path.removesuffix(".in") + ".txt")
            for name in sorted(set(_listed(text)) - {name for name, _ in lock}):
                yield f"{path}: {name} is missing in its lock file; run scripts/lock"


def _pins(tree: Tree, path: str) -> set[tuple[str, str]]:
    """Return the names and versions in a lock file."""
    return set(re.findall(r"^([\w.-]+)==(\S+)", tree.files.get(path, ""), re.MULTILINE))


def _run_time(tree: Tree) -> Iterator[str]:
    """Yield what the package and its extras ask for."""
    for requirements in (
        _project(tree).get("dependencies", []),
        *_project(tree).get("optional-dependencies", {}).values(),
    ):
        yield from _names(requirements)


def _declared(tree: Tree) -> Iterator[str]:
    """Yield all that pyproject.toml asks for."""
    yield from _run_time(tree)
    for requirements in tree.pyproject.get("dependency-groups", {}).values():
        yield from _names(requirement for requirement in requirements if isinstance(requirement, str))


def _dependencies(tree: Tree) -> Iterator[str]:
    """Yield all that pyproject.toml and the strangers ask for."""
    yield from _declared(tree)
    for path, text in tree.files.items():
        if path.startswith(STRANGERS) and path.endswith(".in"):
            yield from _listed(text)
        if path == f"{STRANGERS}javascript/package.json":
            yield from re.findall(r'"(@[^"]+)":', text)


def _listed(text: str) -> Iterator[str]:
    yield from _names(line for line in text.splitlines() if line and not line.startswith("#"))


def _project(tree: Tree) -> dict[str, Any]:
    project: dict[str, Any] = tree.pyproject.get("project", {})
    return project


def _names(requirements: Iterable[str]) -> Iterator[str]:
    """Yield the name of each requirement, but for the package's own."""
    for requirement in requirements:
        name = re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower()
        if name != "meterhouse":
            yield name


def _among(used: set[str], names: Iterable[str]) -> list[str]:
    """Return those of the used names that are one of ``names``, or under one; of those under another, none."""
    found = {one for one in used if any(one == name or one.startswith(name + ".") for name in names)}
    return sorted(one for one in found if not any(one.startswith(other + ".") for other in found))


def _named(node: ast.AST) -> Iterator[str]:
    """Yield the names that a piece of code gives."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name
        case ast.arg():
            yield node.arg
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.Attribute(ctx=ast.Store()):
            yield node.attr


def _matching(files: Mapping[str, str], pattern: re.Pattern[str]) -> Iterator[str]:
    for path, text in files.items():
        for found in pattern.finditer(text):
            yield f"{path}:{text.count(chr(10), 0, found.start()) + 1}: {found[0].strip()!r}"
