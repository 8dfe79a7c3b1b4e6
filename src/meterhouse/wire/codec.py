"""Bytes to shapes and back, in two paths that must agree.

The *fast path* is msgspec: it accepts only bodies that are valid, and says nothing useful about the others. Whatever it
does not accept goes to the *careful path*, which parses again, walks the shape, and either lists every violation in
Coral's form (contract §1) or, where the fast path was merely too strict (`null` members, ISO-8601 times, a member given
twice), returns the same request. A property test holds the two against each other.

What msgspec lets pass, and the contract does not: invalid UTF-8, lone surrogates and deep nesting in members that the
operation does not know. So three looks at the whole body come first; each is a C-speed scan that a usual body passes at
once, and none recurses.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec
from msgspec import Raw, Struct
from msgspec import inspect as shape_info

from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.shapes import (
    FIRST_SECOND,
    LAST_SECOND,
    BatchMeterUsageRequest,
    MeterUsageRequest,
    RegisterUsageRequest,
    ResolveCustomerRequest,
    WholeSeconds,
)
from meterhouse.wire.careful import SURROGATE_ESCAPE, Checker, constraints_of, parse, refuse, struct_checker, without

DEPTH_LIMIT: Final = 64
"""Objects and lists within one another; the outermost counts as the first."""
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_PLAIN_SECONDS: Final = re.compile(rb"-?[0-9]{1,11}\.[0-9]{1,6}\Z")

shape_type = TypeVar("shape_type", bound=Struct)


# --- the whole body ---------------------------------------------------------------------------------------------------


def _too_deep(body: bytes) -> bool:
    """Whether the body nests deeper than the limit; brackets within strings do not count."""
    brackets = body.translate(None, _NOT_BRACKETS)
    if len(brackets) <= DEPTH_LIMIT:
        return False
    # Taking away closed pairs level by level shows a shallow body at once, unless a string holds brackets.
    for _ in range(DEPTH_LIMIT // 8):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not brackets:
            return False
    depth = deepest = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest > DEPTH_LIMIT


def _look_at_whole(body: bytes) -> None:
    """Refuses what no body may contain, whichever members it is in."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            refuse(f"the body is not valid UTF-8 (byte {error.start})")
    if _too_deep(body):
        refuse(f"the body is nested deeper than {DEPTH_LIMIT} levels")


# --- the fast path ----------------------------------------------------------------------------------------------------


class _FastPath(NamedTuple):
    decoders: tuple[msgspec.json.Decoder[Any], ...]
    """Tried in turn: whole seconds first, then timestamps of any form."""
    fits: Callable[[Any], bool]
    """Whether the strings of a decoded request fit their patterns."""


_FITTING: Final[dict[str, set[str]]] = {}
"""By pattern, the strings that were found to fit it: most are said again and again."""
_FITTING_LIMIT: Final = 100_000


def _fits_pattern(pattern: str) -> Callable[[str | None], bool]:
    match = re.compile(pattern.removesuffix("$")).fullmatch
    known = _FITTING.setdefault(pattern, set())

    def fits(text: str | None) -> bool:
        if text is None or text in known:
            return True
        if match(text) is None:
            return False
        if len(known) >= _FITTING_LIMIT:
            known.clear()
        known.add(text)
        return True

    return fits


def _screen(struct: shape_info.StructType) -> Callable[[Any], bool]:
    """A check of every pattern that is not judged by a rule of its own, over a decoded struct."""
    checks: list[tuple[str, Callable[[Any], bool]]] = []
    for member in struct.fields:
        kind, extra = constraints_of(member.type)
        if extra.get("judged_by") is None and "pattern" in extra and extra["pattern"] not in _ANY_TEXT:
            checks.append((member.name, _fits_pattern(extra["pattern"])))
        elif isinstance(kind, shape_info.ListType) and isinstance(kind.item_type, shape_info.StructType):
            checks.append((member.name, _screen_list(_screen(kind.item_type))))
    return lambda said: all(fits(getattr(said, name)) for name, fits in checks)


def _screen_list(fits: Callable[[Any], bool]) -> Callable[[list[Any] | None], bool]:
    return lambda members: members is None or all(map(fits, members))


_ANY_TEXT: Final = (r"[\s\S]*",)


def _normalise_times(request: BatchMeterUsageRequest[Any] | MeterUsageRequest[Any]) -> bool:
    """Whether every timestamp of a request decoded with `Raw` ones is a plain number of seconds with decimals."""
    timed = request.usage_records if isinstance(request, BatchMeterUsageRequest) else (request,)
    for said in timed:
        text = bytes(said.timestamp)
        if _PLAIN_SECONDS.match(text) and FIRST_SECOND < int(text.partition(b".")[0]) < LAST_SECOND:
            said.timestamp = Raw(text)
        elif text.isdigit() and int(text) <= LAST_SECOND:
            said.timestamp = int(text)
        else:
            return False
    return True


# --- what callers use -------------------------------------------------------------------------------------------------


class _Form(NamedTuple):
    fast: _FastPath
    careful: Checker


def _form(whole_seconds: Any, any_time: Any | None = None) -> _Form:
    info = cast("shape_info.StructType", shape_info.type_info(whole_seconds))
    forms = (whole_seconds,) if any_time is None else (whole_seconds, any_time)
    fast = _FastPath(tuple(msgspec.json.Decoder(form) for form in forms), _screen(info))
    return _Form(fast, struct_checker(info))


_FORMS: Final[dict[type, _Form]] = {
    BatchMeterUsageRequest: _form(BatchMeterUsageRequest[WholeSeconds], BatchMeterUsageRequest[Raw]),
    MeterUsageRequest: _form(MeterUsageRequest[WholeSeconds], MeterUsageRequest[Raw]),
    RegisterUsageRequest: _form(RegisterUsageRequest),
    ResolveCustomerRequest: _form(ResolveCustomerRequest),
}


def decode(body: bytes, shape: type[shape_type], hidden: frozenset[str] = frozenset()) -> shape_type:
    """The request that a body says, with its timestamps as `shapes` describes them.

    `hidden` names members (wire names) that are to be ignored like unknown ones. Raises Fault: SERIALIZATION for what
    is no such object at all, VALIDATION with every constraint that is breached.
    """
    body = body or b"{}"
    _look_at_whole(body)
    form = _FORMS[shape]
    if not hidden and not SURROGATE_ESCAPE.search(body):
        said = _decode_fast(body, form.fast)
        if said is not None:
            return cast("shape_type", said)
    violations: list[str] = []
    request = form.careful(without(parse(body), hidden), "", violations)
    if violations:
        count = f"{len(violations)} validation error{'s' if len(violations) > 1 else ''} detected: "
        raise Fault(FaultCode.VALIDATION, count + "; ".join(violations))
    return cast("shape_type", request)


def _decode_fast(body: bytes, fast: _FastPath) -> Struct | None:
    for number, decoder in enumerate(fast.decoders):
        try:
            said: Struct = decoder.decode(body)
        except msgspec.ValidationError:
            continue
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if number and not _normalise_times(said):  # type: ignore[arg-type]  # only timed shapes have a second decoder
            return None
        return said if fast.fits(said) else None
    return None


_ENCODER: Final = msgspec.json.Encoder()


def encode(answer: Struct, hidden: frozenset[str] = frozenset()) -> bytes:
    """The body of an answer (or, for a client, of a request), without the members that a profile hides."""
    if not hidden:
        return _ENCODER.encode(answer)
    return _ENCODER.encode(without(msgspec.json.decode(_ENCODER.encode(answer)), hidden))
