"""The package's public face: what ``from meterhouse import …`` offers."""

import ast
import inspect
import subprocess
import sys

import pytest

import meterhouse


def test_the_names_are_sorted_and_complete() -> None:
    """A reader finds a name by its letter, and each lives in exactly one place."""
    homes = list(meterhouse._HOMES)
    assert homes == sorted(homes)
    assert meterhouse.__all__ == sorted(meterhouse.__all__)
    assert meterhouse.__all__ == sorted(["__version__", *homes])


def test_type_checkers_see_the_same_names() -> None:
    """What a type checker reads under TYPE_CHECKING is what __getattr__ gives, from the same modules."""
    tree = ast.parse(inspect.getsource(meterhouse))
    seen = {
        alias.asname or alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == meterhouse._HOMES


@pytest.mark.parametrize("name", meterhouse.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    """Each name that is offered is there, and ``dir`` shows it."""
    assert getattr(meterhouse, name) is not None
    assert name in dir(meterhouse)


def test_a_name_that_is_not_there_is_refused_by_name() -> None:
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="'meterhouse' has no attribute 'MeteringCleint'"):
        _ = meterhouse.MeteringCleint


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    """Whoever wants one name pays for that name."""
    script = "import sys, meterhouse; print([name for name in sys.modules if name.startswith('meterhouse.')])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
