"""Bytes to shapes and back, in two paths that must agree.

The *fast path* is msgspec: it accepts only bodies that are valid, and says nothing useful about the others. Whatever it
does not accept goes to the *careful path*, which parses again, walks the shape, and either lists every violation in
Coral's form (contract §1) or, where the fast path was merely too strict (`null` members, ISO-8601 times, a member given
twice), returns the same request. A property test holds the two against each other.

What msgspec lets pass, and the contract does not: invalid UTF-8, lone surrogates and deep nesting in members that the
operation does not know. So three looks at the whole body come first; each is a C-speed scan that a usual body passes at
once. None recurses, none takes more than time linear in the body, and none may be fooled: behind them both parsers rely
on a body that is no deeper than the limit, whatever its strings hold.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import accumulate, chain
from operator import attrgetter
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
MESSAGE_CHARACTERS: Final = 1_048_576
"""How much of a list of violations is told. A mebibyte of body can hold some 600,000 of them, and their list would be a
hundred mebibytes: no answer, and no line of a log, may outgrow the largest request."""
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NEITHER_BRACKETS_NOR_QUOTES: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_PLAIN_SECONDS: Final = re.compile(rb"-?[0-9]{1,11}\.[0-9]{1,6}\Z")
_LAST_SECOND_DIGITS: Final = len(str(LAST_SECOND))

shape_type = TypeVar("shape_type", bound=Struct)


# --- the whole body ---------------------------------------------------------------------------------------------------


def _too_deep(body: bytes) -> bool:
    """Whether the body nests deeper than the limit, or never closes; brackets within strings do not count."""
    # Most bodies hold one list, which two searches tell in less time than a count.
    lists = 1 if body.find(b"[", body.find(b"[") + 1) < 0 else body.count(b"[")
    if lists + body.count(b"{") <= DEPTH_LIMIT:
        return False
    # Without escaped quotes, quotes open and close in turn: every second part is within a string. Two quotes with
    # nothing between them change nothing about that; most strings come to that, and few parts are left without them.
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    marks = plain.translate(_ONE_KIND, _NEITHER_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    brackets = b"".join(marks.split(b'"')[::2])
    # Each round takes away the innermost pairs, which is one level exactly.
    for _ in range(DEPTH_LIMIT):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _look_at_whole(body: bytes) -> None:
    """Refuses what no body may contain, whichever members it is in."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            refuse(f"the body is not valid UTF-8 (byte {error.start})")
    if _too_deep(body):
        refuse(f"the body is nested deeper than {DEPTH_LIMIT} levels, or its brackets do not match")


# --- the fast path ----------------------------------------------------------------------------------------------------


Screen = Callable[[Sequence[Any]], bool]
"""Whether the strings of some structs of one kind fit their patterns: all structs at once, since a call costs more than
a look."""


class _FastPath(NamedTuple):
    decoders: tuple[msgspec.json.Decoder[Any], ...]
    """Tried in turn: whole seconds first, then timestamps of any form."""
    fits: Screen


_FITTING: Final[dict[str, set[str]]] = {}
"""By pattern, the strings that were found to fit it: most are said again and again."""
_FITTING_LIMIT: Final = 100_000
_ANY_TEXT: Final = r"[\s\S]*"
_SOME_TEXT: Final = r"[\s\S]+"


def _screen(struct: shape_info.StructType) -> Screen:
    """A check of every pattern that is not judged by a rule of its own."""
    checks: list[Screen] = []
    for member in struct.fields:
        kind, extra = constraints_of(member.type)
        if extra.get("empty_is_absent") and member.required:
            checks.append(_given(member.name))
        if extra.get("judged_by") is None and "pattern" in extra and not _fits_any(kind, extra["pattern"]):
            checks.append(_fits_pattern(member.name, kind, extra))
        elif isinstance(kind, shape_info.ListType) and isinstance(kind.item_type, shape_info.StructType):
            checks.append(_fits_within(member.name, _screen(kind.item_type)))
    return lambda structs: all(fits(structs) for fits in checks)


def _fits_any(kind: shape_info.Type, pattern: str) -> bool:
    """Whether every string fits that has the length which the struct asks for already."""
    return pattern == _ANY_TEXT or (pattern == _SOME_TEXT and bool(getattr(kind, "min_length", 0)))


def _given(name: str) -> Screen:
    get = attrgetter(name)
    return lambda structs: all(map(get, structs))


def _fits_within(name: str, screen: Screen) -> Screen:
    get = attrgetter(name)
    return lambda structs: screen(list(chain.from_iterable(filter(None, map(get, structs)))))


def _fits_pattern(name: str, kind: shape_info.Type, extra: dict[str, Any]) -> Screen:
    get = attrgetter(name)
    match = re.compile(extra["pattern"].removesuffix("$")).fullmatch
    # What is secret must not be kept, and what has no bound is not worth its memory.
    keeps = not extra.get("secret") and isinstance(kind, shape_info.StrType) and kind.max_length is not None
    known = _FITTING.setdefault(extra["pattern"], set())

    def fits(structs: Sequence[Any]) -> bool:
        texts = set(map(get, structs))
        texts.discard(None)
        if texts <= known:
            return True
        if not all(map(match, texts)):
            return False
        if keeps:
            if len(known) >= _FITTING_LIMIT:
                known.clear()
            known.update(texts)
        return True

    return fits


def _normalise_times(request: BatchMeterUsageRequest[Any] | MeterUsageRequest[Any]) -> bool:
    """Whether every timestamp of a request decoded with `Raw` ones is a plain number of seconds with decimals."""
    timed = request.usage_records if isinstance(request, BatchMeterUsageRequest) else (request,)
    for said in timed:
        text = bytes(said.timestamp)
        if _PLAIN_SECONDS.match(text) and FIRST_SECOND < int(text.partition(b".")[0]) < LAST_SECOND:
            said.timestamp = Raw(text)
        elif text.isdigit() and len(text) <= _LAST_SECOND_DIGITS and int(text) <= LAST_SECOND:
            said.timestamp = int(text)
        else:
            return False
    return True


# --- what callers use -------------------------------------------------------------------------------------------------


class _Form(NamedTuple):
    fast: _FastPath
    careful: Checker


def _form(whole_seconds: Any, any_time: Any | None = None) -> _Form:
    struct = cast("shape_info.StructType", shape_info.type_info(whole_seconds))
    forms = (whole_seconds,) if any_time is None else (whole_seconds, any_time)
    fast = _FastPath(tuple(msgspec.json.Decoder(form) for form in forms), _screen(struct))
    return _Form(fast, struct_checker(struct))


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
    if not hidden and (b"\\" not in body or not SURROGATE_ESCAPE.search(body)):
        said = _decode_fast(body, form.fast)
        if said is not None:
            return cast("shape_type", said)
    violations: list[str] = []
    tree = parse(body)
    request = form.careful(without(tree, hidden) if hidden else tree, "", violations)
    if violations:
        raise Fault(FaultCode.VALIDATION, _listed(violations))
    return cast("shape_type", request)


def _listed(violations: Sequence[str]) -> str:
    """All violations in one message, in Coral's form; of a body made of nothing else, as many as there is room for."""
    lengths = accumulate(map(len, violations))
    told = [violation for violation, so_far in zip(violations, lengths, strict=True) if so_far <= MESSAGE_CHARACTERS]
    rest = len(violations) - len(told)
    count = f"{len(violations)} validation error{'s' if len(violations) > 1 else ''} detected: "
    return count + "; ".join(told) + (f"; and {rest} more" if rest else "")


def _decode_fast(body: bytes, fast: _FastPath) -> Struct | None:
    for number, decoder in enumerate(fast.decoders):
        try:
            said: Struct = decoder.decode(body)
        except msgspec.ValidationError:
            continue
        except msgspec.DecodeError:
            return None
        if number and not _normalise_times(said):  # type: ignore[arg-type]  # only timed shapes have a second decoder
            return None
        return said if fast.fits((said,)) else None
    return None


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_EXACT_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
"""For an answer on its way out: a timestamp with decimals must not pass through binary floating point."""


def encode(answer: Struct, hidden: frozenset[str] = frozenset()) -> bytes:
    """The body of an answer (or, for a client, of a request), without the members that a profile hides."""
    if not hidden:
        return _ENCODER.encode(answer)
    return _ENCODER.encode(without(_EXACT_DECODER.decode(_ENCODER.encode(answer)), hidden))
