"""Agreements and registration tokens: states, periods, names of customers."""

import re
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, convert

from meterhouse.core.catalog import Agreement, AgreementState
from meterhouse.core.moment import HOUR, datetime_of
from meterhouse.core.shapes import LICENSE_ARN_PATTERN
from meterhouse.service.agreements import edited_agreement, new_agreement, new_token
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import AgreementPatch, AgreementRow, TokenRow
from tests.unit.marketplace import BUYER, NOW, OTHER_BUYER, PRODUCT, SELLER, Place

CONFLICT, INVALID, NOT_FOUND = RefusalKind.CONFLICT, RefusalKind.INVALID, RefusalKind.NOT_FOUND
PENDING, ACTIVE, UNSUBSCRIBING, ENDED = AgreementState
ORDER = tuple(AgreementState)
LICENSE = "arn:aws:license-manager::111122223333:license:l-0123456789abcdef0123456789abcdef"

PAST, SOON, LATER = NOW - 10 * HOUR, NOW + 10 * HOUR, NOW + 20 * HOUR


def at(micros: int) -> datetime:
    """An instant as a body carries it, once decoded."""
    return datetime_of(micros)


@pytest.fixture
def place() -> Place:
    """A place where a legacy, a concurrent and another seller's product are listed."""
    place = Place()
    place.load(
        PRODUCT
        + PRODUCT.replace("pipeline", "concurrent") + 'integration = "concurrent"'
        + PRODUCT.replace("pipeline", "second")
        + PRODUCT.replace("pipeline", "foreign").replace(SELLER, "999988887777")
    )  # fmt: skip
    return place


def made(place: Place, **members: Any) -> Agreement:
    """What `POST /agreements` makes of these members."""
    row = convert({"product": "pipeline", "buyer": BUYER} | members, AgreementRow)
    return place.keep(new_agreement(row, place.catalog, place.sources))


def edited(place: Place, agreement: Agreement, **members: Any) -> Agreement:
    """The agreement after a `PATCH`."""
    patch = convert(members, AgreementPatch)
    return place.keep(edited_agreement(agreement.id, patch, place.catalog, place.sources))


def test_what_is_absent_is_made_up(place: Place) -> None:
    """Ids, license and customer identifier are made up, and the agreement begins now and does not end."""
    agreement = made(place)
    assert agreement.id.startswith("agmt-")
    assert agreement.license_arn.startswith(f"arn:aws:license-manager::{SELLER}:license:l-")
    assert re.match(LICENSE_ARN_PATTERN, agreement.license_arn)
    assert agreement.customer_identifier is not None
    assert len(agreement.customer_identifier) == 11
    assert (agreement.start_micros, agreement.end_micros) == (NOW, None)
    assert agreement.state(NOW) is ACTIVE


def test_what_is_given_is_taken(place: Place) -> None:
    """Ids, license, identifier and dates can be known beforehand."""
    agreement = made(place, id="agmt-1", license_arn=LICENSE, customer_identifier="X01", start=at(PAST), end=at(SOON))
    assert agreement == Agreement("agmt-1", "pipeline", BUYER, LICENSE, "X01", PAST, SOON)


@pytest.mark.parametrize(
    ("members", "start", "end", "state"),
    [
        ({"status": "pending"}, NOW, None, PENDING),
        ({"status": "active"}, NOW, None, ACTIVE),
        ({"status": "active", "start": at(SOON)}, SOON, None, PENDING),
        ({"status": "unsubscribing"}, NOW, NOW, UNSUBSCRIBING),
        ({"status": "unsubscribing", "start": at(PAST)}, PAST, NOW, UNSUBSCRIBING),
        ({"status": "unsubscribing", "start": at(PAST), "end": at(SOON)}, PAST, SOON, ACTIVE),
        ({"status": "ended"}, NOW, NOW, ENDED),
        ({"status": "ended", "start": at(SOON)}, SOON, SOON, ENDED),
        ({"status": "ended", "start": at(PAST), "end": at(SOON)}, PAST, SOON, ENDED),
        ({"end": at(PAST)}, PAST, PAST, ENDED),
        ({"end": at(NOW - HOUR // 2)}, NOW - HOUR // 2, NOW - HOUR // 2, UNSUBSCRIBING),
        ({"start": at(PAST), "end": at(PAST)}, PAST, PAST, ENDED),
    ],
)
def test_a_status_becomes_dates(
    place: Place, members: dict[str, Any], start: int, end: int | None, state: AgreementState
) -> None:
    """A status is turned into dates when the agreement is made; from then on the state follows from them."""
    agreement = made(place, **members)
    assert (agreement.start_micros, agreement.end_micros, agreement.state(NOW)) == (start, end, state)


def in_state(place: Place, state: AgreementState) -> Agreement:
    """An agreement that is, now, in a state."""
    agreement = made(place, start=at(PAST), status=state)
    assert agreement.state(NOW) is state
    return agreement


@pytest.mark.parametrize(
    ("state", "members", "outcome"),
    [
        (PENDING, {"status": "pending"}, PENDING),
        (PENDING, {"status": "active"}, ACTIVE),
        (PENDING, {"status": "unsubscribing"}, UNSUBSCRIBING),
        (PENDING, {"status": "ended"}, ENDED),
        (ACTIVE, {"status": "pending"}, "step back"),
        (ACTIVE, {"status": "active"}, ACTIVE),
        (ACTIVE, {"status": "unsubscribing"}, UNSUBSCRIBING),
        (ACTIVE, {"status": "ended"}, ENDED),
        (ACTIVE, {"end": at(SOON)}, ACTIVE),
        (ACTIVE, {"end": None}, ACTIVE),
        (ACTIVE, {"end": at(NOW)}, UNSUBSCRIBING),
        (ACTIVE, {"end": at(NOW - 2 * HOUR)}, ENDED),
        (ACTIVE, {"end": at(PAST - HOUR)}, "is before the start"),
        (ACTIVE, {"start": at(SOON)}, "step back"),
        (ACTIVE, {"start": at(PAST - HOUR)}, ACTIVE),
        (UNSUBSCRIBING, {"status": "pending"}, "step back"),
        (UNSUBSCRIBING, {"status": "active"}, "step back"),
        (UNSUBSCRIBING, {"status": "unsubscribing"}, UNSUBSCRIBING),
        (UNSUBSCRIBING, {"status": "ended"}, ENDED),
        (UNSUBSCRIBING, {"end": at(SOON)}, "step back"),
        (UNSUBSCRIBING, {"end": None}, "step back"),
        (UNSUBSCRIBING, {"end": at(NOW - HOUR // 2)}, UNSUBSCRIBING),
        (ENDED, {"status": "pending"}, "step back"),
        (ENDED, {"status": "active"}, "step back"),
        (ENDED, {"status": "unsubscribing"}, "step back"),
        (ENDED, {"status": "ended"}, ENDED),
        (ENDED, {"end": at(SOON)}, "never revived"),
        (ENDED, {"end": None}, "never revived"),
        (ENDED, {"start": at(PAST - HOUR)}, "never revived"),
        (ENDED, {"end": at(SOON), "status": "active"}, "step back"),
    ],
)
def test_a_state_takes_no_step_back(
    place: Place, state: AgreementState, members: dict[str, Any], outcome: AgreementState | str
) -> None:
    """From each state, what each wish leads to: a state that does not come before it, or a refusal."""
    agreement = in_state(place, state)
    if isinstance(outcome, AgreementState):
        assert edited(place, agreement, **members).state(NOW) is outcome
        return
    with pytest.raises(Refused, match=outcome) as refused:
        edited(place, agreement, **members)
    assert refused.value.kind is (INVALID if outcome == "is before the start" else CONFLICT)
    assert place.catalog.agreements[agreement.id] == agreement


def test_activation_keeps_the_start(place: Place) -> None:
    """A pending agreement that is activated began when it was said to."""
    agreement = made(place, status="pending", start=at(PAST))
    assert edited(place, agreement, status="active").start_micros == PAST


def test_an_agreement_that_ends_by_its_date_is_not_revived_either(place: Place) -> None:
    """Whether calls or the calendar have ended it makes no difference."""
    agreement = made(place, start=at(PAST), end=at(NOW - HOUR - 1))
    with pytest.raises(Refused, match="never revived"):
        edited(place, agreement, end=at(SOON))


def test_unsubscribing_brings_a_later_end_forward(place: Place) -> None:
    """The last hour begins now, whatever end was agreed; one that has passed stays."""
    assert edited(place, made(place, end=at(LATER)), status="unsubscribing").end_micros == NOW
    gone = made(place, start=at(PAST), end=at(NOW - HOUR // 2))
    assert edited(place, gone, status="unsubscribing").end_micros == NOW - HOUR // 2


def test_what_has_not_begun_has_no_last_hour(place: Place) -> None:
    """It can be ended, not unsubscribed; asked for at the beginning it is invalid, later a conflict."""
    with pytest.raises(Refused, match="begins only at") as refused:
        made(place, start=at(SOON), status="unsubscribing")
    assert (refused.value.kind, refused.value.field) == (INVALID, "status")
    with pytest.raises(Refused, match="begins only at") as refused:
        edited(place, made(place, start=at(SOON)), status="unsubscribing")
    assert (refused.value.kind, refused.value.field) == (CONFLICT, "status")
    ended = edited(place, made(place, start=at(SOON)), status="ended")
    assert (ended.state(NOW), ended.end_micros) == (ENDED, SOON)


@given(
    statuses=st.lists(st.sampled_from([*ORDER, None]), max_size=5),
    ends=st.lists(st.sampled_from([PAST, NOW - HOUR // 2, NOW, SOON, LATER, None, UNSET]), min_size=5, max_size=5),
)
def test_whatever_is_asked_the_state_never_goes_back(statuses: list[AgreementState | None], ends: list[Any]) -> None:
    """Any sequence of patches leads through the states in their one order, and no period ends before it begins."""
    place = Place()
    place.load(PRODUCT)
    agreement = made(place, start=at(PAST), status="pending")
    for status, end in zip(statuses, ends, strict=False):
        members: dict[str, Any] = {} if status is None else {"status": status}
        members |= {} if end is UNSET else {"end": None if end is None else at(end)}
        try:
            after = edited(place, agreement, **members)
        except Refused:
            continue
        assert ORDER.index(after.state(NOW)) >= ORDER.index(agreement.state(NOW))
        assert after.end_micros is None or after.end_micros >= after.start_micros
        assert agreement.state(NOW) is not ENDED or after == agreement
        agreement = after


def test_it_is_the_sellers_clock_that_counts() -> None:
    """Starts and patches are dated by the clock of the product's seller."""
    clocks = {SELLER: NOW + HOUR, BUYER: NOW - HOUR}
    place = Place(lambda account: clocks[account])
    place.load(PRODUCT)
    agreement = made(place)
    assert agreement.start_micros == NOW + HOUR
    assert edited(place, agreement, status="unsubscribing").end_micros == NOW + HOUR


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "agmt-other"),
        ("license_arn", LICENSE),
        ("customer_identifier", "X99"),
        ("product", "second"),
        ("buyer", OTHER_BUYER),
    ],
)
def test_what_names_an_agreement_is_fixed(place: Place, field: str, value: str) -> None:
    """It may be repeated, not changed."""
    agreement = made(place)
    assert edited(place, agreement, **{field: getattr(agreement, field)}) == agreement
    with pytest.raises(Refused) as refused:
        edited(place, agreement, **{field: value})
    assert (refused.value.kind, refused.value.field) == (CONFLICT, field)


@pytest.mark.parametrize(
    ("members", "kind", "field"),
    [
        ({"product": "unknown"}, INVALID, "product"),
        ({"id": "agmt-1"}, CONFLICT, "id"),
        ({"license_arn": LICENSE}, CONFLICT, "license_arn"),
        ({"buyer": OTHER_BUYER, "customer_identifier": "X01"}, CONFLICT, "customer_identifier"),
        ({"customer_identifier": "X02"}, CONFLICT, "customer_identifier"),
        ({"product": "second", "customer_identifier": "X02"}, CONFLICT, "customer_identifier"),
        ({"product": "concurrent", "customer_identifier": "X01"}, INVALID, "customer_identifier"),
        ({"start": at(SOON), "end": at(NOW)}, INVALID, "end"),
    ],
)
def test_a_new_agreement_is_refused(place: Place, members: dict[str, Any], kind: RefusalKind, field: str) -> None:
    """Names are unique and agree with each other: one identifier per seller and buyer, and one buyer per identifier."""
    made(place, id="agmt-1", license_arn=LICENSE, customer_identifier="X01")
    with pytest.raises(Refused) as refused:
        made(place, **members)
    assert (refused.value.kind, refused.value.field) == (kind, field)


def test_a_seller_has_one_name_for_a_buyer(place: Place) -> None:
    """Several agreements of one seller and buyer share it; another seller has another."""
    first = made(place)
    second = made(place, product="second")
    repeated = made(place, customer_identifier=first.customer_identifier)
    foreign = made(place, product="foreign")
    other = made(place, buyer=OTHER_BUYER)
    assert first.customer_identifier == second.customer_identifier == repeated.customer_identifier
    assert len({first.customer_identifier, foreign.customer_identifier, other.customer_identifier}) == 3


def test_two_sellers_may_use_the_same_identifier(place: Place) -> None:
    """An identifier is one seller's."""
    made(place, customer_identifier="X01")
    assert made(place, product="foreign", buyer=OTHER_BUYER, customer_identifier="X01").customer_identifier == "X01"


def test_a_concurrent_agreement_has_no_customer_identifier(place: Place) -> None:
    """The license names the customer there."""
    assert made(place, product="concurrent").customer_identifier is None


def test_an_unknown_agreement_is_not_found(place: Place) -> None:
    """A patch makes no agreement."""
    with pytest.raises(Refused) as refused:
        edited_agreement("agmt-9", AgreementPatch(), place.catalog, place.sources)
    assert refused.value.kind is NOT_FOUND


@pytest.mark.parametrize("moment", [datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)])
def test_instants_stay_within_the_calendar(place: Place, moment: datetime) -> None:
    """The first and last second of the calendar are taken, what lies beyond them in UTC is not."""
    assert made(place, start=moment).start_micros
    beyond = moment.replace(tzinfo=timezone(timedelta(hours=-1 if moment.year > 1 else 1)))
    with pytest.raises(Refused, match="within the years"):
        made(place, start=beyond)


def test_a_token_is_kept_as_a_hash_and_shown_once(place: Place) -> None:
    """A random token is long, and what is kept of it does not give it away."""
    agreement = made(place)
    issued = place.keep(new_token(TokenRow(agreement=agreement.id), place.catalog, place.sources))
    (kept,) = place.catalog.tokens.values()
    assert kept.token_sha256 == sha256(issued.token.encode()).hexdigest()
    assert (kept.agreement, kept.issued_micros) == (agreement.id, NOW)
    assert len(issued.token) >= 52
    assert issued.token not in repr(kept)
    assert issued.token not in repr(issued)


def test_a_token_can_be_known_beforehand(place: Place) -> None:
    """And its issue lie in the past."""
    agreement = made(place)
    row = TokenRow(agreement=agreement.id, token="known", issued=at(PAST))
    issued = place.keep(new_token(row, place.catalog, place.sources))
    assert (issued.token, issued.issued_micros) == ("known", PAST)


@pytest.mark.parametrize(
    ("members", "kind", "field"),
    [({"agreement": "agmt-9"}, INVALID, "agreement"), ({"token": "known"}, CONFLICT, "token")],
)
def test_a_new_token_is_refused(place: Place, members: dict[str, str], kind: RefusalKind, field: str) -> None:
    """A token belongs to an agreement, and to one only; the sentence does not repeat it."""
    agreement = made(place)
    place.keep(new_token(TokenRow(agreement=agreement.id, token="known"), place.catalog, place.sources))
    row = convert({"agreement": agreement.id, "token": "other"} | members, TokenRow)
    with pytest.raises(Refused) as refused:
        new_token(row, place.catalog, place.sources)
    assert (refused.value.kind, refused.value.field) == (kind, field)
    assert "known" not in str(refused.value)
