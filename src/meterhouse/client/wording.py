"""From what a person says to what goes over the wire, judged by the API's own rules; and the wire's times back.

The rules are the service's: `wire.codec` lists breaches of the shapes' constraints, `core.allocations` judges tags and
sums. What a seller says over and over (customers, licenses, dimensions) is judged once and remembered, since this is
done for each record of each call.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, NoReturn, get_args

import msgspec
from msgspec import Raw

from meterhouse.client.errors import InvalidRequestError
from meterhouse.client.records import UsageAllocation, UsageRecord, check_time
from meterhouse.core import shapes
from meterhouse.core.moment import SECOND, micros_of_datetime
from meterhouse.core.quantity import micros_of_decimal

Said = shapes.UsageRecord[shapes.Timestamp]

encode: Final = msgspec.json.Encoder().encode
"""The body of a request, or a part of one: what `wire.codec.encode` gives."""

_MOST_WHOLE: Final[int] = get_args(shapes.Quantity)[1].le
_PLACES: Final = 6

_FITTING: Final[set[tuple[str | None, ...]]] = set()
"""Names of records that fit their constraints, together."""
_FITTING_LIMIT: Final = 100_000


def said_of(record: UsageRecord) -> Said:
    """A record as the wire's shape. Raises InvalidRequestError with every breach that no catalog is needed to see."""
    ((said,), breaches, _) = say((record,))
    if said is None:
        raise breaches[0]
    return said


class Wording(NamedTuple):
    """Records in the wire's words."""

    said: list[Said | None]
    """None in the place of a record that breaks a rule."""
    breaches: dict[int, InvalidRequestError]
    """By place, what it breaks."""
    is_plain: bool
    """Whether all that is needed to send them is plain: no two have the same names, none has allocations or a product
    code of its own, none breaks a rule.
    """


def say(records: Sequence[UsageRecord]) -> Wording:
    """Records as the wire's shapes. TypeError for what is no record."""
    try:
        return _say(records)
    except AttributeError:
        for record in records:
            if not isinstance(record, UsageRecord):
                raise TypeError(f"a record is a UsageRecord, not {type(record).__name__}") from None
        raise


def _say(records: Sequence[UsageRecord]) -> Wording:
    # One loop for all of them: this is most of what a call costs before it is sent.
    said: list[Said | None] = []
    breaches: dict[int, InvalidRequestError] = {}
    names_said: set[tuple[str | None, ...]] = set()
    is_special = False
    fitting, make = _FITTING, shapes.UsageRecord
    last_time: datetime | None = None
    seconds: shapes.Timestamp = 0
    for record in records:
        account, license_arn = record.customer_aws_account_id, record.license_arn
        names = (record.dimension, account, license_arn, record.customer_identifier)
        quantity, timestamp = record.quantity, record.timestamp
        try:
            names_said.add(names)
            if names not in fitting:
                _check_names(record)
            whole, decimal = (
                (quantity, None) if type(quantity) is int and 0 <= quantity <= _MOST_WHOLE else quantity_of(quantity)
            )
            if timestamp is not last_time:
                seconds = timestamp_of(timestamp) if timestamp.microsecond else int(timestamp.timestamp())
                last_time = timestamp
            parts = None
            if record.allocations or record.product_code:
                is_special = True
                parts = allocations_of(record.allocations, whole, decimal) if record.allocations else None
        except InvalidRequestError as breach:
            breaches[len(said)] = breach
            said.append(None)
            continue
        except TypeError:  # a name that cannot be hashed is no text
            breaches[len(said)] = _breach_of(record)
            said.append(None)
            continue
        identifier = record.customer_identifier or None
        said.append(make(seconds, record.dimension, identifier, whole, decimal, parts, account, license_arn))
    return Wording(said, breaches, not is_special and not breaches and len(names_said) == len(said))


def constraint(annotated: Any) -> Callable[[str | None], bool]:
    """Whether a text keeps to the constraints that a shape's type has beside it; None always does."""
    meta = get_args(annotated)[1]
    least, most = meta.min_length or 0, meta.max_length or sys.maxsize
    pattern = (meta.extra or {})["pattern"].removesuffix("$")
    # Compiled by `re` when it is first needed: not every program names customers in every way.
    return lambda text: text is None or (least <= len(text) <= most and re.fullmatch(pattern, text) is not None)


_CONSTRAINTS: Final = (
    constraint(shapes.UsageDimension),
    constraint(shapes.CustomerAWSAccountId),
    constraint(shapes.LicenseArn),
    constraint(shapes.CustomerIdentifier),
)


def _check_names(record: UsageRecord) -> None:
    """Raises InvalidRequestError where a record's names do not fit; remembers them where they do."""
    names = (record.dimension, record.customer_aws_account_id, record.license_arn, record.customer_identifier)
    given = (record.customer_aws_account_id is not None) + bool(record.customer_identifier)
    are_texts = _is_text(record.dimension) and all(text is None or _is_text(text) for text in names)
    if not are_texts or given != 1 or not all(fits(text) for fits, text in zip(_CONSTRAINTS, names, strict=True)):
        _say_breaches(record)
    if len(_FITTING) >= _FITTING_LIMIT:
        _FITTING.clear()
    _FITTING.add(names)


def _is_text(name: object) -> bool:
    """Whether it has bytes: half of a surrogate pair has none."""
    try:
        return isinstance(name, str) and name.encode() is not None
    except UnicodeEncodeError:
        return False


def _breach_of(record: UsageRecord) -> InvalidRequestError:
    try:
        _say_breaches(record)
    except InvalidRequestError as breach:
        return breach


def _say_breaches(record: UsageRecord) -> NoReturn:
    said: Said = shapes.UsageRecord(
        0,
        record.dimension,
        record.customer_identifier or None,
        customer_aws_account_id=record.customer_aws_account_id,
        license_arn=record.license_arn,
    )
    check(shapes.BatchMeterUsageRequest([said]), shapes.BatchMeterUsageRequest)
    if (said.customer_identifier is None) == (said.customer_aws_account_id is None):
        which = "neither" if said.customer_identifier is None else "both"
        raise InvalidRequestError(f"give customer_aws_account_id or customer_identifier: here is {which}")
    raise InvalidRequestError(f"{said.license_arn!r} is not the ARN of a license")


def check(request: Any, shape: type[Any]) -> None:
    """Raises InvalidRequestError with every constraint that a request breaches, in the service's words."""
    from meterhouse.core.outcome import Fault  # noqa: PLC0415 - with the next
    from meterhouse.wire.codec import decode  # noqa: PLC0415 - 8 ms that a call of what is plainly fine need not spend

    try:
        decode(encode(request), shape)
    except Fault as fault:
        raise InvalidRequestError(fault.message) from None
    except (TypeError, UnicodeEncodeError, msgspec.ValidationError) as error:
        raise InvalidRequestError(str(error)) from None


def quantity_of(quantity: int | Decimal) -> tuple[int | None, str | None]:
    """A quantity as (whole, decimal text); one of them is None. Raises InvalidRequestError out of its bounds."""
    if isinstance(quantity, int):
        if 0 <= quantity <= _MOST_WHOLE:
            return quantity, None
        more = "; as a Decimal it may be up to 9999999999.999999" if quantity > 0 else ""
        raise InvalidRequestError(f"the quantity {quantity} is not within 0 and {_MOST_WHOLE}{more}")
    try:
        text = format(quantity, "f")
        if len(text.partition(".")[2]) > _PLACES:
            text = text.rstrip("0").rstrip(".")
        micros_of_decimal(text)
        return None, text
    except ValueError:
        pass
    raise InvalidRequestError(
        f"the quantity {quantity} is not within 0 and 9999999999.999999, or has more than 6 places"
    )


def allocations_of(
    allocations: tuple[UsageAllocation, ...], quantity: int | None, decimal: str | None
) -> list[shapes.UsageAllocation]:
    """The parts of a quantity. Raises InvalidRequestError where they or their tags are refused (contract §5)."""
    parts = []
    for one in allocations:
        whole_part, decimal_part = quantity_of(one.quantity)
        pairs = one.tags.items() if isinstance(one.tags, Mapping) else one.tags
        tags = [shapes.Tag(key, value) for key, value in pairs] or None
        parts.append(shapes.UsageAllocation(whole_part, decimal_part, tags))
    from meterhouse.core.allocations import allocation_breach, tag_breach  # noqa: PLC0415 - few records have any
    from meterhouse.core.profile import NEWEST  # noqa: PLC0415 - the same

    breach = tag_breach(parts, NEWEST) or allocation_breach(parts, quantity, decimal, NEWEST)
    if breach is not None:
        raise InvalidRequestError(breach)
    return parts


def timestamp_of(moment: datetime) -> shapes.Timestamp:
    """A time as the wire has it: epoch seconds, whole or with up to six places."""
    check_time(moment)
    micros = micros_of_datetime(moment)
    seconds, rest = divmod(micros, SECOND)
    if not rest:
        return seconds
    return Raw(format(Decimal(micros).scaleb(-6).normalize(), "f").encode())
