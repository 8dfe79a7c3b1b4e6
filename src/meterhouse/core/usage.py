"""What a usage record means: whose usage of what (its series), of which hour, and what is kept of it.

The *series* is the identity that repeats hour after hour; a ledger interns it as a small integer, so that a record key
is (hour, series): time first, at the right edge of any index. The *record key* is what makes a record one: whoever
comes second under the same key is a replay or a conflict, never a second record (contract §4, "Key").

These values are made and looked up by the million, so they are structs that remember their hash: a fifth of the time of
a named tuple of named tuples.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Final, NamedTuple, TypeVar, overload

from msgspec import Raw, Struct

from meterhouse.core.moment import SECOND
from meterhouse.core.shapes import Timestamp

BY_PRODUCT: Final = 1
BY_LICENSE: Final = 2
BOTH_FORMS: Final = BY_PRODUCT | BY_LICENSE
"""The two forms in which records name what was used, as bits (contract §4: they have separate keys)."""


class Partition(NamedTuple):
    """Where one request's records live: no key and no transaction ever spans two partitions."""

    region: str
    product: str
    """The product's code."""


class Series(Struct, frozen=True, cache_hash=True, gc=False):
    """The identity of usage apart from its hour."""

    license: str
    """The license's ARN where the record names one, else empty: the two forms have separate keys (contract §4)."""
    customer: str
    """The buyer's AWS account id, whichever name the request used."""
    dimension: str
    workload: str = ""
    """The resource id of the workload that metered itself, else empty."""
    token: str = ""
    """AgentCore's ClientToken, under which each record is one of its own; else empty."""


class RecordKey(Struct, frozen=True, cache_hash=True, gc=False):
    """At most one record is kept under a key within a partition."""

    hour: int
    """Hours since the epoch, UTC."""
    series: Series


def same_in_all(column: Sequence[int]) -> int | None:
    """What all of a column are, if they are one: mostly a request's records are of one hour, said under one instant."""
    return column[0] if column and column.count(column[0]) == len(column) else None


one_type = TypeVar("one_type")


class _ByColumns(Sequence[one_type]):
    """Equal to any sequence of the same, and no more to be hashed than a list."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment] # what is equal to a list has no more of a hash than a list

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


class RecordKeys(_ByColumns[RecordKey]):
    """Several keys, by columns. Each is made a `RecordKey` only where it is asked for."""

    __slots__ = ("hours", "series")

    def __init__(self, hours: Sequence[int], series: Sequence[Series]) -> None:
        self.hours = hours
        self.series = series

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[RecordKey]:
        return map(RecordKey, self.hours, self.series)

    @overload
    def __getitem__(self, place: int) -> RecordKey: ...
    @overload
    def __getitem__(self, place: slice) -> "RecordKeys": ...
    def __getitem__(self, place: "int | slice") -> "RecordKey | RecordKeys":
        if isinstance(place, slice):
            return RecordKeys(self.hours[place], self.series[place])
        return RecordKey(self.hours[place], self.series[place])

    def by_hour(self) -> Iterable[tuple[int, Sequence[Series]]]:
        """Each hour with its series."""
        only = same_in_all(self.hours)
        if only is not None:
            return ((only, self.series),)
        found: dict[int, list[Series]] = {}
        for hour, series in zip(self.hours, self.series, strict=True):
            found.setdefault(hour, []).append(series)
        return found.items()

    def are_distinct(self) -> bool:
        """Whether no two are the same."""
        return all(len(set(series)) == len(series) for _, series in self.by_hour())


def keys_by_columns(keys: Sequence[RecordKey]) -> RecordKeys:
    """The same keys by columns."""
    if isinstance(keys, RecordKeys):
        return keys
    return RecordKeys([key.hour for key in keys], [key.series for key in keys])


class ClaimKey(NamedTuple):
    """Something that happens at most once within a partition, under its kind."""

    kind: str
    key: str


class Kept(Struct, frozen=True, gc=False):
    """What a ledger remembers of a record: enough to tell a replay from a conflict."""

    quantity_micros: int
    record_id: bytes
    """The 16 bytes of its MeteringRecordId."""


class Allotment(Struct, frozen=True, gc=False, array_like=True):
    """A part of a record's quantity and the tags it belongs to."""

    quantity_micros: int
    tags: tuple[tuple[str, str], ...] = ()


class Entry(Struct, frozen=True, gc=False):
    """A record to be kept."""

    key: RecordKey
    timestamp_micros: int
    """As said, unrounded."""
    quantity_micros: int
    record_id: bytes
    allocations: tuple[Allotment, ...] = ()


class Entries(_ByColumns[Entry]):
    """Records to be kept, by columns, as engines write them. Each is made an `Entry` only where it is asked for."""

    __slots__ = ("allocations", "keys", "quantities", "record_ids", "timestamps")

    def __init__(
        self,
        keys: RecordKeys,
        timestamps: Sequence[int],
        quantities: Sequence[int],
        record_ids: Sequence[bytes],
        allocations: Sequence[tuple[Allotment, ...]] | None = None,
    ) -> None:
        self.keys = keys
        self.timestamps = timestamps
        """In microseconds, as said."""
        self.quantities = quantities
        """In microunits."""
        self.record_ids = record_ids
        self.allocations = allocations
        """None where no record has any."""

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Entry]:
        allocations = repeat(()) if self.allocations is None else self.allocations
        return map(Entry, self.keys, self.timestamps, self.quantities, self.record_ids, allocations)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return Entry(
            self.keys[place],
            self.timestamps[place],
            self.quantities[place],
            self.record_ids[place],
            () if self.allocations is None else self.allocations[place],
        )

    def kept(self, key: RecordKey) -> Kept:
        """What is kept of the record under a key, which is one of these."""
        place = next(place for place, other in enumerate(self.keys) if other == key)
        return Kept(self.quantities[place], self.record_ids[place])


def columns_of(entries: Sequence[Entry]) -> Entries:
    """The same records by columns."""
    if isinstance(entries, Entries):
        return entries
    allocations = [entry.allocations for entry in entries]
    return Entries(
        keys_by_columns([entry.key for entry in entries]),
        [entry.timestamp_micros for entry in entries],
        [entry.quantity_micros for entry in entries],
        [entry.record_id for entry in entries],
        allocations if any(allocations) else None,
    )


def micros_of(timestamp: int | Raw) -> int:
    """The instant of a decoded timestamp: whole seconds, or a Raw of seconds with decimals (see `shapes`)."""
    if isinstance(timestamp, int):
        return timestamp * SECOND
    seconds, _, decimals = bytes(timestamp).partition(b".")
    return int(seconds + decimals.ljust(6, b"0"))


def timestamp_of(micros: int) -> Timestamp:
    """An instant as shapes carry it: whole seconds where it is whole, else seconds with six decimals, exact."""
    sign, size = ("-", -micros) if micros < 0 else ("", micros)
    seconds, fraction = divmod(size, SECOND)
    return micros // SECOND if not fraction else Raw(f"{sign}{seconds}.{fraction:06d}".encode())


def text_of_id(record_id: bytes) -> str:
    """The MeteringRecordId as clients see it: a lower-case UUID."""
    digits = record_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
