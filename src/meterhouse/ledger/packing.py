"""The body of a journal row as bytes: MessagePack, by columns, with series as their numbers.

Columns, because a column's head is paid once and not per record, and because the usual columns are short: the
timestamps of a request lie near each other, so all but the first are kept as what they differ from it; its hours follow
from its timestamps and are kept only where they do not; allocations are rare.

Numbers of series mean something within their engine alone, which gives them out and looks them up again.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from meterhouse.core.moment import hour_of
from meterhouse.core.usage import Allotment, Entry, RecordKey, Series, columns_of, same_in_all
from meterhouse.ledger.judge import RECORD_ID_BYTES
from meterhouse.ledger.protocol import Header


class Body(Struct, frozen=True, gc=False, array_like=True):
    """A journal row apart from its partition and position; one place in every column per record."""

    header: Header
    series: Sequence[int]
    timestamps: Sequence[int]
    """The first in microseconds since the epoch, each other as its distance from the first."""
    quantities: Sequence[int]
    record_ids: bytes
    """One behind the other, 16 bytes each."""
    hours: Sequence[int] | None = None
    """None where each is the hour of the timestamp."""
    allocations: Sequence[tuple[Allotment, ...]] | None = None
    """None where no record has any."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Body).decode


def pack(header: Header, entries: Sequence[Entry], numbers: Sequence[int]) -> bytes:
    """The bytes of a row; `numbers` are those of the entries' series."""
    if not entries:
        return _encode(Body(header, [], [], [], b""))
    columns = columns_of(entries)
    timestamps = columns.timestamps
    first = timestamps[0]
    hours = columns.keys.hours
    return _encode(
        Body(
            header,
            numbers,
            [first, *_distances(timestamps)],
            columns.quantities,
            b"".join(columns.record_ids),
            None if _as_said(hours, timestamps) else hours,
            columns.allocations,
        )
    )


def _distances(timestamps: Sequence[int]) -> Sequence[int]:
    """Of all but the first, from it."""
    if same_in_all(timestamps) is not None:
        return [0] * (len(timestamps) - 1)
    first = timestamps[0]
    return [timestamp - first for timestamp in timestamps[1:]]


def _as_said(hours: Sequence[int], timestamps: Sequence[int]) -> bool:
    """Whether each hour is that of its timestamp. Of one hour the ends tell."""
    only = same_in_all(hours)
    if only is not None:
        return hour_of(min(timestamps)) == only == hour_of(max(timestamps))
    return all(hour_of(timestamp) == hour for hour, timestamp in zip(hours, timestamps, strict=True))


def unpack(body: bytes) -> Body:
    """What `pack` made; `msgspec.MsgspecError` where the bytes are damaged."""
    return _decode(body)


def strip(body: Body, before_hour: int) -> tuple[bytes, list[tuple[int, int]]]:
    """A row without its records of older hours; and those, as (hour, number of series)."""
    first = body.timestamps[0] if body.timestamps else 0
    timestamps = [timestamp + (first if place else 0) for place, timestamp in enumerate(body.timestamps)]
    hours = [hour_of(timestamp) for timestamp in timestamps] if body.hours is None else body.hours
    places = [place for place, hour in enumerate(hours) if hour >= before_hour]
    removed = [(hour, number) for hour, number in zip(hours, body.series, strict=True) if hour < before_hour]
    first = timestamps[places[0]] if places else 0
    kept = Body(
        body.header,
        [body.series[place] for place in places],
        [timestamps[place] - (first if nth else 0) for nth, place in enumerate(places)],
        [body.quantities[place] for place in places],
        b"".join(body.record_ids[place * RECORD_ID_BYTES : (place + 1) * RECORD_ID_BYTES] for place in places),
        None if body.hours is None else [body.hours[place] for place in places],
        None if body.allocations is None else [body.allocations[place] for place in places],
    )
    return _encode(kept), removed


def entries_of(body: Body, series: Mapping[int, Series]) -> list[Entry]:
    """The records of a row, given what its numbers of series stand for."""
    found = []
    for place, number in enumerate(body.series):
        timestamp = body.timestamps[place] + (body.timestamps[0] if place else 0)
        hour = hour_of(timestamp) if body.hours is None else body.hours[place]
        record_id = body.record_ids[place * RECORD_ID_BYTES : (place + 1) * RECORD_ID_BYTES]
        allocations = () if body.allocations is None else body.allocations[place]
        found.append(Entry(RecordKey(hour, series[number]), timestamp, body.quantities[place], record_id, allocations))
    return found
