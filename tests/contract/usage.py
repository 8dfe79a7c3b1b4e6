"""Usage for the contract's tests, and the rule by which they keep it."""

from collections.abc import Callable, Iterable, Sequence
from itertools import count

from meterhouse.core.moment import HOUR
from meterhouse.core.usage import Allotment, ClaimKey, Entry, Kept, Partition, RecordKey, Series
from meterhouse.ledger.protocol import Decision, Header, Keys, Ledger, View

HERE = Partition("us-east-1", "product-a")
THERE = Partition("eu-west-1", "product-a")
HOUR_NOW = 498_000

_ids = count(1)


def fresh_id() -> bytes:
    """An id that no other record has."""
    return next(_ids).to_bytes(16, "big")


def series_of(customer: str = "111122223333", dimension: str = "requests", **others: str) -> Series:
    """A series; what is not named is empty."""
    return Series(others.pop("license", ""), customer, dimension, **others)


def key_of(
    hour: int = HOUR_NOW, customer: str = "111122223333", dimension: str = "requests", **others: str
) -> RecordKey:
    """A record key."""
    return RecordKey(hour, series_of(customer, dimension, **others))


def entry_of(
    key: RecordKey, quantity_micros: int = 1_000_000, *, into_hour: int = 0, allocations: tuple[Allotment, ...] = ()
) -> Entry:
    """A record with an id of its own, so many microseconds into its hour."""
    return Entry(key, key.hour * HOUR + into_hour, quantity_micros, fresh_id(), allocations)


def header_of(received_micros: int = HOUR_NOW * HOUR, request_id: str = "request") -> Header:
    """The head of a journal row."""
    return Header(
        request_id, "BatchMeterUsage", "arn:aws:iam::1:user/m", "1", received_micros, received_micros, "2026-11"
    )


def keeping(
    entries: Sequence[Entry], claims: Sequence[tuple[ClaimKey, bytes]] = (), header: Header | None = None
) -> Callable[[View], Decision]:
    """The rule that keeps what is new, and answers per entry what is kept under its key in the end."""

    def decide(view: View) -> Decision:
        new: dict[RecordKey, Entry] = {}
        answer: list[Kept] = []
        for entry in entries:
            before = view.record(entry.key)
            if before is None:
                first = new.setdefault(entry.key, entry)
                before = Kept(first.quantity_micros, first.record_id)
            answer.append(before)
        made = [(key, value) for key, value in claims if view.claim(key) is None]
        row = (header or header_of()) if new or made else None
        return Decision(answer, list(new.values()), made, row)

    return decide


async def keep(
    ledger: Ledger,
    entries: Iterable[Entry] = (),
    claims: Sequence[tuple[ClaimKey, bytes]] = (),
    *,
    partition: Partition = HERE,
    header: Header | None = None,
    revision: int = 0,
) -> list[Kept]:
    """One turn that keeps what is new; its answer."""
    wanted = list(entries)
    keys = Keys([entry.key for entry in wanted], [key for key, _ in claims])
    decision = await ledger.turn(partition, keys, keeping(wanted, claims, header), revision=revision)
    assert isinstance(decision.answer, list)
    return decision.answer


async def look(ledger: Ledger, keys: Keys, *, partition: Partition = HERE, revision: int = 0) -> "Seen":
    """What a turn that keeps nothing sees."""

    def decide(view: View) -> Decision:
        return Decision(
            Seen(
                {key: view.record(key) for key in [*keys.records, *keys.rivals]},
                {key: view.claim(key) for key in keys.claims},
            )
        )

    decision = await ledger.turn(partition, keys, decide, revision=revision)
    assert isinstance(decision.answer, Seen)
    return decision.answer


class Seen:
    """What a view showed under the keys that were named."""

    def __init__(self, records: dict[RecordKey, Kept | None], claims: dict[ClaimKey, bytes | None]) -> None:
        self.records = records
        self.claims = claims
