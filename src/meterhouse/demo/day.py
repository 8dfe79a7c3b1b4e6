"""What the seller's software has counted in a day, as records that boto3 takes. Pure, and the same every day."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from meterhouse.demo.marketplace import ALDER, BIRCH, CEDAR, GATEWAY_LICENSE, OPENING, Buyer

Record = dict[str, Any]
"""A usage record, by the names of the API."""

BATCH_SIZE: Final = 25
"""The most records of a BatchMeterUsage."""

_USERS: Final[Mapping[Buyer, Sequence[int]]] = {
    # By the hour, from nine to nine
    ALDER: (14, 17, 18, 12, 15, 19, 20, 18, 13, 7, 4, 3, 2, 2, 1, 0, 0, 0, 0, 1, 2, 3, 5, 9),
    BIRCH: (31, 36, 38, 29, 33, 41, 40, 37, 30, 22, 16, 12, 9, 8, 6, 5, 5, 4, 4, 6, 9, 14, 20, 27),
}
_GIGABYTES_PER_USER: Final = Decimal("0.337")
_TOKENS_PER_USER: Final = Decimal("41.208125")
_SEARCH_TOKENS_PER_USER: Final = Decimal("27.6205")


def pipeline_batches() -> list[list[Record]]:
    """The day of the Data Pipeline: users and gigabytes of two buyers, hour by hour."""
    records = [
        record
        for hour in range(24)
        for buyer, users in _USERS.items()
        for record in (
            _record(hour, buyer, Dimension="users", Quantity=users[hour]),
            _record(hour, buyer, Dimension="gigabytes", QuantityAsDecimal=str(users[hour] * _GIGABYTES_PER_USER)),
        )
    ]
    return [records[start : start + BATCH_SIZE] for start in range(0, len(records), BATCH_SIZE)]


def gateway_batch() -> list[Record]:
    """The day of the Model Gateway: one buyer's tokens by license, in decimals, each hour divided between two teams."""
    return [
        _record(
            hour,
            BIRCH,
            LicenseArn=GATEWAY_LICENSE,
            Dimension="tokens",
            QuantityAsDecimal=str(users * _TOKENS_PER_USER),
            UsageAllocations=[
                _allocation("search", users * _SEARCH_TOKENS_PER_USER),
                _allocation("support", users * (_TOKENS_PER_USER - _SEARCH_TOKENS_PER_USER)),
            ],
        )
        for hour, users in enumerate(_USERS[BIRCH])
    ]


def misspelled(batch: Sequence[Record]) -> list[Record]:
    """The batch with a dimension in its last record that the product does not have."""
    return [*batch[:-1], {**batch[-1], "Dimension": "gigabyte"}]


def second_thoughts() -> list[Record]:
    """One record each that is new, that contradicts one of the day, and that is of a buyer who has left."""
    return [
        _record(24, ALDER, Dimension="users", Quantity=11),
        _record(23, BIRCH, Dimension="users", Quantity=_USERS[BIRCH][23] + 1),
        _record(23, CEDAR, Dimension="users", Quantity=5),
    ]


def quantity_of(record: Record) -> Decimal:
    """The quantity, in whichever member it stands."""
    return Decimal(record.get("QuantityAsDecimal") or record["Quantity"])


def _record(hour: int, buyer: Buyer, **members: Any) -> Record:
    return {"Timestamp": _timestamp(hour), "CustomerAWSAccountId": buyer.account, **members}


def _timestamp(hour: int) -> datetime:
    """A minute into an hour of the day."""
    return OPENING + timedelta(hours=hour, minutes=1)


def _allocation(team: str, quantity: Decimal) -> dict[str, Any]:
    return {"AllocatedUsageQuantityAsDecimal": str(quantity), "Tags": [{"Key": "team", "Value": team}]}
