"""The API's description: valid, complete, and made of what is really asked and answered."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from openapi_spec_validator import validate

from meterhouse.server.control.parts import ControlCall, NoBody
from meterhouse.server.control.table import CALLS
from meterhouse.service.reading import read_query
from meterhouse.service.refused import Refused
from tests.unit.control_server import DOCUMENT, VERSION, check_form, served

TABLE = {
    # The table of the contract.
    *("GET /catalog", "POST /catalog", "GET /products", "POST /products", "GET /products/{code}"),
    *("PATCH /products/{code}", "POST /products/{code}/keys", "GET /products/{code}/keys/{version}"),
    *("GET /agreements", "POST /agreements", "GET /agreements/{id}", "PATCH /agreements/{id}"),
    *("GET /accounts", "GET /accounts/{id}", "PATCH /accounts/{id}", "POST /registration-tokens"),
    *("GET /credentials", "POST /credentials", "DELETE /credentials/{access_key_id}"),
    *("GET /workloads", "POST /workloads", "GET /workloads/{resource_id}", "POST /workloads/{resource_id}/end"),
    *("POST /workloads/{resource_id}/heartbeat", "GET /records", "GET /journal", "GET /clock", "PUT /clock"),
    *("GET /faults", "POST /faults", "DELETE /faults", "DELETE /faults/{id}", "POST /reset", "GET /openapi.json"),
}
MEMBERS = {
    # The table "Answers" of the contract.
    "RecordAnswer": "record_id operation product region seller buyer customer_identifier license_arn dimension "
    "timestamp hour quantity unit allocations resource_id request_id position received preview",
    "TotalAnswer": "month buyer dimension unit quantity price amount",
    "JournalAnswer": "position request_id operation principal account region product received now profile records",
    "JournalRecordAnswer": "record_id buyer customer_identifier license_arn dimension timestamp quantity allocations "
    "resource_id",
    "AllocationAnswer": "quantity tags",
    "TagAnswer": "key value",
    "ClockAnswer": "now mode",
    "SecretAnswer": "access_key_id secret_access_key session_token expires account principal",
    "WorkloadAnswer": "resource_id platform account region launched ended heartbeat_seconds last_seen registered",
    "RegisteredAnswer": "product since seconds amount",
    "KeyAnswer": "version pem rotated",
    "TokenAnswer": "token expires agreement",
    "FaultAnswer": "id operation fault times records seconds product probability seed",
    "CatalogAnswer": "toml",
    "Error": "code message field",
    "Problem": "error",
}


def test_an_independent_library_takes_it() -> None:
    """The document is OpenAPI 3.1 by the judgement of a library that is not ours."""
    validate(DOCUMENT)


def test_it_has_every_call_of_the_contract() -> None:
    """It describes the calls of the contract's table, and no others."""
    described = {f"{method.upper()} {path}" for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert described == TABLE == {f"{call.method} {call.path}" for call in CALLS} | {"GET /openapi.json"}


@pytest.mark.parametrize("name", MEMBERS)
def test_answers_have_the_members_of_the_contract(name: str) -> None:
    """An answer has the contract's members, in its order, each of them always there."""
    form = DOCUMENT["components"]["schemas"][name]
    assert list(form["properties"]) == form["required"] == MEMBERS[name].split()


async def test_it_is_served() -> None:
    """The document is served as it is checked here."""
    async with served() as server:
        answer = await server.ask("GET", "/openapi.json")
        assert answer.json == json.loads(json.dumps(DOCUMENT))
        assert answer.json["info"]["version"] == VERSION


def references(value: Any) -> Iterator[str]:
    """Every reference in a part of the document."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_no_form_is_dangling_or_left_over() -> None:
    """Each form that is referred to is there, and each that is there is referred to."""
    prefix = "#/components/schemas/"
    assert {reference.removeprefix(prefix) for reference in references(DOCUMENT)} == set(
        DOCUMENT["components"]["schemas"]
    )


def test_operations_have_names_of_their_own() -> None:
    """Programs are generated from the names of operations: each is given once."""
    names = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_parameters_are_those_that_are_read(call: ControlCall) -> None:
    """The parameters of a call's description are its path's, and those that its query is read into."""
    parameters = DOCUMENT["paths"][call.path][call.method.lower()]["parameters"]
    names = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]
    assert names == re.findall(r"{(\w+)}", call.path)
    for parameter in parameters:
        if parameter["in"] == "query":
            with pytest.raises(Refused, match="more than once"):
                read_query([(parameter["name"], "x")] * 2, call.query)
    queried = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    assert queried == {field.encode_name for field in msgspec.structs.fields(call.query)}


# A body, the call it is for, whether its form is right. What the description says, the server says too.
BODIES: list[tuple[str, Any, bool]] = [
    ("/products", {"code": "a", "name": "A", "seller": "111122223333", "type": "saas"}, True),
    ("/products", {"code": "a b", "name": "A", "seller": "111122223333", "type": "saas"}, False),
    ("/products", {"code": "a", "name": "A", "seller": "11112222333", "type": "saas"}, False),
    ("/products", {"code": "a", "name": "A", "seller": "111122223333", "type": "SaaS"}, False),
    ("/products", {"code": "a", "name": "A", "seller": "111122223333"}, False),
    ("/products", {"code": "a", "name": "A", "seller": "111122223333", "type": "saas", "more": 1}, False),
    ("/products", {"code": "a", "name": "A", "seller": "111122223333", "type": "saas", "hourly_price": 1}, False),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "throttle", "times": 3, "seed": 2**63 - 1}, True),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "throttle", "times": 0}, False),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "throttle", "times": 1.5}, False),
    ("/faults", {"operation": "DescribeUsage", "fault": "throttle"}, False),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "fire"}, False),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "unprocessed", "records": [0, 24]}, True),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "unprocessed", "records": [25]}, False),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "unprocessed", "records": []}, False),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "throttle", "probability": 0}, False),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "throttle", "probability": 1}, True),
    ("/faults", {"operation": "BatchMeterUsage", "fault": "delay", "seconds": 0}, False),
    ("/workloads", {"platform": "ecs", "account": "444455556666", "region": "us-east-1"}, True),
    ("/workloads", {"platform": "ecs", "account": "444455556666", "region": "US-EAST-1"}, False),
    ("/workloads", {"platform": "ecs", "region": "us-east-1"}, False),
    ("/credentials", {"account": "111122223333", "expires": "2026-12-01T00:00:00Z"}, True),
    ("/credentials", {"account": "111122223333", "expires": 1_800_000_000}, False),
]


@pytest.mark.parametrize(("path", "body", "right"), BODIES)
async def test_a_body_is_judged_as_it_is_described(path: str, body: Any, right: bool) -> None:
    """A body that the description takes is taken, and one that it refuses is 422."""
    schema = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    try:
        check_form(schema, body)
        described = True
    except jsonschema.ValidationError:
        described = False
    async with served() as server:
        assert (await server.ask("POST", path, body)).status == (201 if right else 422)
    assert described == right


def test_every_call_with_a_body_has_it_described() -> None:
    """POST, PUT and PATCH describe their body, and so does one that takes nothing but `{}`."""
    for call in CALLS:
        operation = DOCUMENT["paths"][call.path][call.method.lower()]
        assert ("requestBody" in operation) == (call.method in ("POST", "PUT", "PATCH"))
        if call.body is NoBody and "requestBody" in operation:
            form = operation["requestBody"]["content"]["application/json"]["schema"]
            assert form == {"type": "object", "additionalProperties": False}
