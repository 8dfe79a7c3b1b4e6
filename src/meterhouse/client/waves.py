"""What of a call's records may be sent at once, and what must wait for an earlier record of its key. No I/O here.

Two records of one key are one record said twice, or a contradiction; the first given must win either way. Requests
overtake each other, so the second of a key goes in a second *wave*, which begins when the first is settled, and so on.
"""

from collections.abc import Iterator, Sequence
from typing import Final, cast

from msgspec import Struct

from meterhouse.client.answers import micros_of
from meterhouse.client.errors import InvalidRequestError
from meterhouse.client.operations import MOST_RECORDS
from meterhouse.client.parcels import ENVELOPE_BYTES, MOST_BYTES, Pending
from meterhouse.client.records import UsageRecord
from meterhouse.client.wording import Said, encode, say
from meterhouse.core.moment import hour_of

Key = tuple[int, str | None, str | None, str | None, str]
"""What makes two records one (contract §4), as far as their names say it: the customer has two, and only the service
knows which belong together.
"""
Wave = dict[str | None, list[Pending]]
"""Records of different keys, by product code."""


class Admitted(Struct):
    """The records of a call, ready to be sent."""

    waves: list[Wave]
    before: dict[int, int]
    """By place in the call: the place of the last earlier record of the same key."""
    refused: dict[int, InvalidRequestError]
    """By place in the call: what breaks a rule, and is not sent."""
    lone: list[Said] | None = None
    """All of the call's records, in no wave, where they are so few and so plain that one request is all there is."""

    def said(self) -> Iterator[tuple[int, Said]]:
        """What is to be sent, with its place in the call."""
        if self.lone is not None:
            yield from enumerate(self.lone)
        for wave in self.waves:
            for members in wave.values():
                for one in members:
                    yield one.place, one.said


def admit(records: Sequence[UsageRecord], product_code: str | None) -> Admitted:
    """Every record as it will be sent, in its wave, or refused."""
    everything, breaches, is_plain = say(records)
    if is_plain and product_code is not None:
        plain = cast("list[Said]", everything)  # none is None where none breaks a rule
        if 0 < len(plain) <= MOST_RECORDS:
            return Admitted([], {}, breaches, plain)
        return Admitted([{product_code: pending_of(plain)}], {}, breaches)
    first: Wave = {}
    admitted = Admitted([first], {}, breaches)
    last_of_key: dict[Key, tuple[int, int]] = {}
    """By key: the place of the last record so far, and which wave it is in."""
    for place, (record, said) in enumerate(zip(records, everything, strict=True)):
        if said is None:
            continue
        code = record.product_code or product_code
        bytes_at_most = USUAL_BYTES if said.usage_allocations is None else len(encode(said)) + 1
        breach = _breach(said, code, bytes_at_most) if bytes_at_most > USUAL_BYTES or type(code) is not str else None
        if breach is not None:
            breaches[place] = breach
            continue
        timestamp, license_arn = said.timestamp, said.license_arn
        hour = timestamp // 3600 if type(timestamp) is int else hour_of(micros_of(timestamp))
        key = (hour, license_arn or code, said.customer_aws_account_id, said.customer_identifier, said.dimension)
        wave, last = first, last_of_key.get(key)
        if last is None:
            last_of_key[key] = (place, 0)
        else:
            admitted.before[place], number = last[0], last[1] + 1
            last_of_key[key] = (place, number)
            if number == len(admitted.waves):
                admitted.waves.append({})
            wave = admitted.waves[number]
        wave.setdefault(code, []).append(Pending(place, said, bytes_at_most))
    return admitted


def pending_of(plain: Sequence[Said]) -> list[Pending]:
    """A call's records where all are plain, on their way."""
    return [Pending(place, said, USUAL_BYTES) for place, said in enumerate(plain)]


USUAL_BYTES: Final = 5000
"""More than any record without allocations can take: 25 of them stay far below what a body may have."""


def _breach(said: Said, code: object, bytes_at_most: int) -> InvalidRequestError | None:
    """What is wrong with a record as one of a call, if anything is."""
    if code is None and said.license_arn is None:
        return InvalidRequestError("give a license_arn or a product_code: nothing says of which product this is")
    if code is not None and not isinstance(code, str):
        return InvalidRequestError(f"the product code is no text but {type(code).__name__}")
    if bytes_at_most > MOST_BYTES - ENVELOPE_BYTES:
        return InvalidRequestError(f"the record takes {bytes_at_most} bytes, where a request stays below {MOST_BYTES}")
    return None
