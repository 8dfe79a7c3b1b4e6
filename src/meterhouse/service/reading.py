"""From what was written to rows; and from whatever is wrong with it to one sentence that says where and why.

The library that checks the values says of an error its path and its kind. A person needs more: in a file the line, the
table and which of its kind it is; the value, unless it is secret; and what would be right. So an error is looked up
twice by its path: in what was written, for the value, and in the form that it should have had, for what is wanted.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from difflib import get_close_matches
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct, inspect

from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import SECRET_MEMBERS, CatalogFile

Path = tuple[str | int, ...]
"""Where something stands: names of members and, in lists, indexes from 0."""

row_type = TypeVar("row_type", bound=Struct)

_SHOWN_LENGTH: Final = 60


def field_of(path: Path) -> str:
    """A path as programs write it: `dimensions[3].key`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def read_body(body: bytes, form: type[row_type]) -> row_type:
    """The row in a JSON body (none at all counts as `{}`). Raises Refused."""
    body = body or b"{}"
    try:
        try:
            return msgspec.json.decode(body, type=form)
        except msgspec.ValidationError as error:
            # The checking stopped at the first error; what follows it may not even be JSON, which json.loads finds.
            path, reason = _explained(str(error), json.loads(body), form)
    except (msgspec.DecodeError, ValueError) as error:
        raise Refused(RefusalKind.MALFORMED, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise Refused(RefusalKind.MALFORMED, "the body is nested too deeply") from None
    raise Refused(RefusalKind.INVALID, reason, field_of(path) or None)


def read_parameter(text: str, form: Any, name: str) -> str:
    """The text of a parameter that has a form (`forms.AccountId`); `name` is the field at fault. Raises Refused."""
    try:
        return str(msgspec.convert(text, form))
    except msgspec.ValidationError:
        reason = f"{_value_at(text, ())} is {_wanted([inspect.type_info(form)])}"
        raise Refused(RefusalKind.INVALID, reason, name) from None


def read_query(parameters: Sequence[tuple[str, str]], form: type[row_type]) -> row_type:
    """The row in the parameters of a query, each a name and a text with nothing escaped any more. Raises Refused."""
    written: dict[str, object] = {}
    for name, text in parameters:
        if name in written:
            raise Refused(RefusalKind.INVALID, "given more than once", name)
        written[name] = _parameter(text, _forms_at(form, (name,)))
    try:
        return msgspec.convert(written, form)
    except msgspec.ValidationError as error:
        path, reason = _explained(str(error), written, form)
    raise Refused(RefusalKind.INVALID, reason, field_of(path) or None)


def _parameter(text: str, forms: Sequence[inspect.Type]) -> object:
    """What a text means where another kind of value is wanted; what means nothing is left to be refused."""
    wanted = {type(alternative) for form in forms for alternative in _alternatives(form)}
    if inspect.IntType in wanted and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if inspect.BoolType in wanted:
        return {"true": True, "false": False}.get(text, text)
    if inspect.DateTimeType in wanted:
        # An offset's + that nobody escaped came as a space, as in any form's field.
        return _SPACED_OFFSET.sub(r"+\1", text)
    return text


_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_SPACED_OFFSET: Final = re.compile(r" (\d\d:\d\d)$")


class WrittenCatalog(NamedTuple):
    """A catalog file that was read: its rows, and enough of its text to say where something stands."""

    name: str
    text: str
    rows: CatalogFile

    def refused(self, error: Refused, path: Path) -> Refused:
        """What a rule refused in the row at a path, said of the file."""
        whole = (*path, *_steps_of(error.field or ""))
        return _refused(self.name, self.text, whole, error.reason, error.kind)


def read_catalog(text: str | bytes, name: str) -> WrittenCatalog:
    """The rows of a catalog file; `name` is what messages call it. Raises Refused."""
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise Refused(RefusalKind.INVALID, f"not UTF-8: {error.reason} at byte {error.start}", place=name) from None
    try:
        document = tomllib.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise Refused(RefusalKind.INVALID, f"not TOML: {error}", place=name) from None
    except RecursionError:
        raise Refused(RefusalKind.INVALID, "not a catalog: nested too deeply", place=name) from None
    try:
        rows = msgspec.convert(document, CatalogFile, builtin_types=(datetime, date, time))
    except msgspec.ValidationError as error:
        path, reason = _explained(str(error), document, CatalogFile)
        raise _refused(name, text, path, reason, RefusalKind.INVALID) from None
    return WrittenCatalog(name, text, rows)


# Places in a file


def _refused(name: str, text: str, path: Path, reason: str, kind: RefusalKind) -> Refused:
    line = line_of(text, path)
    where = [name] if line is None else [name, f"line {line}"]
    return Refused(kind, reason, field_of(path) or None, ", ".join([*where, *_tables_of(path)]))


def _tables_of(path: Path) -> Sequence[str]:
    """A path as people read it: `[[products]] no. 2`, `[[products.dimensions]] no. 4`, `key`."""
    lists, tables = _tables()
    said: list[str] = []
    dotted = ""
    for step, follower in zip_longest(path, path[1:]):
        if isinstance(step, int):
            said.append(f"[[{dotted}]] no. {step + 1}" if dotted in lists else f"{said.pop()} no. {step + 1}")
            continue
        dotted = f"{dotted}.{step}".removeprefix(".")
        if dotted in tables and follower is not None:
            if said and said[-1].startswith("[") and said[-1].endswith("]"):
                said.pop()  # [open.workload] says [open] too
            said.append(f"[{dotted}]")
        elif dotted not in lists or follower is None:
            said.append(_cut(step))
    return said


def line_of(text: str, path: Path) -> int | None:
    """The line (from 1) of a member, else of its table's head; None where the file is written in another style.

    Lines are looked at one by one, so a text over several lines that looks like a table's head misleads it. It is help
    for the eye: the table and its number say exactly what is meant.
    """
    lines = text.split("\n")
    start, head_line, dotted = 0, None, ""
    for step, follower in zip_longest(path, path[1:]):
        if isinstance(step, int):
            continue
        dotted = f"{dotted}.{step}".removeprefix(".")
        head = re.compile(rf"\s*\[{{1,2}}\s*{re.escape(dotted)}\s*\]")
        heads = [number for number in range(start, len(lines)) if head.match(lines[number])]
        nth = follower if isinstance(follower, int) else 0
        if len(heads) > nth:
            start = head_line = heads[nth] + 1
        elif (key_line := _line_of_key(lines, start, step)) is not None:
            return key_line
    return head_line


def _line_of_key(lines: Sequence[str], start: int, key: str) -> int | None:
    """The line (from 1) that gives a key its value, before the next table's head."""
    assignment = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    for number in range(start, len(lines)):
        if assignment.match(lines[number]):
            return number + 1
        if lines[number].lstrip().startswith("["):
            return None
    return None


@lru_cache(maxsize=1)
def _tables() -> tuple[frozenset[str], frozenset[str]]:
    """The dotted names of the file's lists of tables, and of its single tables."""
    lists: set[str] = set()
    tables: set[str] = set()

    def walk(form: inspect.Type, dotted: str) -> None:
        for alternative in _alternatives(form):
            if isinstance(alternative, inspect.StructType):
                (lists if dotted in lists else tables).add(dotted)
                for field in alternative.fields:
                    walk(field.type, f"{dotted}.{field.encode_name}".removeprefix("."))
            elif isinstance(alternative, inspect.ListType) and isinstance(alternative.item_type, inspect.StructType):
                lists.add(dotted)
                walk(alternative.item_type, dotted)

    walk(inspect.type_info(CatalogFile), "")
    return frozenset(lists), frozenset(tables)


# Reasons

_AT: Final = re.compile(r"(?P<problem>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`", re.DOTALL)
_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def _explained(error: str, written: object, form: type[Struct]) -> tuple[Path, str]:
    """Where an error is, and one reason; `error` is the checking library's text."""
    matched = _AT.fullmatch(error)
    assert matched is not None, "the form of a message is a text and perhaps a path"
    path = _steps_of(matched["path"] or "")
    if missing := _MISSING.fullmatch(matched["problem"]):
        return (*path, missing["name"]), "missing"
    if unknown := _UNKNOWN.fullmatch(matched["problem"]):
        name = unknown["name"]
        return (*path, name), f"unknown; {_known(name, _forms_at(form, path))}"
    forms = _forms_at(form, path)
    value = _value_at(written, path)
    if form is CatalogFile and value.startswith('"') and _is_time(forms):
        return path, f"{value} is a text: a time is written without quotes, such as 2026-01-01T00:00:00Z"
    return path, f"{value} is {_wanted(forms)}"


def _is_time(forms: Sequence[inspect.Type]) -> bool:
    return any(isinstance(each, inspect.DateTimeType) for form in forms for each in _alternatives(form))


def _steps_of(field: str) -> Path:
    return tuple(int(index) if index else name for index, name in _STEP.findall(field))


def _known(name: str, forms: Sequence[inspect.Type]) -> str:
    names = [
        field.encode_name
        for form in forms
        for alternative in _alternatives(form)
        if isinstance(alternative, inspect.StructType)
        for field in alternative.fields
    ]
    if not names:
        return "nothing is known here"
    close = get_close_matches(name, names, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(names)}"


def _forms_at(form: type[Struct], path: Path) -> list[inspect.Type]:
    """The form that a value at a path should have had, from the outermost on."""
    forms: list[inspect.Type] = [inspect.type_info(form)]
    for step in path:
        forms = [
            inner for outer in forms for alternative in _alternatives(outer) for inner in _inner(alternative, step)
        ]
    return forms


def _inner(form: inspect.Type, step: str | int) -> Iterator[inspect.Type]:
    if isinstance(form, inspect.StructType):
        yield from (field.type for field in form.fields if field.encode_name == step)
    elif isinstance(form, inspect.ListType):
        yield form.item_type


def _alternatives(form: inspect.Type) -> Iterator[inspect.Type]:
    """What a form may be, its unions and annotations taken off."""
    if isinstance(form, inspect.Metadata):
        yield from _alternatives(form.type)
    elif isinstance(form, inspect.UnionType):
        for each in form.types:
            yield from _alternatives(each)
    else:
        yield form


def _wanted(forms: Sequence[inspect.Type]) -> str:
    """The end of the sentence "… is …" for a value off its form."""
    for form in forms:
        for annotated in (form, *(form.types if isinstance(form, inspect.UnionType) else ())):
            if isinstance(annotated, inspect.Metadata) and annotated.extra and "wanted" in annotated.extra:
                return f"not {annotated.extra['wanted']}"
        for alternative in _alternatives(form):
            if isinstance(alternative, inspect.EnumType):
                return f"none of {', '.join(member.value for member in alternative.cls)}"
            if type(alternative) in _PLAIN:
                return f"not {_PLAIN[type(alternative)]}"
    return "of the wrong type"


_PLAIN: Final[Mapping[type[inspect.Type], str]] = {
    inspect.BoolType: "true or false",
    inspect.StrType: "a text",
    inspect.StructType: "a set of named members {…}",
}


def _value_at(written: object, path: Path) -> str:
    """A value as it was written, cut where it is long, and not at all where it is secret."""
    if SECRET_MEMBERS.intersection(path):
        return "what is given"
    value: Any = written
    for step in path:
        value = value[step]
    match value:
        case dict():
            return "{…}"
        case list():
            return f"a list of {len(value)}" if value else "[]"
        case datetime() | date() | time():
            return value.isoformat()
        case bool() | None:
            return "null" if value is None else str(value).lower()
        case str():
            return f'"{_cut(value)}"'
        case _:
            return _cut(str(value))


def _cut(text: str) -> str:
    escaped = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return escaped if len(escaped) <= _SHOWN_LENGTH else f"{escaped[:_SHOWN_LENGTH]}…"
