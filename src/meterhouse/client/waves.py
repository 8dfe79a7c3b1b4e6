"""What of a call's records may be sent at once, and what must wait for an earlier record of its key. No I/O here.

Two records of one key are one record said twice, or a contradiction; the first given must win either way. Requests
overtake each other, so the second of a key goes in a second *wave*, which begins when the first is settled, and so on.
"""

from collections.abc import Sequence

from msgspec import Struct

from meterhouse.client.errors import InvalidRequestError
from meterhouse.client.parcels import ENVELOPE_BYTES, MOST_BYTES, Pending
from meterhouse.client.records import UsageRecord
from meterhouse.client.wording import Said, encode, said_of
from meterhouse.core.moment import hour_of
from meterhouse.core.usage import micros_of

Key = tuple[str | None, str | None, str | None, str, int]
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


def admit(records: Sequence[UsageRecord], product_code: str | None) -> Admitted:
    """Every record as it will be sent, in its wave, or refused."""
    first: Wave = {}
    admitted = Admitted([first], {}, {})
    last_of_key: dict[Key, int] = {}
    for place, record in enumerate(records):
        try:
            said, part, code = prepared(record, product_code)
        except InvalidRequestError as breach:
            admitted.refused[place] = breach
            continue
        timestamp = said.timestamp
        hour = timestamp // 3600 if type(timestamp) is int else hour_of(micros_of(timestamp))
        names = (said.license_arn or code, said.customer_aws_account_id, said.customer_identifier, said.dimension)
        key = (*names, hour)
        last = last_of_key.setdefault(key, place)
        wave = first
        if last != place:
            last_of_key[key] = place
            admitted.before[place] = last
            wave = _later_wave(admitted, place)
        members = wave.get(code)
        if members is None:
            members = wave[code] = []
        members.append(Pending(place, said, part))
    return admitted


def prepared(record: UsageRecord, product_code: str | None) -> tuple[Said, bytes, str | None]:
    """A record as it is sent, and its product's code. Raises InvalidRequestError."""
    code = record.product_code or product_code
    if code is None and record.license_arn is None:
        raise InvalidRequestError("give a license_arn or a product_code: nothing says of which product this is")
    said = said_of(record)
    part = encode(said)
    if len(part) > MOST_BYTES - ENVELOPE_BYTES:
        raise InvalidRequestError(f"the record takes {len(part)} bytes, where a request stays below {MOST_BYTES}")
    return said, part, code


def _later_wave(admitted: Admitted, place: int) -> Wave:
    """The wave of a record: as many on as there are earlier records of its key."""
    number, before = 0, admitted.before.get(place)
    while before is not None:
        number, before = number + 1, admitted.before.get(before)
    if number == len(admitted.waves):
        admitted.waves.append({})
    return admitted.waves[number]
