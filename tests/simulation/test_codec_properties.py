"""Laws of the codec: its two paths agree, what it read it can write, and no bytes bring it down."""

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct, structs

from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.shapes import (
    BatchMeterUsageRequest,
    MeterUsageRequest,
    RegisterUsageRequest,
    ResolveCustomerRequest,
    Shape,
)
from meterhouse.core.usage import micros_of
from meterhouse.wire.codec import decode, encode
from tests.unit.json_bodies import BODIES

SHAPES: Final[dict[str, type[Shape]]] = {
    "BatchMeterUsage": BatchMeterUsageRequest,
    "MeterUsage": MeterUsageRequest,
    "RegisterUsage": RegisterUsageRequest,
    "ResolveCustomer": ResolveCustomerRequest,
}
NOTHING_HIDDEN: Final = frozenset({"NoSuchMember"})
"""Hides nothing, but sends every body down the careful path."""

operations: Final = st.sampled_from(sorted(SHAPES))


def meaning_of(said: object, name: str = "") -> object:
    """A request as plain values; two timestamps are equal where they name one instant."""
    match said:
        case Raw():
            return micros_of(said)
        case int() if name == "timestamp":
            return micros_of(said)
        case Struct():
            fields = structs.asdict(said)
            return type(said).__name__, {field: meaning_of(value, field) for field, value in fields.items()}
        case list():
            return [meaning_of(member) for member in said]
        case _:
            return said


def result_of(body: bytes, shape: type[Shape], hidden: frozenset[str] = frozenset()) -> Any:
    """What becomes of a body: the request's meaning, or the fault's name and message."""
    try:
        return meaning_of(decode(body, shape, hidden))
    except Fault as fault:
        return fault.code, fault.message


@pytest.mark.parametrize("operation", SHAPES)
@settings(max_examples=200)
@given(st.data())
def test_the_fast_and_the_careful_path_agree(operation: str, data: st.DataObject) -> None:
    """Whatever the body, both take it for the same request, or both refuse it with the same fault."""
    body = data.draw(BODIES[operation]).encode()
    assert result_of(body, SHAPES[operation]) == result_of(body, SHAPES[operation], NOTHING_HIDDEN)


@given(st.data())
def test_what_was_read_can_be_written_and_read_again(data: st.DataObject) -> None:
    """A request goes out as it came in, by value."""
    operation = data.draw(operations)
    try:
        said = decode(data.draw(BODIES[operation]).encode(), SHAPES[operation])
    except Fault:
        return
    assert meaning_of(decode(encode(said), SHAPES[operation])) == meaning_of(said)


@given(st.data())
def test_broken_bytes_are_refused_and_nothing_else(data: st.DataObject) -> None:
    """A body with a few bytes changed is read or refused; where Python finds no JSON in it, it is refused as none."""
    operation = data.draw(operations)
    body = bytearray(data.draw(BODIES[operation]).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        body[place : place + data.draw(st.integers(0, 1))] = data.draw(st.sampled_from(MUTATIONS))
    result = result_of(bytes(body), SHAPES[operation])
    assert result == result_of(bytes(body), SHAPES[operation], NOTHING_HIDDEN)
    if not is_object(bytes(body)):
        assert result[0] is FaultCode.SERIALIZATION


MUTATIONS: Final = (
    b"",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"0",
    b".",
    b"-",
    b"e",
    b"\x00",
    b"\n",
    b"\xff",
)


def is_object(body: bytes) -> bool:
    """Whether Python's own parser, in its strictest mood, finds an object in a body."""
    try:
        return isinstance(json.loads(body.decode(), parse_constant=int, parse_int=str), dict)
    except ValueError:
        return False


@given(st.binary(max_size=200), operations)
def test_arbitrary_bytes_are_refused_as_no_object(body: bytes, operation: str) -> None:
    """Noise is a fault, never a surprise."""
    if not is_object(body or b"{}"):
        assert result_of(body, SHAPES[operation])[0] is FaultCode.SERIALIZATION


def depth_of(tree: object) -> int:
    """How deep a parsed body nests, counted the plain way."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    return 1 + max(map(depth_of, tree), default=0) if isinstance(tree, list) else 0


nested: Final = st.recursive(
    st.sampled_from(("[", "]", '"', "\\", '\\"]', "{}", "a")) | st.integers(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.sampled_from('["{\\'), children, max_size=4),
    max_leaves=40,
)


@given(nested, st.integers(0, 70), st.integers(0, 70), st.booleans())
def test_depth_is_counted_as_a_parser_counts_it(tree: Any, lists: int, objects: int, beside: bool) -> None:
    """A body is refused for its depth exactly where it nests deeper than 64, whatever its strings hold."""
    for _ in range(lists):
        tree = ["]", tree, "["] if beside else [tree]
    for _ in range(objects):
        tree = {'\\"}': tree}
    body = {"UsageRecords": [], "Unknown": tree}
    result = result_of(json.dumps(body).encode(), BatchMeterUsageRequest)
    refused = result[0] is FaultCode.SERIALIZATION
    assert refused == (depth_of(body) > 64)


def test_the_paths_would_be_seen_to_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is of two paths: where one is broken on purpose, it notices."""
    body = b'{"UsageRecords":[{"Timestamp":1795219200.5,"Dimension":"users"}]}'
    assert result_of(body, BatchMeterUsageRequest) == result_of(body, BatchMeterUsageRequest, NOTHING_HIDDEN)
    monkeypatch.setattr("meterhouse.wire.careful.SECOND", 1_000)
    assert result_of(body, BatchMeterUsageRequest) != result_of(body, BatchMeterUsageRequest, NOTHING_HIDDEN)
