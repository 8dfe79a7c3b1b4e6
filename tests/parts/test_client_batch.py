"""BatchMeterUsage for people: six groups, any number of records, one bad record among many, trouble of every kind."""

import json
from collections import Counter
from typing import Any

import pytest

from meterhouse.client.doubles import RecordedTransport, answer, error_answer
from meterhouse.client.errors import (
    AccessDeniedException,
    ConnectionLostError,
    CredentialsError,
    DeadlineExceededError,
    InvalidLicenseException,
    InvalidProductCodeException,
    InvalidRequestError,
    InvalidUsageDimensionException,
    RequestEntityTooLargeException,
    UnreadableAnswerError,
)
from meterhouse.client.outcomes import (
    Accepted,
    Conflicted,
    NotSubscribed,
    RecordsRejectedError,
    Refused,
    Replayed,
)
from meterhouse.client.records import BatchOnceResult, UsageAllocation
from meterhouse.client.settings import ClientOptions
from tests.unit.client_batches import AT_ONCE, NOON, groups, meter, used
from tests.unit.client_service import BAD, DumbService
from tests.unit.client_ways import WAYS, Way


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    """By threads, by tasks, by hand."""
    return WAYS[request.param]


# --- groups -----------------------------------------------------------------------------------------------------------


def test_each_record_is_in_the_group_that_says_what_became_of_it(way: Way) -> None:
    """Kept, repeated, in conflict, without subscription, broken here, broken there: six records, five groups."""
    calls = way(RecordedTransport(DumbService()))
    records = [
        used(1),
        used(1),
        used(1, quantity=2),
        used(2, account="999900000000"),
        used(3, quantity=-1),
        used(4, "bad-dimension"),
    ]
    result = meter(calls, records)
    kinds = [type(outcome) for outcome in result]
    assert kinds == [Accepted, Replayed, Conflicted, NotSubscribed, Refused, Refused]
    assert result.replayed[0].metering_record_id == result.accepted[0].metering_record_id
    assert isinstance(result.refused[0].reason, InvalidRequestError)
    assert isinstance(result.refused[1].reason, InvalidUsageDimensionException)
    assert result.rejected == tuple(result[place] for place in (2, 3, 4, 5))


def test_a_result_is_no_boolean(way: Way) -> None:
    """`if result:` is refused where it stands, whatever is in the result."""
    result = meter(way(RecordedTransport(DumbService())), [used(1)])
    with pytest.raises(TypeError, match="not true or false"):
        bool(result)
    with pytest.raises(TypeError, match="not true or false"):
        bool(BatchOnceResult((), (), None))


def test_raise_for_rejected_names_them_all(way: Way) -> None:
    """One error, a line for each record that will not be billed as things stand; none where all is well."""
    calls = way(RecordedTransport(DumbService()))
    result = meter(calls, [used(1), used(1, quantity=2), used(2, account="999900000000"), used(3, "bad-tag")])
    with pytest.raises(RecordsRejectedError) as raised:
        result.raise_for_rejected()
    lines = str(raised.value).splitlines()
    assert lines[0] == "RecordsRejected: 3 of 4 records were not accepted:"
    assert [line.split(": ")[1].split(",")[0] for line in lines[1:]] == ["conflicted", "not subscribed", "refused"]
    assert raised.value.rejected == result.rejected
    assert not raised.value.retryable
    meter(calls, [used(1), used(5)]).raise_for_rejected()


def test_no_records_send_nothing(way: Way) -> None:
    """An empty list is an empty result, and no request."""
    calls = way(RecordedTransport([]))
    assert len(meter(calls, [])) == 0


# --- what goes together -----------------------------------------------------------------------------------------------


def test_requests_hold_25_records_of_one_product(way: Way) -> None:
    """Records go 25 at a time, those of one product code together, and no more calls than that takes."""
    calls = way(RecordedTransport(DumbService()))
    records = [used(number, product_code=f"p{number % 2}") for number in range(60)]
    assert groups(meter(calls, records)) == {"accepted": 60}
    requests = [json.loads(request.body) for request in calls.transport.requests]
    assert sorted(len(request["UsageRecords"]) for request in requests) == [5, 5, 25, 25]
    accounts = {
        code: {
            record["CustomerAWSAccountId"]
            for request in requests
            if request["ProductCode"] == code
            for record in request["UsageRecords"]
        }
        for code in ("p0", "p1")
    }
    assert all(int(account) % 2 == 0 for account in accounts["p0"])
    assert all(int(account) % 2 == 1 for account in accounts["p1"])


def test_requests_stay_below_a_megabyte(way: Way) -> None:
    """Large records part company before their body reaches 1 MB; one that is larger alone is refused here."""
    parts = tuple(UsageAllocation(1, {"team": f"{number:0200}"}) for number in range(1000))
    large = [used(number, quantity=1000, allocations=parts) for number in range(9)]
    service = DumbService()
    assert groups(meter(way(RecordedTransport(service)), large)) == {"accepted": 9}
    assert service.sizes == [3, 3, 3]
    tags = {f"{number:0100}": "x" * 256 for number in range(3)}
    too_large = tuple(UsageAllocation(1, {**tags, "part": str(number)}) for number in range(1000))
    result = meter(way(RecordedTransport(DumbService())), [used(1, quantity=1000, allocations=too_large), used(2)])
    assert groups(result) == {"accepted": 1, "refused": 1}


def test_the_rate_is_kept_without_waiting_on_a_test_clock(way: Way) -> None:
    """100 requests at 10 a second, the first 10 at once, take 9 seconds of the clock."""
    calls = way(RecordedTransport(DumbService()))
    assert groups(meter(calls, [used(number) for number in range(2500)])) == {"accepted": 2500}
    assert calls.clock.seconds == pytest.approx(9.0)
    quick = way(RecordedTransport(DumbService()), options=AT_ONCE)
    meter(quick, [used(number) for number in range(2500)])
    assert quick.clock.seconds == 0


def test_records_of_one_key_go_in_the_order_given(way: Way) -> None:
    """The first of a key wins, though requests overtake each other: the later ones wait for it."""
    records = [used(number, quantity=quantity) for quantity in (1, 2, 1) for number in range(100)]
    result = meter(way(RecordedTransport(DumbService()), options=AT_ONCE), records)
    kinds = [type(outcome) for outcome in result]
    assert kinds == [Accepted] * 100 + [Conflicted] * 100 + [Replayed] * 100


def test_a_repeat_is_a_replay_also_where_the_product_calls_it_a_duplicate(way: Way) -> None:
    """Where identical repeats are answered as duplicates, one of this very call is still seen to be one."""
    calls = way(RecordedTransport(DumbService(repeats_conflict=True)))
    first = meter(calls, [used(1), used(1), used(1, quantity=2)])
    assert [type(outcome) for outcome in first] == [Accepted, Replayed, Conflicted]
    assert groups(meter(calls, [used(1)])) == {"conflicted": 1}


def test_a_record_needs_a_product_or_a_license(way: Way) -> None:
    """Without either it is refused here, and the others go."""
    license_arn = "arn:aws:license-manager::111122223333:license:l-0123456789abcdef0123456789abcdef"
    result = meter(
        way(RecordedTransport(DumbService())), [used(1), used(2, license_arn=license_arn)], product_code=None
    )
    assert [type(outcome) for outcome in result] == [Refused, Accepted]


# --- the bad one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names_places", [False, True])
def test_37_bad_records_among_10_000_are_found(way: Way, names_places: bool) -> None:
    """All others go through, each bad one has its reason, within 800 calls; fewer where the message names places."""
    kinds = list(BAD.items())
    bad = {137 + 263 * number: kinds[number % len(kinds)] for number in range(37)}
    records = [used(number, bad[number][1] if number in bad else "users") for number in range(10_000)]
    service = DumbService(names_places=names_places)
    calls = way(RecordedTransport(service))
    result = meter(calls, records)
    assert groups(result) == {"accepted": 9963, "refused": 37}
    found = {place: outcome.reason.code for place, outcome in enumerate(result) if isinstance(outcome, Refused)}
    assert found == {place: code for place, (code, _) in bad.items()}
    assert service.calls <= (480 if names_places else 800)
    assert result.requests == service.calls
    assert calls.clock.seconds == pytest.approx((service.calls - 10) / 10)


def test_bad_records_that_crowd_together_are_found_too(way: Way) -> None:
    """Where every record is bad, each is refused for its own reason, and hardly a call is spent beyond one each."""
    kinds = list(BAD.items())
    records = [used(number, kinds[number % len(kinds)][1]) for number in range(200)]
    service = DumbService()
    result = meter(way(RecordedTransport(service), options=AT_ONCE), records)
    assert groups(result) == {"refused": 200}
    assert [outcome.reason.code for outcome in result.refused] == [kinds[place % len(kinds)][0] for place in range(200)]
    assert service.calls <= 200 + 40


def test_a_record_is_refused_only_after_it_was_refused_alone(way: Way) -> None:
    """Whatever a message claims, nothing is taken on trust: here it always names the wrong record."""
    service = DumbService()

    def lying(request: Any) -> Any:
        given = service(request)
        count = len(json.loads(request.body)["UsageRecords"])
        if getattr(given, "status", 0) == 400 and count > 1:
            return error_answer("InvalidUsageDimensionException", "usageRecords.1.member: no, usageRecords.2.member")
        return given

    records = [used(number, "bad-dimension" if number == 20 else "users") for number in range(25)]
    result = meter(way(RecordedTransport(lying), options=AT_ONCE), records)
    assert [place for place, outcome in enumerate(result) if isinstance(outcome, Refused)] == [20]
    assert groups(result) == {"accepted": 24, "refused": 1}


def test_licenses_of_several_products_are_told_apart(way: Way) -> None:
    """Two products' licenses in one call condemn each other only until the client sees it; nobody is refused."""
    licenses = [f"arn:aws:license-manager::111122223333:license:l-{number:032x}" for number in range(40)]
    products = {license_arn: f"p{number % 2}" for number, license_arn in enumerate(licenses)}
    records = [
        used(number, dimension, license_arn=license_arn)
        for number, license_arn in enumerate(licenses)
        for dimension in ("users", "storage")
    ]
    for names_places in (False, True):
        service = DumbService(product_of_license=products, names_places=names_places)
        result = meter(way(RecordedTransport(service), options=AT_ONCE), records, product_code=None)
        assert groups(result) == {"accepted": 80}
        assert service.calls < 80


def test_a_bad_license_does_not_part_the_good_ones(way: Way) -> None:
    """One license that is refused is refused alone; the others still share their requests."""
    licenses = [f"arn:aws:license-manager::111122223333:license:l-{number:032x}" for number in range(100)]
    records = [
        used(number, "bad-license" if number == 7 else "users", license_arn=license_arn)
        for number, license_arn in enumerate(licenses)
    ]
    service = DumbService()
    result = meter(way(RecordedTransport(service), options=AT_ONCE), records, product_code=None)
    assert groups(result) == {"accepted": 99, "refused": 1}
    assert isinstance(result.refused[0].reason, InvalidLicenseException)
    assert service.calls <= 4 + 10


def test_a_body_that_the_service_finds_too_large_is_sent_in_parts(way: Way) -> None:
    """A bound of the service below ours costs requests, no record."""
    service = DumbService()

    def narrow(request: Any) -> Any:
        if len(json.loads(request.body)["UsageRecords"]) > 10:
            return error_answer("RequestEntityTooLargeException", status=413)
        return service(request)

    result = meter(way(RecordedTransport(narrow), options=AT_ONCE), [used(number) for number in range(50)])
    assert groups(result) == {"accepted": 50}


def test_a_record_too_large_alone_is_refused_with_that(way: Way) -> None:
    """413 for a single record is that record's refusal."""
    too_large = error_answer("RequestEntityTooLargeException", status=413)
    result = meter(way(RecordedTransport([too_large])), [used(1)])
    assert isinstance(result.refused[0].reason, RequestEntityTooLargeException)


# --- what is about no record ------------------------------------------------------------------------------------------


def test_a_product_code_that_is_refused_refuses_its_records_at_once(way: Way) -> None:
    """No record is looked for where the code is to blame; other products' records go through."""
    service = DumbService()

    def judging(request: Any) -> Any:
        if json.loads(request.body).get("ProductCode") == "wrong":
            return error_answer("InvalidProductCodeException")
        return service(request)

    records = [used(number, product_code="wrong" if number < 100 else None) for number in range(150)]
    calls = way(RecordedTransport(judging), options=ClientOptions(requests_per_second=None, concurrency=1))
    result = meter(calls, records)
    assert groups(result) == {"accepted": 50, "refused": 100}
    assert {type(outcome.reason) for outcome in result.refused} == {InvalidProductCodeException}
    assert len(calls.transport.requests) == 1 + 2


def test_a_product_code_off_its_pattern_is_refused_unsent(way: Way) -> None:
    """A code that cannot be one costs no request."""
    result = meter(way(RecordedTransport([])), [used(1), used(2)], product_code="k\u00e4se")
    assert groups(result) == {"refused": 2}
    assert all("productCode" in outcome.reason.message for outcome in result.refused)


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnrecognizedClientException", "DisabledApiException"])
def test_what_is_about_the_caller_ends_the_call(way: Way, code: str) -> None:
    """Nothing else would go through either: what is left is unsent, with the reason, after the calls under way."""
    calls = way(RecordedTransport(lambda _: error_answer(code, "no")))
    result = meter(calls, [used(number) for number in range(1000)])
    assert groups(result) == {"unsent": 1000}
    assert {outcome.reason.code for outcome in result.unsent} == {code}
    assert not any(outcome.may_be_kept for outcome in result.unsent)
    assert len(calls.transport.requests) <= 4


def test_what_was_accepted_before_the_end_stays_so(way: Way) -> None:
    """When access is withdrawn midway, what was answered before keeps its outcome."""
    service = DumbService()

    def withdrawn(request: Any) -> Any:
        return service(request) if service.calls < 2 else error_answer("AccessDeniedException")

    calls = way(RecordedTransport(withdrawn), options=ClientOptions(requests_per_second=None, concurrency=1))
    result = meter(calls, [used(number) for number in range(100)])
    assert groups(result) == {"accepted": 50, "unsent": 50}
    with pytest.raises(RecordsRejectedError) as raised:
        result.raise_for_rejected()
    assert raised.value.retryable
    assert isinstance(result.unsent[0].reason, AccessDeniedException)


def test_unprocessed_records_are_sent_again(way: Way) -> None:
    """What the service leaves unprocessed goes again after a wait, until it is settled."""
    service = DumbService()
    rounds = Counter[str]()

    def halting(request: Any) -> Any:
        records = json.loads(request.body)["UsageRecords"]
        late = [record for record in records if rounds[record["CustomerAWSAccountId"]] < 3]
        rounds.update(record["CustomerAWSAccountId"] for record in records)
        if late:
            return answer({"Results": [], "UnprocessedRecords": records})
        return service(request)

    calls = way(RecordedTransport(halting), options=AT_ONCE)
    assert groups(meter(calls, [used(number) for number in range(25)])) == {"accepted": 25}
    assert len(calls.transport.requests) == 4
    assert 0 < calls.clock.seconds < 1 + 2 + 4


def test_a_record_that_is_never_taken_is_unsent(way: Way) -> None:
    """After the rounds that were allowed, with the last reason; and a lost answer is remembered."""

    def never(request: Any) -> Any:
        return answer({"Results": [], "UnprocessedRecords": json.loads(request.body)["UsageRecords"]})

    options = ClientOptions(requests_per_second=None, resend_rounds=2)
    calls = way(RecordedTransport(never), options=options)
    result = meter(calls, [used(1)])
    assert isinstance(result.unsent[0].reason, UnreadableAnswerError)
    assert not result.unsent[0].may_be_kept
    assert len(calls.transport.requests) == 3
    lost = meter(way(RecordedTransport(lambda _: ConnectionLostError("lost")), options=options), [used(1)])
    assert isinstance(lost.unsent[0].reason, ConnectionLostError)
    assert lost.unsent[0].may_be_kept


def test_an_answer_that_leaves_a_record_out_is_not_the_end_of_it(way: Way) -> None:
    """A record without a result is sent again; results of records that nobody sent are nobody's."""
    service: Any = DumbService()

    def forgetful(request: Any) -> Any:
        given = service(request)
        said = json.loads(given.body)
        if service.calls == 1:
            strange = {"UsageRecord": {"Timestamp": 1, "Dimension": "x"}, "Status": "Success", "MeteringRecordId": "y"}
            said["Results"] = [*said["Results"][1:], strange]
        return answer(said)

    result = meter(way(RecordedTransport(forgetful), options=AT_ONCE), [used(number) for number in range(5)])
    assert groups(result) == {"accepted": 5}


def test_results_are_told_apart_by_what_they_are_about(way: Way) -> None:
    """In whatever order and form the echoes come, each record gets its own status."""
    service: Any = DumbService()

    def shuffled(request: Any) -> Any:
        said = json.loads(service(request).body)
        said["Results"].reverse()
        for result in said["Results"]:
            result["UsageRecord"]["Timestamp"] = "2026-11-21T12:00:00Z"
            result["UsageRecord"]["QuantityAsDecimal"] = f"{result['UsageRecord'].pop('Quantity')}.00"
        return answer(said)

    records = [used(1), used(2, account="999900000000"), used(3), used(4, account="999900000001")]
    result = meter(way(RecordedTransport(shuffled)), records)
    assert [type(outcome) for outcome in result] == [Accepted, NotSubscribed, Accepted, NotSubscribed]


def test_a_status_that_nobody_knows_is_no_success(way: Way) -> None:
    """A word of later years does not count as accepted; neither does a success without an id."""
    for status in ({"Status": "Postponed", "MeteringRecordId": "x"}, {"Status": "Success"}, {}):

        def strange(request: Any, status: Any = status) -> Any:
            records = json.loads(request.body)["UsageRecords"]
            return answer({"Results": [{"UsageRecord": record, **status} for record in records]})

        result = meter(way(RecordedTransport(strange)), [used(1)])
        assert groups(result) == {"unsent": 1}
        assert result.unsent[0].may_be_kept


def test_a_deadline_leaves_the_rest_unsent(way: Way) -> None:
    """When the time is over, what was answered keeps its outcome and the rest is unsent."""
    calls = way(RecordedTransport(DumbService()))
    result = meter(calls, [used(number) for number in range(1000)], timeout_seconds=2)
    assert groups(result)["accepted"] in range(25 * 28, 25 * 32)
    assert {type(outcome.reason) for outcome in result.unsent} == {DeadlineExceededError}
    never = answer({"Results": [], "UnprocessedRecords": [{"Timestamp": NOON.timestamp(), "Dimension": "users"}]})
    waiting = meter(way(RecordedTransport(lambda _: never)), [used(1)], timeout_seconds=0.001)
    assert groups(waiting) == {"unsent": 1}


def test_nothing_to_sign_with_is_said_before_anything_is_sent(way: Way) -> None:
    """Missing credentials are no record's outcome."""

    class _None:
        def current(self, now: Any) -> Any:
            yield from ()
            raise CredentialsError("none")

    calls = way(RecordedTransport([]), credentials=_None())
    with pytest.raises(CredentialsError):
        calls.batch_meter_usage([used(1)], product_code="p")


def test_the_like_of_an_unsent_record_does_not_overtake_it(way: Way) -> None:
    """Were the later record of a key sent, the earlier one would lose its hour to it."""
    service = DumbService()

    def losing(request: Any) -> Any:
        records = json.loads(request.body)["UsageRecords"]
        if any(record["Quantity"] == 1 for record in records):
            return error_answer("ServiceUnavailable", status=503)
        return service(request)

    result = meter(way(RecordedTransport(losing), options=AT_ONCE), [used(1, quantity=1), used(1, quantity=2)])
    assert groups(result) == {"unsent": 2}
    assert not service.kept
