"""What can be said: records that refuse a program's mistakes as it makes them, and the rules that judge the rest."""

import pickle
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.client.client import MeteringClient
from meterhouse.client.doubles import ManualClock, RecordedTransport
from meterhouse.client.errors import InvalidRequestError
from meterhouse.client.records import RecordStatus, UsageAllocation, UsageRecord
from meterhouse.client.wording import encode, said_of
from meterhouse.core.quantity import micros_of
from meterhouse.core.shapes import BatchMeterUsageRequest
from meterhouse.core.usage import micros_of as micros_of_time
from meterhouse.wire.codec import decode
from tests.unit.client_ways import KEYS

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def used(**more: Any) -> UsageRecord:
    """A record that nothing is wrong with, but for what is given."""
    usual = {"timestamp": NOON, "dimension": "users", "quantity": 1, "customer_aws_account_id": "444455556666"}
    return UsageRecord(**{**usual, **more})


# --- mistakes of a program --------------------------------------------------------------------------------------------

MISTAKES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"quantity": 0.1}, TypeError, r"floats are not exact .* give an int, or Decimal\('0\.1'\)"),
    ({"quantity": 1.0}, TypeError, "floats are not exact"),
    ({"quantity": True}, TypeError, "an int or a Decimal, not bool"),
    ({"quantity": "1"}, TypeError, "an int or a Decimal, not str"),
    ({"quantity": None}, TypeError, "an int or a Decimal, not NoneType"),
    ({"quantity": Decimal("NaN")}, ValueError, "NaN is none"),
    ({"quantity": Decimal("Infinity")}, ValueError, "Infinity is none"),
    ({"timestamp": datetime(2026, 11, 21, 12)}, ValueError, "no time zone"),  # noqa: DTZ001 - the mistake itself
    ({"timestamp": 1_795_219_200}, TypeError, "a datetime, not int"),
    ({"timestamp": "2026-11-21T12:00:00Z"}, TypeError, "a datetime, not str"),
]


@pytest.mark.parametrize(("wrong", "error", "says"), MISTAKES)
def test_a_mistake_is_refused_where_it_is_made(wrong: dict[str, Any], error: type[Exception], says: str) -> None:
    """A float and a naive time never become a record, and the message says what to write instead."""
    with pytest.raises(error, match=says):
        used(**wrong)


class _Nowhere(tzinfo):
    def utcoffset(self, moment: datetime | None) -> None:
        return None

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        return "nowhere"


def test_a_zone_that_knows_no_offset_is_none() -> None:
    """A tzinfo alone does not make a time aware."""
    with pytest.raises(ValueError, match="no time zone"):
        used(timestamp=NOON.replace(tzinfo=_Nowhere()))


def test_an_allocation_refuses_the_same() -> None:
    """Floats are as inexact in parts."""
    with pytest.raises(TypeError, match="floats are not exact"):
        UsageAllocation(0.5)  # type: ignore[arg-type]  # the mistake itself


def test_records_are_frozen_values() -> None:
    """Equal by what they say, usable as keys, not to be changed, and fit to be sent between programs."""
    one = used(allocations=[UsageAllocation(1, {"team": "a"})])
    assert one == used(allocations=(UsageAllocation(1, (("team", "a"),)),))
    assert {one: 1}[pickle.loads(pickle.dumps(one))] == 1  # noqa: S301 - our own bytes
    with pytest.raises(AttributeError):
        one.quantity = 2  # type: ignore[misc]  # that it cannot be done is what is tested


# --- what the API's rules refuse --------------------------------------------------------------------------------------

TAGS: dict[str, str] = {f"tag{number}": "x" for number in range(6)}
BREACHES: list[tuple[dict[str, Any], str]] = [
    ({"quantity": -1}, "not within 0 and 2147483647"),
    ({"quantity": 2**31}, "as a Decimal it may be up to"),
    ({"quantity": Decimal(-1)}, "not within 0 and 9999999999.999999"),
    ({"quantity": Decimal("0.0000001")}, "more than 6 places"),
    ({"quantity": Decimal(10_000_000_000)}, "not within 0"),
    ({"dimension": ""}, "'usageRecords.1.member.dimension'.*greater than or equal to 1"),
    ({"dimension": "d" * 256}, "'usageRecords.1.member.dimension'.*less than or equal to 255"),
    ({"dimension": 7}, "must be a string"),
    ({"customer_aws_account_id": "x", "dimension": ""}, "3 validation errors detected"),
    ({"customer_aws_account_id": None}, "here is neither"),
    ({"customer_aws_account_id": None, "customer_identifier": ""}, "here is neither"),
    ({"customer_identifier": "X01"}, "here is both"),
    ({"license_arn": "agmt-1"}, "not the ARN of a license"),
    ({"allocations": [UsageAllocation(2)]}, "add up to 2, the quantity is 1"),
    ({"allocations": [UsageAllocation(Decimal(1))]}, "decimal, its record's quantity is whole"),
    ({"allocations": [UsageAllocation(1, TAGS)]}, "6 tags"),
    ({"allocations": [UsageAllocation(1, {"aws:x": "y"})]}, "beginning with aws:"),
    ({"allocations": [UsageAllocation(1, (("a", "1"), ("a", "2")))]}, "given twice"),
    ({"allocations": [UsageAllocation(0), UsageAllocation(1)]}, "the same set of tags"),
]


@pytest.mark.parametrize(("wrong", "says"), BREACHES)
def test_a_breach_is_said_in_the_services_words(wrong: dict[str, Any], says: str) -> None:
    """What the service would refuse without knowing the catalog is refused here, twice in the same words."""
    for _ in range(2):
        with pytest.raises(InvalidRequestError, match=says):
            said_of(used(**wrong))


def test_check_says_what_is_wrong_without_sending() -> None:
    """Each record's problem by its place, the time window too; and nothing goes out."""
    clock = ManualClock(int(NOON.timestamp()) * 1_000_000)
    client = MeteringClient(
        region="us-east-1", endpoint_url="http://a", credentials=KEYS, transport=RecordedTransport([]), clock=clock
    )
    records = [
        used(),
        used(quantity=-1),
        used(timestamp=NOON - timedelta(hours=24)),
        used(timestamp=NOON - timedelta(hours=24) + timedelta(microseconds=1)),
        used(timestamp=NOON + timedelta(minutes=6)),
        used(product_code="p"),
    ]
    found = client.check(records, product_code="p")
    assert [(problem.place, problem.record) for problem in found] == [(place, records[place]) for place in (1, 2, 4)]
    assert "ago" in found[1].reason
    assert [problem.place for problem in client.check(records)] == [0, 1, 2, 3, 4]


# --- what is sent -----------------------------------------------------------------------------------------------------

_accounts = st.text("0123456789", min_size=1, max_size=12)
_quantities = st.integers(0, 2**31 - 1) | st.decimals(0, 9_999_999_999, places=6) | st.decimals(0, 100, places=2)
_zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), ZoneInfo("America/New_York")])
_times = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=_zones, allow_imaginary=False)  # noqa: DTZ001 - bounds are naive by Hypothesis's wish


@given(moment=_times, quantity=_quantities, account=_accounts, dimension=st.text(min_size=1, max_size=50))
def test_what_is_sent_is_what_was_said(moment: datetime, quantity: int | Decimal, account: str, dimension: str) -> None:
    """Time to the microsecond, quantity by value and names by character arrive as they were said, whatever they are."""
    record = used(timestamp=moment, quantity=quantity, customer_aws_account_id=account, dimension=dimension)
    try:
        body = b'{"UsageRecords":[%b]}' % encode(said_of(record))
    except (InvalidRequestError, UnicodeEncodeError):
        assert any("\ud800" <= character <= "\udfff" for character in dimension)
        return
    (heard,) = decode(body, BatchMeterUsageRequest).usage_records
    assert micros_of_time(heard.timestamp) == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert micros_of(heard.quantity, heard.quantity_as_decimal) == int(Decimal(quantity) * 1_000_000)
    assert (heard.quantity is None) == isinstance(quantity, Decimal)
    assert (heard.customer_aws_account_id, heard.dimension) == (account, dimension)


FORMS = [
    (Decimal("17.50"), '"QuantityAsDecimal":"17.50"'),
    (Decimal("1E+2"), '"QuantityAsDecimal":"100"'),
    (Decimal("1.50000000"), '"QuantityAsDecimal":"1.5"'),
    (Decimal("0.000001"), '"QuantityAsDecimal":"0.000001"'),
    (Decimal("0E-9"), '"QuantityAsDecimal":"0"'),
    (17, '"Quantity":17'),
    (0, '"Quantity":0'),
]


@pytest.mark.parametrize(("quantity", "form"), FORMS)
def test_a_quantity_keeps_its_kind(quantity: int | Decimal, form: str) -> None:
    """An int is the integer member, a Decimal the decimal one, in plain digits."""
    assert form in encode(said_of(used(quantity=quantity))).decode()


def test_an_unknown_status_is_no_success() -> None:
    """A word of later years is read, and is none of those known."""
    assert RecordStatus("Postponed") is RecordStatus.UNKNOWN
    assert [status.value for status in RecordStatus][:3] == ["Success", "CustomerNotSubscribed", "DuplicateRecord"]


def test_what_is_known_to_fit_is_forgotten_in_time() -> None:
    """However many customers there are, memory is bounded."""
    from meterhouse.client import wording

    wording._FITTING.clear()
    for number in range(1000):
        said_of(used(customer_aws_account_id=f"{number}"))
    assert 0 < len(wording._FITTING) <= wording._FITTING_LIMIT
    wording._FITTING.update((str(number),) for number in range(wording._FITTING_LIMIT))
    said_of(used(customer_aws_account_id="1000"))
    assert len(wording._FITTING) == 1
    assert msgspec.json.decode(encode(said_of(used())))["CustomerAWSAccountId"] == "444455556666"
