"""`docs/outcomes.md` and the code say the same: every outcome, every fault, in the same order, in both directions."""

import ast
import inspect
from types import ModuleType
from typing import Final

import pytest

from meterhouse.core import meaning
from meterhouse.core.decide import batch_meter_usage, meter_usage, register_usage, resolve_customer
from meterhouse.core.outcome import STATUS_OF_OUTCOME, FaultCode, Outcome, Step
from meterhouse.core.profile import OPERATIONS
from meterhouse.wire.faults import status_of
from tests.documents import code, tables_of

TABLES: Final = tables_of("outcomes.md")
OUTCOMES: Final = TABLES["The outcomes of a record"]
SHARED: Final = TABLES["The way of every request"]
FAULTS: Final = TABLES["Every fault and its status"]

RULES: Final[dict[str, tuple[ModuleType, ...]]] = {
    "BatchMeterUsage": (meaning, batch_meter_usage),
    "MeterUsage": (meter_usage,),
    "RegisterUsage": (register_usage,),
    "ResolveCustomer": (resolve_customer,),
}
"""The files of each operation's rule."""

STEPS_OUTSIDE_THE_ENUM: Final = {"token": 17, "dry run": 18}
"""Steps that one operation has alone, with their place behind those of `Step`."""


def place_of(step: str) -> int:
    """A step's place in the order of judgment."""
    name = step.upper().replace(" ", "_")
    return STEPS_OUTSIDE_THE_ENUM[step] if step in STEPS_OUTSIDE_THE_ENUM else Step[name].value


def test_the_outcomes_are_the_documented_ones_in_order() -> None:
    """Each outcome has its row, with the status that the wire has for it, highest precedence first."""
    assert [(row[0], code(row[1])) for row in OUTCOMES] == [
        (outcome.value, STATUS_OF_OUTCOME[outcome]) for outcome in Outcome
    ]


def test_every_fault_has_its_row_and_status_in_order() -> None:
    """The list of all faults is `FaultCode`, in its order, with the status the wire answers."""
    assert [(code(row[0]), row[1]) for row in FAULTS] == [(str(fault), str(status_of(fault))) for fault in FaultCode]


def test_the_list_of_all_faults_says_whose_they_are() -> None:
    """Who raises a fault is what the tables above the list say."""
    whose: dict[str, list[str]] = {code(row[1]): ["every request"] for row in SHARED}
    for operation in RULES:
        for _step, fault, _when in TABLES[operation]:
            whose.setdefault(code(fault), [])
            if operation not in whose[code(fault)]:
                whose[code(fault)].append(operation)
    assert {code(row[0]): row[2].split(", ") for row in FAULTS} == whose


def test_the_way_of_every_request_is_in_the_order_of_the_faults() -> None:
    """What every request passes comes in the order of `FaultCode`, up to the faults that are injected."""
    order = list(FaultCode)
    places = [order.index(FaultCode(code(row[1]))) for row in SHARED if row[0] != "injected faults"]
    assert places == sorted(set(places))
    assert [row[0] for row in SHARED][-3:] == ["injected faults"] * 3


@pytest.mark.parametrize("operation", RULES)
def test_the_steps_of_an_operation_are_in_the_order_of_judgment(operation: str) -> None:
    """The document and `Step` order the steps alike, and name each fault of a step once."""
    rows = [(place_of(row[0]), code(row[1])) for row in TABLES[operation]]
    assert [place for place, _ in rows] == sorted(place for place, _ in rows)
    assert len(set(rows)) == len(rows)


def test_every_operation_is_documented() -> None:
    """No operation is left out, none is made up."""
    assert set(RULES) == OPERATIONS
    assert set(RULES) <= set(TABLES)


@pytest.mark.parametrize("operation", RULES)
def test_an_operation_raises_what_is_documented(operation: str) -> None:
    """The faults that a rule's files name are those of its table: none more, none less."""
    documented = {code(row[1]) for row in TABLES[operation]}
    assert documented == {str(fault) for rules in RULES[operation] for fault in faults_named_by(rules)}


@pytest.mark.parametrize("operation", ["BatchMeterUsage"])
def test_a_rule_raises_its_faults_in_the_documented_steps(operation: str) -> None:
    """Where a rule pairs a step with a fault, the table has that pair, and the other way round."""
    documented = {(place_of(row[0]), code(row[1])) for row in TABLES[operation]}
    assert documented == {pair for rules in RULES[operation] for pair in pairs_named_by(rules)}


def faults_named_by(rules: ModuleType) -> set[FaultCode]:
    """The faults that a module names, and that of `check_region` where it is called without another."""
    named = set()
    for node in ast.walk(ast.parse(inspect.getsource(rules))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "FaultCode":
            named.add(FaultCode[node.attr])
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "check_region"
            and not node.args
        ):
            named.add(FaultCode.DISABLED_API)
    return named


def pairs_named_by(rules: ModuleType) -> set[tuple[int, str]]:
    """The (step, fault) pairs that stand side by side in a module's calls."""
    pairs = set()
    for node in ast.walk(ast.parse(inspect.getsource(rules))):
        if isinstance(node, ast.Call):
            named = [argument.attr for argument in node.args if isinstance(argument, ast.Attribute)]
            steps = [Step[name].value for name in named if name in Step.__members__]
            faults = [str(FaultCode[name]) for name in named if name in FaultCode.__members__]
            pairs |= set(zip(steps, faults, strict=False))
    return pairs
