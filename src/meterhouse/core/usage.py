"""What a usage record means: whose usage of what (its series), of which hour, and what is kept of it.

The *series* is the identity that repeats hour after hour; a ledger interns it as a small integer, so that a record key
is (hour, series): time first, at the right edge of any index. The *record key* is what makes a record one: whoever
comes second under the same key is a replay or a conflict, never a second record (contract §4, "Key").

These values are made and looked up by the million, so they are structs that remember their hash: a fifth of the time of
a named tuple of named tuples.
"""

from collections.abc import Callable, Sequence
from functools import cache
from struct import Struct as Packed
from typing import Final, NamedTuple

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


def texts_of_ids(record_ids: Sequence[bytes]) -> Sequence[str]:
    """The same of several at once: one operation on all of them, in half the time."""
    unpack, form = _several_ids(len(record_ids))
    return (form % unpack(b"".join(record_ids).hex().encode())).decode().split(" ")


@cache
def _several_ids(count: int) -> tuple[Callable[[bytes], tuple[bytes, ...]], bytes]:
    return Packed("8s4s4s4s12s" * count).unpack, b" ".join([b"%b-%b-%b-%b-%b"] * count)
