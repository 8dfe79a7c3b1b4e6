"""What the rules look at: a tree of files, read as text, its Python parsed and never imported."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tests.tidy.tables import NOT_OURS

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "src/meterhouse/"


@dataclass(frozen=True)
class Module:
    """One Python file: what it imports, and what it uses of that."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The file, parsed."""
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of it."""
        return list(ast.walk(self.tree))

    @cached_property
    def place(self) -> str:
        """Its path, within the package where it is of it: ``core/usage.py``."""
        return self.path.removeprefix(PACKAGE)

    @cached_property
    def name(self) -> str:
        """The name it is imported by: ``meterhouse.core.usage``."""
        words = self.path.removeprefix("src/").removesuffix(".py").split("/")
        return ".".join(words[:-1] if words[-1] == "__init__" else words)

    @cached_property
    def folder(self) -> str:
        """The folder of the package it lies in, or its own name where it lies in none."""
        return self.place.split("/")[0].removesuffix(".py")

    @cached_property
    def imports(self) -> list[tuple[str, bool]]:
        """All that it imports, wherever in the file: the full name, and whether that happens as the module loads."""
        loading = {id(node) for statement in self.tree.body for node in _at_loading(statement)}
        return [(name, id(node) in loading) for node in self.nodes for name in _imported(node)]

    @cached_property
    def uses(self) -> set[str]:
        """Every dotted name of an import that the code refers to: ``datetime.datetime.now``."""
        spelled = {bound: name for node in self.nodes for bound, name in _bound(node)}
        return {name for node in self.nodes if (name := _dotted(node, spelled)) is not None}


def _at_loading(statement: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs as a module loads: not the bodies of functions, nor what only type checkers see."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
        return
    yield statement
    for child in ast.iter_child_nodes(statement):
        yield from _at_loading(child)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _bound(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names that an import binds, each with what it stands for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            first = alias.name.split(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (first, first)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _dotted(node: ast.AST, spelled: Mapping[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return spelled.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value, spelled)) is not None:
        return f"{owner}.{node.attr}"
    return None


@dataclass(frozen=True)
class Tree:
    """The text of files by their path, and which of them may be executed."""

    files: Mapping[str, str]
    executable: frozenset[str] = frozenset()

    @cached_property
    def python(self) -> list[Module]:
        """All Python files."""
        return [Module(path, text) for path, text in self.files.items() if path.endswith(".py")]

    @cached_property
    def package(self) -> dict[str, Module]:
        """The modules of the package by the name they are imported by."""
        return {module.name: module for module in self.python if module.path.startswith(PACKAGE)}

    @cached_property
    def ours(self) -> dict[str, str]:
        """The files whose words are ours."""
        return {path: text for path, text in self.files.items() if not NOT_OURS.search(path)}

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        """What pyproject.toml says."""
        return tomllib.loads(self.files.get("pyproject.toml", ""))

    def module_of(self, imported: str) -> Module | None:
        """Return the module of ours that an imported name is, or is in."""
        return self.package.get(imported) or self.package.get(imported.rpartition(".")[0])


@cache
def this_tree() -> Tree:
    """Read what git knows, and what it does not know yet but would: a rule is broken before the commit too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [path for path in listed.stdout.decode().split("\0") if (ROOT / path).is_file()]
    texts = {path: (ROOT / path).read_bytes() for path in paths}
    return Tree(
        {path: text.decode() for path, text in texts.items() if b"\0" not in text},
        frozenset(path for path in paths if (ROOT / path).stat().st_mode & 0o100),
    )
