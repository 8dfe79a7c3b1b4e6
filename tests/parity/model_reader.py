"""A second, dumber reader of request bodies, driven by botocore's model of the service and by contract §1 alone.

It knows nothing of our shapes. Slow and plain: whatever it says of a body, our codec must say too.
"""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

Model = dict[str, Any]
Breach = tuple[str, str]
"""The path of a member, and the constraint that it breaches."""

JUDGED_BY_RULES: Final = {"TagKey", "TagValue", "TagList", "UsageAllocations", "LicenseArn"}
"""Shapes whose bounds and patterns are judged by errors of their own (contract §1, §5)."""
EMPTY_IS_ABSENT: Final = {"ProductCode", "CustomerIdentifier"}
"""Shapes whose empty text counts as absent (contract §1)."""
DEEPEST: Final = 64
YEARS: Final = (Decimal(-62135596800), Decimal(253402300800))
"""From the first second of the year 1 to before the first of the year 10000."""


class NoObject(Exception):
    """The body is no JSON object of the shape: SerializationException."""


class Number(NamedTuple):
    """A JSON number as it was written."""

    text: str


class Reading(NamedTuple):
    """What a body says, and what is wrong with it."""

    value: object
    breaches: list[Breach]


def read(body: bytes, shape: str, model: Model) -> Reading:
    """Reads a body by a shape of the model. Raises NoObject."""
    try:
        tree = json.loads(body.decode(), parse_int=Number, parse_float=Number, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise NoObject from None
    _look(tree, 0)
    breaches: list[Breach] = []
    value = _walk(tree, shape, model, "", breaches)
    return Reading(value, breaches)


def _no_constant(text: str) -> None:
    raise ValueError(text)


def _look(tree: object, depth: int) -> None:
    """No nesting beyond the limit, no half characters, anywhere."""
    if isinstance(tree, str):
        try:
            tree.encode()
        except UnicodeEncodeError:
            raise NoObject from None
    elif isinstance(tree, dict | list):
        if depth == DEEPEST:
            raise NoObject
        for name in tree if isinstance(tree, dict) else ():
            _look(name, depth)
        for member in tree.values() if isinstance(tree, dict) else tree:
            _look(member, depth + 1)


def _walk(said: Any, name: str, model: Model, path: str, breaches: list[Breach]) -> object:
    shape = model["shapes"][name]
    match shape["type"]:
        case "structure":
            return _structure(_only(dict, said), shape, model, path, breaches)
        case "list":
            return _list(_only(list, said), name, model, path, breaches)
        case "string":
            text = _only(str, said)
            if name not in JUDGED_BY_RULES:
                _bounds(len(text), shape, "length", path, breaches)
                if "pattern" in shape and not re.fullmatch(shape["pattern"], text):
                    breaches.append((path, f"Member must satisfy regular expression pattern: {shape['pattern']}"))
            return text
        case "integer":
            return _integer(_only(Number, said), shape, path, breaches)
        case "boolean":
            return _only(bool, said)
        case "timestamp":
            return _timestamp(said)
        case other:
            raise AssertionError(f"the model has a type that this reader does not know: {other}")


def _only(wanted: type, said: Any) -> Any:
    if type(said) is not wanted:
        raise NoObject
    return said


def _structure(said: dict[str, Any], shape: Model, model: Model, path: str, breaches: list[Breach]) -> object:
    value = {}
    for member, target in shape["members"].items():
        required = member in shape.get("required", ())
        here = f"{path}.{member[0].lower()}{member[1:]}".lstrip(".")
        given = said.get(member)
        if given is None or (given == "" and required and target["shape"] in EMPTY_IS_ABSENT):
            if required:
                breaches.append((here, "Member must not be null"))
        else:
            value[member] = _walk(given, target["shape"], model, here, breaches)
    return value


def _list(said: list[Any], name: str, model: Model, path: str, breaches: list[Breach]) -> object:
    shape = model["shapes"][name]
    if name not in JUDGED_BY_RULES:
        _bounds(len(said), shape, "length", path, breaches)
    members = []
    for number, member in enumerate(said, 1):
        here = f"{path}.{number}.member"
        if member is None:
            breaches.append((here, "Member must not be null"))
        else:
            members.append(_walk(member, shape["member"]["shape"], model, here, breaches))
    return members


def _bounds(size: int, shape: Model, what: str, path: str, breaches: list[Breach]) -> None:
    if size < shape.get("min", size):
        breaches.append((path, f"Member must have {what} greater than or equal to {shape['min']}"))
    if size > shape.get("max", size):
        breaches.append((path, f"Member must have {what} less than or equal to {shape['max']}"))


def _integer(said: Number, shape: Model, path: str, breaches: list[Breach]) -> int:
    if not re.fullmatch("-?[0-9]{1,30}", said.text) or not -(2**63) <= int(said.text) < 2**63:
        raise NoObject
    _bounds(int(said.text), shape, "value", path, breaches)
    return int(said.text)


def _timestamp(said: object) -> int:
    """Microseconds since the epoch."""
    if isinstance(said, Number):
        try:
            seconds = Decimal(said.text)
        except InvalidOperation:
            raise NoObject from None
        if not YEARS[0] <= seconds < YEARS[1]:
            raise NoObject
        return int(seconds * 1_000_000)
    if isinstance(said, str) and re.match(r"\d{4}-\d{2}-\d{2}", said):
        try:
            moment = datetime.fromisoformat(said)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = Decimal(int(moment.astimezone(UTC).replace(microsecond=0).timestamp()))
            return int(seconds) * 1_000_000 + moment.microsecond
        except (ValueError, OverflowError):
            raise NoObject from None
    raise NoObject
