"""Which row of a file is which row of the past: how a made-up id stays the same from load to load.

A row is known by the id written in it. Without one it is known by its *place*: the group it belongs to (an agreement's
product and buyer, a token's agreement) and how many-th of the group it is. Within a group, rows find their places by
their digests first, so that the order of tables in a file means nothing; rows left over take the places left over, in
order, and then new ones.

A place is looked up in the other source too: the same file, loaded once by a start and once by a call, makes one
agreement and not two. A place whose fact another row of the file names by id is taken.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from itertools import count
from typing import NamedTuple

import msgspec
from msgspec import Struct


class Source(StrEnum):
    """By which way a file comes; each is compared with its own past."""

    FILE = "file"
    CALL = "call"


class LoadedRow(Struct, frozen=True, array_like=True):
    """What a row was when it was last loaded. `digest` is empty once it is gone; `fact` is the key of its fact."""

    digest: bytes
    fact: str


class Said(NamedTuple):
    """A row of the file, as far as it has to be recognised."""

    id: str | None
    group: str
    digest: bytes


class Recognised(NamedTuple):
    """What is known of a row."""

    loaded_key: str
    """Under which key the past of the row is kept."""
    fact: str | None
    """The key of its fact; None where it has to be made."""
    changed: bool
    """Whether it is not what was last loaded from this source."""


class Past:
    """What was loaded before: `LoadedRow`s by their keys, as they are kept."""

    def __init__(self, kept: Mapping[str, bytes]) -> None:
        self._kept = kept

    def row(self, loaded_key: str) -> LoadedRow | None:
        """What a row was; None where it never was."""
        body = self._kept.get(loaded_key)
        return None if body is None else msgspec.msgpack.decode(body, type=LoadedRow)

    def gone(self, source: Source, seen: AbstractSet[str]) -> Iterator[tuple[str, LoadedRow]]:
        """The rows of a source that were there and are no longer, as they are to be kept: known, without a digest."""
        for loaded_key in self._kept:
            if loaded_key.startswith(f"{source}/") and loaded_key not in seen:
                row = self.row(loaded_key)
                if row is not None and row.digest:
                    yield loaded_key, LoadedRow(b"", row.fact)


def recognise(table: str, rows: Sequence[Said], source: Source, past: Past) -> Sequence[Recognised]:
    """What is known of each row of a table, in their order."""
    named = {row.id for row in rows if row.id is not None}
    groups: dict[str, list[int]] = defaultdict(list)
    found: dict[int, Recognised] = {}
    for index, row in enumerate(rows):
        if row.id is None:
            groups[row.group].append(index)
            continue
        loaded_key = f"{source}/{table}/id/{row.id}"
        before = past.row(loaded_key)
        found[index] = Recognised(loaded_key, row.id, before is None or before.digest != row.digest)
    for group, indexes in groups.items():
        digests = [rows[index].digest for index in indexes]
        found.update(zip(indexes, _placed(f"{table}/place/{group}", digests, source, past, named), strict=True))
    return [found[index] for index in range(len(rows))]


def _placed(
    group: str, digests: Sequence[bytes], source: Source, past: Past, named: AbstractSet[str]
) -> Iterable[Recognised]:
    """The places of a group's rows."""
    free: dict[str, tuple[LoadedRow | None, LoadedRow]] = {}
    for number in count(1):
        own = past.row(f"{source}/{group}/{number}")
        known = own or past.row(f"{_OTHER[source]}/{group}/{number}")
        if known is None:
            break
        if known.fact not in named:
            free[f"{source}/{group}/{number}"] = own, known
    placed: dict[int, Recognised] = {}
    for index, digest in enumerate(digests):
        same = next((key for key, (_, known) in free.items() if known.digest == digest), None)
        if same is not None:
            own, known = free.pop(same)
            placed[index] = Recognised(same, known.fact, own is None or own.digest != digest)
    for index in range(len(digests)):
        if index in placed:
            continue
        if free:
            key = next(iter(free))
            placed[index] = Recognised(key, free.pop(key)[1].fact, changed=True)
        else:
            placed[index] = Recognised(f"{source}/{group}/{number}", None, changed=True)
            number += 1  # the numbering goes on where the known places end
    return [placed[index] for index in range(len(digests))]


_OTHER = {Source.FILE: Source.CALL, Source.CALL: Source.FILE}
