"""Bodies with one thing wrong, and the fault with which the codec refuses them."""

import pytest

from meterhouse.core.outcome import Fault
from meterhouse.core.shapes import BatchMeterUsageRequest, Shape
from meterhouse.wire.codec import decode

PLAIN = '"Timestamp":1795219200,"Dimension":"users"'


def batch(text: str) -> str:
    """A body of one record that has these members besides the two that every record must have."""
    return f'{{"UsageRecords":[{{{PLAIN},{text}}}]}}'


def timed(timestamp: str) -> str:
    """A body of one record with this timestamp."""
    return f'{{"UsageRecords":[{{"Dimension":"users","Timestamp":{timestamp}}}]}}'


def unknown(text: str) -> str:
    """A body that is fine but for the value of a member that the operation does not know."""
    return f'{{"UsageRecords":[],"Unknown":{text}}}'


def refusal_of(body: bytes | str, shape: type[Shape] = BatchMeterUsageRequest) -> Fault:
    """The fault with which a body is refused."""
    with pytest.raises(Fault) as refused:
        decode(body if isinstance(body, bytes) else body.encode(), shape)
    return refused.value
