"""Strangers judge the codec: botocore writes what we read and reads what we write, and a reader made of its model
alone must come to the same end as ours.
"""

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from meterhouse.core.moment import datetime_of, micros_of_datetime, micros_of_rfc3339
from meterhouse.core.outcome import STATUS_OF_OUTCOME, Fault, FaultCode
from meterhouse.core.shapes import (
    Answer,
    BatchMeterUsageRequest,
    BatchMeterUsageResult,
    Metadata,
    MeterUsageRequest,
    MeterUsageResult,
    RegisterUsageRequest,
    RegisterUsageResult,
    ResolveCustomerRequest,
    ResolveCustomerResult,
    Shape,
    Tag,
    Timestamp,
    UsageAllocation,
    UsageRecord,
    UsageRecordResult,
    wire_name,
)
from meterhouse.core.usage import micros_of, timestamp_of
from meterhouse.wire.codec import decode, encode
from meterhouse.wire.faults import body_of, status_of
from tests.parity.model_reader import NoObject, read
from tests.unit.json_bodies import BODIES

MODEL: Final[dict[str, Any]] = Loader().load_service_model("meteringmarketplace", "service-2")
SERVICE: Final = ServiceModel(MODEL)

REQUESTS: Final[dict[str, type[Shape]]] = {
    "BatchMeterUsage": BatchMeterUsageRequest,
    "MeterUsage": MeterUsageRequest,
    "RegisterUsage": RegisterUsageRequest,
    "ResolveCustomer": ResolveCustomerRequest,
}
TIMES: Final = frozenset({"Timestamp", "PublicKeyRotationTimestamp"})

operations: Final = st.sampled_from(sorted(REQUESTS))


def plain(said: object) -> object:
    """One of our structs as wire names and plain values; timestamps in microseconds, absent members left out."""
    if isinstance(said, Struct):
        members = {wire_name(name): value for name, value in structs.asdict(said).items() if value is not None}
        return {name: micros_of(value) if name in TIMES else plain(value) for name, value in members.items()}
    return [plain(member) for member in said] if isinstance(said, list) else said


def timed(said: object) -> object:
    """What botocore was given or gave, its datetimes in microseconds."""
    if isinstance(said, datetime):
        return micros_of_datetime(said)
    if isinstance(said, dict):
        return {name: timed(value) for name, value in said.items()}
    return [timed(member) for member in said] if isinstance(said, list) else said


# --- botocore writes, we read -----------------------------------------------------------------------------------------

YEARS: Final = (micros_of_rfc3339("1900-01-01T00:00:00Z"), micros_of_rfc3339("2200-01-01T00:00:00Z"))
"""Beyond them a double has no microseconds left, and botocore reads times as doubles."""
moments: Final = st.integers(*YEARS).map(datetime_of)
texts: Final = st.text(min_size=1, max_size=20)
codes: Final = st.from_regex(r"[-a-zA-Z0-9/=:_.@]{1,20}", fullmatch=True)
decimals: Final = st.from_regex(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?", fullmatch=True)
numbers: Final = st.integers(0, 2**31 - 1)


tags: Final = st.lists(st.fixed_dictionaries({"Key": texts, "Value": texts}), min_size=1, max_size=3)
allocations: Final = st.lists(
    st.fixed_dictionaries(
        {}, optional={"AllocatedUsageQuantity": numbers, "AllocatedUsageQuantityAsDecimal": decimals, "Tags": tags}
    ),
    min_size=1,
    max_size=3,
)

PARAMETERS: Final[dict[str, st.SearchStrategy[dict[str, Any]]]] = {
    "BatchMeterUsage": st.fixed_dictionaries(
        {
            "UsageRecords": st.lists(
                st.fixed_dictionaries(
                    {"Timestamp": moments, "Dimension": texts},
                    optional={
                        "CustomerIdentifier": texts,
                        "CustomerAWSAccountId": st.from_regex("[0-9]{12}", fullmatch=True),
                        "LicenseArn": texts,
                        "Quantity": numbers,
                        "QuantityAsDecimal": decimals,
                        "UsageAllocations": allocations,
                    },
                ),
                max_size=4,
            )
        },
        optional={"ProductCode": codes},
    ),
    "MeterUsage": st.fixed_dictionaries(
        {"ProductCode": codes, "Timestamp": moments, "UsageDimension": texts},
        optional={
            "UsageQuantity": numbers,
            "UsageQuantityAsDecimal": decimals,
            "DryRun": st.booleans(),
            "UsageAllocations": allocations,
            "ClientToken": texts,
        },
    ),
    "RegisterUsage": st.fixed_dictionaries(
        {"ProductCode": codes, "PublicKeyVersion": st.integers(1, 2**63 - 1)}, optional={"Nonce": st.text(max_size=20)}
    ),
    "ResolveCustomer": st.fixed_dictionaries({"RegistrationToken": texts}),
}


@given(st.data())
def test_what_botocore_writes_we_read_as_it_was_meant(data: st.DataObject) -> None:
    """Whatever valid parameters botocore serialises, ours decodes to equal values, to the microsecond."""
    name = data.draw(operations)
    parameters = data.draw(PARAMETERS[name])
    serializer = create_serializer("json")
    request = serializer.serialize_to_request(parameters, SERVICE.operation_model(name))
    assert plain(decode(request["body"], REQUESTS[name])) == timed(parameters)


# --- we write, botocore reads -----------------------------------------------------------------------------------------

instants: Final = moments.map(lambda moment: timestamp_of(micros_of_datetime(moment)))
ids: Final = st.none() | texts

written_tags: Final = st.none() | st.lists(st.builds(Tag, texts, texts), max_size=2)
written_allocations: Final = st.none() | st.lists(
    st.builds(UsageAllocation, st.none() | numbers, st.none() | decimals, written_tags), max_size=2
)
written_records: Final[st.SearchStrategy[UsageRecord[Timestamp]]] = st.builds(
    UsageRecord, instants, texts, ids, st.none() | numbers, st.none() | decimals, written_allocations, ids, ids
)

ANSWERS: Final[dict[str, st.SearchStrategy[Answer]]] = {
    "BatchMeterUsage": st.builds(
        BatchMeterUsageResult,
        st.lists(
            st.builds(UsageRecordResult, written_records, st.sampled_from(sorted(STATUS_OF_OUTCOME.values())), ids),
            max_size=3,
        ),
        st.lists(written_records, max_size=2),
    ),
    "MeterUsage": st.builds(MeterUsageResult, ids),
    "RegisterUsage": st.builds(RegisterUsageResult, ids, st.none() | instants),
    "ResolveCustomer": st.builds(
        ResolveCustomerResult, ids, ids, ids, ids, st.none() | st.builds(Metadata, st.none() | texts)
    ),
}


@given(st.data())
def test_what_we_write_botocore_reads_as_it_was_meant(data: st.DataObject) -> None:
    """Every member of an answer comes out of botocore's parser with the value that went in."""
    name = data.draw(operations)
    answer = data.draw(ANSWERS[name])
    raw = {"status_code": 200, "headers": {}, "body": encode(answer)}
    parsed = create_parser("json").parse(raw, SERVICE.operation_model(name).output_shape)
    parsed.pop("ResponseMetadata")
    assert timed(parsed) == plain(answer)


@pytest.mark.parametrize("fault", FaultCode)
def test_botocore_reads_a_fault_by_its_name(fault: FaultCode) -> None:
    """The error's code is the plain name, its message the sentence, for modelled and unmodelled faults alike."""
    raw = {"status_code": status_of(fault), "headers": {}, "body": body_of(Fault(fault, "Why it is so: é"))}
    parsed = create_parser("json").parse(raw, SERVICE.operation_model("BatchMeterUsage").output_shape)
    assert parsed["Error"] == {"Code": str(fault), "Message": "Why it is so: é"}


# --- a reader made of the model ---------------------------------------------------------------------------------------

BREACH: Final = re.compile(
    r"Value (?:null|'(?:.|\n)*?') at '([A-Za-z0-9.]+)' failed to satisfy constraint: (.*?)(?:; (?=Value )|$)"
)


class Refused(NamedTuple):
    """A body is refused; without breaches: as no object of the shape."""

    breaches: list[tuple[str, str]] | None


def ours(body: bytes, name: str) -> object:
    """What our codec makes of a body."""
    try:
        return plain(decode(body, REQUESTS[name]))
    except Fault as refused:
        fault = refused
    if fault.code is FaultCode.SERIALIZATION:
        return Refused(None)
    assert fault.code is FaultCode.VALIDATION
    count, _, listed = fault.message.partition(" detected: ")
    breaches = BREACH.findall(listed)
    assert count == f"{len(breaches)} validation error{'s' if len(breaches) > 1 else ''}"
    return Refused(sorted(breaches))


def theirs(body: bytes, name: str) -> object:
    """What the reader made of the model makes of it."""
    try:
        reading = read(body, SERVICE.operation_model(name).input_shape.name, MODEL)
    except NoObject:
        return Refused(None)
    return Refused(sorted(reading.breaches)) if reading.breaches else reading.value


@given(st.data())
def test_a_reader_made_of_the_model_comes_to_the_same_end(data: st.DataObject) -> None:
    """Random bodies near the shapes: the same values, or the same refusal with the same breaches at the same paths."""
    name = data.draw(operations)
    body = data.draw(BODIES[name]).encode()
    assert ours(body, name) == theirs(body, name)
