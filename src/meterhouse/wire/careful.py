"""The careful path of decoding: parses again, walks the shape, and lists every violation in Coral's form.

It knows the whole contract of a body's values (contract §1): which wrong types are a SerializationException, which
breaches a ValidationException, and in which forms real clients write a timestamp. Where nothing is wrong it gives the
same request that the fast path would have given.

When a shape gains a kind of member, `checker_of` needs a row for it; a new member of a known kind needs nothing here.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Context, Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from msgspec import Raw, Struct
from msgspec import inspect as shape_info

from meterhouse.core.moment import SECOND, micros_of_datetime
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.shapes import FIRST_SECOND, INT64_MAX, LAST_SECOND
from meterhouse.core.usage import timestamp_of

SHOWN_CHARACTERS: Final = 64
"""How much of a refused value a message repeats."""

SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of half a character; most bodies have none, so this look is all they cost."""


def refuse(message: str) -> NoReturn:
    """Raises the Fault of a body that is no such object at all."""
    raise Fault(FaultCode.SERIALIZATION, message)


def constraints_of(field_type: shape_info.Type) -> tuple[shape_info.Type, dict[str, Any]]:
    """A member's type without `| None` and metadata, and the constraints that msgspec does not check."""
    extra: dict[str, Any] = {}
    while True:
        if isinstance(field_type, shape_info.UnionType):
            (field_type,) = (one for one in field_type.types if not isinstance(one, shape_info.NoneType))
        elif isinstance(field_type, shape_info.Metadata):
            extra |= field_type.extra or {}
            field_type = field_type.type
        else:
            return field_type, extra


class _Whole(str):
    """The text of a JSON number without fraction and exponent."""

    __slots__ = ()


class _Fractional(str):
    """The text of a JSON number with a fraction or an exponent."""

    __slots__ = ()


def _no_number(text: str) -> NoReturn:
    refuse(f"{text} is no JSON number")


_CAREFUL: Final = json.JSONDecoder(parse_int=_Whole, parse_float=_Fractional, parse_constant=_no_number)


def parse(body: bytes) -> object:
    """The body as a tree of objects, lists, strings, and numbers as texts. Raises Fault for what is no JSON."""
    try:
        tree: object = _CAREFUL.decode(body.decode())
    except json.JSONDecodeError as error:
        refuse(f"the body is not valid JSON: {error.msg} (character {error.pos})")
    if SURROGATE_ESCAPE.search(body) and _has_lone_surrogate(tree):
        refuse("the body has a lone surrogate, which is no character")
    return tree


def _has_lone_surrogate(tree: object) -> bool:
    match tree:
        case str():
            return any("\ud800" <= character <= "\udfff" for character in tree)
        case dict():
            return any(map(_has_lone_surrogate, tree)) or any(map(_has_lone_surrogate, tree.values()))
        case list():
            return any(map(_has_lone_surrogate, tree))
        case _:
            return False


Checker = Callable[[object, str, list[str]], Any]
"""Takes a parsed value (never None), its path, and the violations found so far; gives the member's value."""


def _violation(value: object, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _shown(value: object, *, secret: bool) -> str:
    if secret:
        return ""
    text = f"[{len(value)} members]" if isinstance(value, list) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _wrong_type(path: str, wanted: str, value: object) -> NoReturn:
    where = f"'{path}'" if path else "the body"
    refuse(f"{where} must be {wanted}, not {_NAME_OF_TYPE[type(value)]}")


_NAME_OF_TYPE: Final = {
    str: "a string",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    _Whole: "a number",
    _Fractional: "a number with a fraction or exponent",
    type(None): "null",
}


def _length_checks(low: int | None, high: int | None, value: str | list[Any]) -> list[str]:
    breaches = []
    if low is not None and len(value) < low:
        breaches.append(f"Member must have length greater than or equal to {low}")
    if high is not None and len(value) > high:
        breaches.append(f"Member must have length less than or equal to {high}")
    return breaches


def _text_checker(kind: shape_info.StrType, extra: dict[str, Any]) -> Checker:
    pattern = extra.get("pattern") if extra.get("judged_by") is None else None
    match = re.compile(pattern.removesuffix("$")).fullmatch if pattern else None

    def check(value: object, path: str, violations: list[str]) -> str:
        if type(value) is not str:
            _wrong_type(path, "a string", value)
        breaches = _length_checks(kind.min_length, kind.max_length, value)
        if match is not None and match(value) is None:
            breaches.append(f"Member must satisfy regular expression pattern: {pattern}")
        shown = _shown(value, secret=bool(extra.get("secret")))
        violations.extend(_violation(shown, path, breach) for breach in breaches)
        return value

    return check


def _whole_checker(kind: shape_info.IntType, extra: dict[str, Any]) -> Checker:
    if extra.get("timestamp"):
        return _check_timestamp
    low, high = kind.ge, kind.le

    def check(value: object, path: str, violations: list[str]) -> int:
        if not isinstance(value, _Whole):
            _wrong_type(path, "a whole number", value)
        if len(value) > len(str(INT64_MAX)) + 1 or not -INT64_MAX - 1 <= int(value) <= INT64_MAX:
            refuse(f"'{path}' is a whole number beyond 64 bits")
        number = int(value)
        if low is not None and number < low:
            violations.append(_violation(number, path, f"Member must have value greater than or equal to {low}"))
        if high is not None and number > high:
            violations.append(_violation(number, path, f"Member must have value less than or equal to {high}"))
        return number

    return check


def _check_timestamp(value: object, path: str, _violations: list[str]) -> int | Raw:
    """A timestamp in any of the forms that clients send: epoch seconds as a number, or ISO-8601 text (contract §1)."""
    if isinstance(value, _Whole | _Fractional):
        micros = _micros_of_number(value)
    elif isinstance(value, str):
        micros = _micros_of_iso(value)
    else:
        _wrong_type(path, "a timestamp: a number of seconds since the epoch", value)
    if micros is None:
        refuse(f"'{path}' is no timestamp within the years 1-9999: {_shown(value, secret=False)}")
    return timestamp_of(micros)


def _micros_of_number(text: str) -> int | None:
    try:
        seconds = Decimal(text)
        if seconds and seconds.adjusted() > len(str(LAST_SECOND)):
            return None
        micros = int(seconds.quantize(_MICROSECOND, rounding=ROUND_DOWN, context=_EXACT).scaleb(6, context=_EXACT))
    except InvalidOperation:
        return None
    return micros if FIRST_SECOND * SECOND <= micros < (LAST_SECOND + 1) * SECOND else None


_MICROSECOND: Final = Decimal("0.000001")
_EXACT: Final = Context(prec=40)


_ISO_DATE: Final = re.compile(r"[0-9]{4}(-[0-9]{2}-[0-9]{2}|[0-9]{4})([T ]|\Z)")
"""How an ISO-8601 date begins: Python's own parser would take stranger texts than a client means to send."""


def _micros_of_iso(text: str) -> int | None:
    if not _ISO_DATE.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return micros_of_datetime(moment)


def _flag_checker(value: object, path: str, _violations: list[str]) -> bool:
    if not isinstance(value, bool):
        _wrong_type(path, "true or false", value)
    return value


def _list_checker(kind: shape_info.ListType) -> Checker:
    check_member = checker_of(kind.item_type)

    def check(value: object, path: str, violations: list[str]) -> list[Any]:
        if not isinstance(value, list):
            _wrong_type(path, "a list", value)
        breaches = _length_checks(kind.min_length, kind.max_length, value)
        violations.extend(_violation(_shown(value, secret=False), path, breach) for breach in breaches)
        members = []
        for number, member in enumerate(value, 1):
            member_path = f"{path}.{number}.member"
            if member is None:
                violations.append(_violation(None, member_path, _NOT_NULL))
            else:
                members.append(check_member(member, member_path, violations))
        return members

    return check


_NOT_NULL: Final = "Member must not be null"


def struct_checker(kind: shape_info.StructType) -> Checker:
    """What checks an object, and gives its struct, or None where any violation is known."""
    members = [
        (
            one,
            one.encode_name[0].lower() + one.encode_name[1:],
            checker_of(one.type),
            one.required and bool(constraints_of(one.type)[1].get("empty_is_absent")),
        )
        for one in kind.fields
    ]

    def check(value: object, path: str, violations: list[str]) -> Struct | None:
        if not isinstance(value, dict):
            _wrong_type(path, "an object", value)
        found: dict[str, Any] = {}
        for member, lower, check_member, empty_is_absent in members:
            said = value.get(member.encode_name)
            member_path = f"{path}.{lower}" if path else lower
            if said is not None and not (empty_is_absent and said == ""):
                found[member.name] = check_member(said, member_path, violations)
            elif member.required:
                violations.append(_violation(None, member_path, _NOT_NULL))
        # A struct with a violation is never used: the request is refused before anything reads it.
        return kind.cls(**found) if not violations else None

    return check


def checker_of(field_type: shape_info.Type) -> Checker:
    """What checks a member of a type."""
    kind, extra = constraints_of(field_type)
    match kind:
        case shape_info.StrType():
            return _text_checker(kind, extra)
        case shape_info.IntType():
            return _whole_checker(kind, extra)
        case shape_info.BoolType():
            return _flag_checker
        case shape_info.ListType():
            return _list_checker(kind)
        case shape_info.StructType():
            return struct_checker(kind)
        case _:
            raise TypeError(f"no checker for {kind}")


def without(tree: object, hidden: frozenset[str]) -> object:
    """The parsed body without the members that the server's profile does not know."""
    match tree:
        case dict():
            return {name: without(value, hidden) for name, value in tree.items() if name not in hidden}
        case list():
            return [without(value, hidden) for value in tree]
        case _:
            return tree
