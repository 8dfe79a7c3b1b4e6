"""Old usage as a file, which is read back before anything is removed: one JSON document a line.

    head   {"archive": 1, "before": "2026-01"}
    row    what a request kept: who, when, and its records that are older; as `GET /journal` has it, and more
    foot   how many rows and records there are, exact sums, the last position seen of each partition, a digest

The digest is that of all lines before the foot. A file without a foot is not whole. It gets its name when it is synced.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

import msgspec
from msgspec import Struct

from meterhouse.core.moment import HOUR, hour_of, micros_of_rfc3339, month_of_hour, rfc3339
from meterhouse.core.quantity import micros_of_text, text_of_micros
from meterhouse.core.usage import Entry, Partition, text_of_id
from meterhouse.ledger.protocol import JournalEntry, Sum

TOLD_EVERY: Final = 1000
"""Lines between two calls of `on_rows`."""

SumKey = tuple[Partition, str, str, str, bool]
"""All of a `Sum` but its quantity."""
OnRows = Callable[[int], None]
"""Told how many rows there are so far."""


class NotAnArchive(Exception):
    """The file is not, or not wholly, what was written; one sentence says why."""


class _Head(Struct, frozen=True, forbid_unknown_fields=True):
    archive: int
    before: str


class _Tag(Struct, frozen=True):
    key: str
    value: str


class _Allocation(Struct, frozen=True):
    quantity: str
    tags: Sequence[_Tag]


class _Record(Struct, frozen=True):
    record_id: str
    buyer: str
    license_arn: str | None
    dimension: str
    resource_id: str | None
    client_token: str | None
    timestamp: str
    hour: str
    quantity: str
    allocations: Sequence[_Allocation]


class _Row(Struct, frozen=True):
    region: str
    product: str
    position: int
    request_id: str
    operation: str
    principal: str
    account: str
    received: str
    now: str
    profile: str
    records: Sequence[_Record]


class _Total(Struct, frozen=True):
    region: str
    product: str
    month: str
    buyer: str
    dimension: str
    by_workload: bool
    quantity: str


class _Position(Struct, frozen=True):
    region: str
    product: str
    last_position: int


class _Foot(Struct, frozen=True, forbid_unknown_fields=True):
    rows: int
    records: int
    sums: Sequence[_Total]
    positions: Sequence[_Position]
    sha256: str


class Archive(NamedTuple):
    """What a whole file holds."""

    before: str
    rows: int
    records: int
    sums: Mapping[SumKey, int]
    positions: Mapping[Partition, int]
    """The last position of each partition that was looked at: what came later is not in the file."""
    sha256: str


class ArchiveWriter:
    """Writes a file that gets its name in `finish`, and is gone where that was not reached."""

    def __init__(self, file: Path, before: str) -> None:
        """Raises OSError."""
        self._file = file
        self._unfinished = file.with_name(f"{file.name}.unfinished")
        self._unfinished.unlink(missing_ok=True)
        self._stream: BinaryIO = self._unfinished.open("xb")
        self._digest = sha256()
        self._rows = self._records = 0
        self._sums: defaultdict[SumKey, int] = defaultdict(int)
        self._write(_Head(1, before))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        with suppress(FileNotFoundError):
            self._unfinished.unlink()

    def add(self, row: JournalEntry, entries: Sequence[Entry]) -> None:
        """A row with those of its entries that are older."""
        self._rows += 1
        self._records += len(entries)
        for entry in entries:
            self._sums[_sum_of(row.partition, entry)] += entry.quantity_micros
        header = row.header
        self._write(
            _Row(
                *row.partition,
                row.position,
                header.request_id,
                header.operation,
                header.principal,
                header.account,
                rfc3339(header.received_micros),
                rfc3339(header.now_micros),
                header.profile,
                [_record_of(entry) for entry in entries],
            )
        )

    def finish(self, positions: Mapping[Partition, int]) -> None:
        """Writes the foot, syncs, and gives the file its name; what has the name already is not replaced."""
        totals = [
            _Total(*partition, month, customer, dimension, by_workload, text_of_micros(quantity_micros))
            for (partition, month, customer, dimension, by_workload), quantity_micros in sorted(self._sums.items())
        ]
        places = [_Position(*partition, last) for partition, last in sorted(positions.items())]
        self._write(_Foot(self._rows, self._records, totals, places, self._digest.hexdigest()))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        os.link(self._unfinished, self._file)
        folder = os.open(self._file.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write(self, line: Struct) -> None:
        text = msgspec.json.encode(line) + b"\n"
        self._digest.update(text)
        self._stream.write(text)


def _sum_of(partition: Partition, entry: Entry) -> SumKey:
    hour, series = entry.key.hour, entry.key.series
    return partition, month_of_hour(hour), series.customer, series.dimension, bool(series.workload)


def sums_of(found: Sequence[Sum]) -> dict[SumKey, int]:
    """A ledger's sums by what they are of; what follows from registrations is left out, since it stays."""
    return {
        (one.partition, one.month, one.customer, one.dimension, one.by_workload): one.quantity_micros
        for one in found
        if one.dimension
    }


def _record_of(entry: Entry) -> _Record:
    series = entry.key.series
    return _Record(
        text_of_id(entry.record_id),
        series.customer,
        series.license or None,
        series.dimension,
        series.workload or None,
        series.token or None,
        rfc3339(entry.timestamp_micros),
        rfc3339(entry.key.hour * HOUR),
        text_of_micros(entry.quantity_micros),
        [
            _Allocation(text_of_micros(part.quantity_micros), [_Tag(*tag) for tag in part.tags])
            for part in entry.allocations
        ],
    )


def read_archive(file: Path, on_rows: OnRows = lambda _done: None) -> Archive:
    """What a file holds, every line of it read and added up. Raises NotAnArchive, and OSError."""
    digest = sha256()
    rows = records = 0
    sums: defaultdict[SumKey, int] = defaultdict(int)
    with file.open("rb") as stream:
        lines = _lines(stream)
        try:
            first = next(lines, b"")
            head = msgspec.json.decode(first, type=_Head)
            digest.update(first)
            for line, is_last in _with_last(lines):
                if is_last:
                    foot = msgspec.json.decode(line, type=_Foot)
                    break
                digest.update(line)
                row = msgspec.json.decode(line, type=_Row)
                rows += 1
                records += len(row.records)
                _add_up(row, sums)
                if not rows % TOLD_EVERY:
                    on_rows(rows)
            else:
                raise NotAnArchive(f"{file} has no end")
        except (msgspec.MsgspecError, ValueError) as error:
            raise NotAnArchive(f"{file} is no whole export: line {rows + 2} cannot be read ({error})") from None
    said = {(Partition(one.region, one.product), *_rest(one)): micros_of_text(one.quantity) for one in foot.sums}
    if head.archive != 1:
        raise NotAnArchive(f"{file} is of form {head.archive}, and this version knows form 1")
    if (foot.rows, foot.records, foot.sha256, said) != (rows, records, digest.hexdigest(), dict(sums)):
        raise NotAnArchive(f"{file} is damaged: its lines do not come to what its end says")
    positions = {Partition(one.region, one.product): one.last_position for one in foot.positions}
    return Archive(head.before, rows, records, said, positions, foot.sha256)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    for line in stream:
        if not line.endswith(b"\n"):
            raise ValueError("it has no end")
        yield line


def _with_last(lines: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each line, and whether it is the last."""
    held = next(lines, None)
    for line in lines:
        assert held is not None, "a line came before"
        yield held, False
        held = line
    if held is not None:
        yield held, True


def _rest(total: _Total) -> tuple[str, str, str, bool]:
    return total.month, total.buyer, total.dimension, total.by_workload


def _add_up(row: _Row, sums: dict[SumKey, int]) -> None:
    partition = Partition(row.region, row.product)
    for record in row.records:
        month = month_of_hour(hour_of(micros_of_rfc3339(record.hour)))
        key = partition, month, record.buyer, record.dimension, bool(record.resource_id)
        sums[key] = sums.get(key, 0) + micros_of_text(record.quantity)
