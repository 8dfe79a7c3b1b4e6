"""Our shapes against the newest botocore's model of the service: no drift, in either direction.

`drift` says every difference in a sentence. It is run on the model as it is, where it must find none, and on copies of
the model with one thing changed, where it must find something: a comparison that notices nothing would hold nothing.
"""

import copy
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest
from botocore.loaders import Loader
from msgspec import inspect as shape_types

from meterhouse.core.outcome import STATUS_OF_OUTCOME, FaultCode
from meterhouse.core.profile import OPERATIONS
from meterhouse.core.shapes import (
    INT64_MAX,
    BatchMeterUsageRequest,
    BatchMeterUsageResult,
    MeterUsageRequest,
    MeterUsageResult,
    RegisterUsageRequest,
    RegisterUsageResult,
    ResolveCustomerRequest,
    ResolveCustomerResult,
    Timestamp,
    WholeSeconds,
)
from meterhouse.wire.careful import constraints_of
from meterhouse.wire.faults import status_of
from tests.documents import code, tables_of

Model = dict[str, Any]

SHAPES: Final[dict[str, tuple[Any, Any]]] = {
    "BatchMeterUsage": (BatchMeterUsageRequest[WholeSeconds], BatchMeterUsageResult),
    "MeterUsage": (MeterUsageRequest[WholeSeconds], MeterUsageResult),
    "RegisterUsage": (RegisterUsageRequest, RegisterUsageResult),
    "ResolveCustomer": (ResolveCustomerRequest, ResolveCustomerResult),
}

NOT_MODELLED: Final = {
    # Faults beside those that the model gives each operation, and where they are from.
    "every request": {
        "RequestEntityTooLargeException",
        "UnknownOperationException",
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "ExpiredTokenException",
        "AccessDeniedException",
        "SerializationException",
        "ValidationException",
        "ServiceUnavailable",
    },
    "BatchMeterUsage": {"ValidationException"},
    "MeterUsage": {
        "ValidationException",
        "PlatformNotSupportedException",
        "UnauthorizedException",
        "DryRunOperation",
    },
    "RegisterUsage": set[str](),
    "ResolveCustomer": set[str](),
}

OF_EVERY_OPERATION: Final = {"InternalServiceErrorException", "ThrottlingException"}
"""Modelled faults that no step of an operation raises."""


class Leaf(NamedTuple):
    """What can be said of a member that is no object: absent bounds are None, and so are lengths from 0."""

    kind: str
    least: int | None = None
    most: int | None = None
    pattern: str | None = None


Walked = dict[str, Leaf | bool]
"""By path: a member's leaf; under the path with `?` at its end, whether it may be absent."""


@pytest.fixture(scope="module")
def model() -> Model:
    """The newest model that botocore has."""
    loaded: Model = Loader().load_service_model("meteringmarketplace", "service-2")
    return loaded


# --- the model's side -------------------------------------------------------------------------------------------------


def walk_model(model: Model, name: str, path: str = "") -> Walked:
    """All that lies under a shape of the model."""
    shape = model["shapes"][name]
    if shape["type"] == "structure":
        walked: Walked = {path: Leaf("structure")}
        for member, target in shape["members"].items():
            walked[f"{path}.{member}?"] = member not in shape.get("required", ())
            walked |= walk_model(model, target["shape"], f"{path}.{member}")
        return walked
    least = shape.get("min")
    if shape["type"] in ("string", "list"):
        least = least or None
    leaf = Leaf(shape["type"], least, shape.get("max"), shape.get("pattern"))
    if shape["type"] == "list":
        return {path: leaf} | walk_model(model, shape["member"]["shape"], f"{path}[]")
    return {path: leaf}


# --- our side ---------------------------------------------------------------------------------------------------------


def walk_ours(field_type: shape_types.Type, path: str = "") -> Walked:
    """All that lies under one of our shapes."""
    if field_type in TIMESTAMPS:
        return {path: Leaf("timestamp")}
    kind, extra = constraints_of(field_type)
    match kind:
        case shape_types.StructType():
            walked: Walked = {path: Leaf("structure")}
            for member in kind.fields:
                walked[f"{path}.{member.encode_name}?"] = not member.required
                walked |= walk_ours(member.type, f"{path}.{member.encode_name}")
            return walked
        case shape_types.ListType():
            least, most = extra.get("min", kind.min_length), extra.get("max", kind.max_length)
            return {path: Leaf("list", least or None, most)} | walk_ours(kind.item_type, f"{path}[]")
        case shape_types.StrType():
            least, most = extra.get("min", kind.min_length), extra.get("max", kind.max_length)
            return {path: Leaf("string", least or None, most, extra.get("pattern"))}
        case shape_types.IntType() if extra.get("timestamp"):
            return {path: Leaf("timestamp")}
        case shape_types.IntType():
            return {path: Leaf("integer", kind.ge, None if kind.le == INT64_MAX else kind.le)}
        case shape_types.BoolType():
            return {path: Leaf("boolean")}
        case _:
            raise TypeError(f"{path} is of a kind that the model has not: {kind}")


TIMESTAMPS: Final = (shape_types.type_info(Timestamp), shape_types.type_info(Timestamp | None))
"""How an answer's timestamps look: whole seconds, or a Raw with decimals."""


# --- the comparison ---------------------------------------------------------------------------------------------------


def drift(model: Model) -> list[str]:
    """Every difference between a model and what we have, a sentence each."""
    found = []
    if set(model["operations"]) != set(SHAPES):
        found.append(f"operations: {set(model['operations']) ^ set(SHAPES)}")
    documented = tables_of("outcomes.md")
    for name in sorted(set(model["operations"]) & set(SHAPES)):
        operation, (request, answer) = model["operations"][name], SHAPES[name]
        found += differences(
            walk_model(model, operation["input"]["shape"]), walk_ours(shape_types.type_info(request)), name
        )
        # An answer's values are ours: what must agree is which members there are, and of what kind.
        found += differences(
            kinds(walk_model(model, operation["output"]["shape"])),
            kinds(walk_ours(shape_types.type_info(answer))),
            name,
        )
        modelled = {error["shape"] for error in operation["errors"]}
        raised = {code(row[1]) for row in documented[name]} | OF_EVERY_OPERATION
        if modelled != raised - (NOT_MODELLED[name] - modelled):
            found.append(f"{name}: errors {modelled ^ raised}")
    found += errors_drift(model)
    statuses = set(STATUS_OF_OUTCOME.values())
    if set(model["shapes"]["UsageRecordResultStatus"]["enum"]) != statuses:
        found.append(f"statuses: {set(model['shapes']['UsageRecordResultStatus']['enum']) ^ statuses}")
    return found


def differences(theirs: Walked, ours: Walked, name: str) -> list[str]:
    """What two walks do not say alike."""
    return [
        f"{name}{path}: the model says {theirs.get(path)}, we say {ours.get(path)}"
        for path in sorted(theirs.keys() | ours.keys())
        if theirs.get(path) != ours.get(path)
    ]


def kinds(walked: Walked) -> Walked:
    """The members and their kinds alone."""
    return {path: Leaf(leaf.kind) for path, leaf in walked.items() if isinstance(leaf, Leaf)}


def errors_drift(model: Model) -> list[str]:
    """Errors that have not both a shape and a fault, a status that differs, a body that is no message."""
    errors = {name: shape for name, shape in model["shapes"].items() if shape.get("exception")}
    ours = {str(fault) for fault in FaultCode}
    modelled_nowhere = ours - set(errors)
    accounted_for = set().union(*NOT_MODELLED.values()) - set(errors)
    found = [f"error {name} has no fault" for name in sorted(set(errors) - ours)]
    found += [f"fault {name} is in no model" for name in sorted(modelled_nowhere ^ accounted_for)]
    for name in sorted(set(errors) & ours):
        shape = errors[name]
        status = shape.get("error", {}).get("httpStatusCode", 500 if shape.get("fault") else 400)
        if status_of(FaultCode(name)) != status:
            found.append(f"error {name}: the model says {status}, we say {status_of(FaultCode(name))}")
        if list(shape["members"]) != ["message"]:
            found.append(f"error {name} has members {list(shape['members'])}")
    return found


def test_our_shapes_are_the_models(model: Model) -> None:
    """Members, required, bounds, patterns, statuses and errors of all four operations are the model's, both ways."""
    assert drift(model) == []


def test_all_operations_are_compared() -> None:
    """The comparison leaves no operation out."""
    assert set(SHAPES) == OPERATIONS


def test_the_metadata_is_what_the_wire_speaks(model: Model) -> None:
    """Target prefix, JSON version, API version and signing name are those that requests are read by."""
    spoken = {name: model["metadata"][name] for name in ("targetPrefix", "jsonVersion", "apiVersion", "signingName")}
    assert spoken == {
        "targetPrefix": "AWSMPMeteringService",
        "jsonVersion": "1.1",
        "apiVersion": "2016-01-14",
        "signingName": "aws-marketplace",
    }


def member(shape: str, name: str, target: str) -> Callable[[Model], object]:
    """A change: a shape gains a member."""
    return lambda model: model["shapes"][shape]["members"].update({name: {"shape": target}})


def without(shape: str, name: str) -> Callable[[Model], object]:
    """A change: a shape loses a member."""
    return lambda model: model["shapes"][shape]["members"].pop(name)


def bound(shape: str, **bounds: object) -> Callable[[Model], object]:
    """A change: a shape has another bound or pattern."""
    return lambda model: model["shapes"][shape].update(bounds)


def unbound(shape: str, name: str) -> Callable[[Model], object]:
    """A change: a shape loses a bound or pattern."""
    return lambda model: model["shapes"][shape].pop(name)


def required(shape: str, *names: str) -> Callable[[Model], object]:
    """A change: other members of a shape are required."""
    return lambda model: model["shapes"][shape].update({"required": list(names)})


def error(operation: str, name: str) -> Callable[[Model], object]:
    """A change: an operation gains an error, whose shape may be new."""

    def change(model: Model) -> None:
        model["operations"][operation]["errors"].append({"shape": name})
        model["shapes"].setdefault(
            name, {"type": "structure", "members": {"message": {"shape": "errorMessage"}}, "exception": True}
        )

    return change


CHANGES: Final[dict[str, Callable[[Model], object]]] = {
    "a request gains a member": member("BatchMeterUsageRequest", "Note", "String"),
    "a record gains a member": member("UsageRecord", "Note", "String"),
    "an allocation gains a member": member("UsageAllocation", "Note", "String"),
    "a tag gains a member": member("Tag", "Note", "String"),
    "an answer gains a member": member("ResolveCustomerResult", "Note", "String"),
    "an answer's object gains a member": member("Metadata", "Note", "String"),
    "an error gains a member": member("InvalidTagException", "tag", "String"),
    "a record loses a member": without("UsageRecord", "LicenseArn"),
    "an answer loses a member": without("UsageRecordResult", "Status"),
    "a member is of another kind": member("RegisterUsageRequest", "Nonce", "VersionInteger"),
    "an answer's member is of another kind": member("MeterUsageResult", "MeteringRecordId", "Timestamp"),
    "a timestamp is a string": bound("Timestamp", type="string"),
    "a number has another type": bound("VersionInteger", type="string"),
    "a list is longer": bound("UsageRecordList", max=26),
    "a list has a least length": bound("UsageRecordList", min=1),
    "a list judged by a rule is longer": bound("UsageAllocations", max=500),
    "a list judged by a rule may be empty": unbound("TagList", "min"),
    "a text is longer": bound("ProductCode", max=256),
    "a text gains a bound": bound("LicenseArn", max=2048),
    "a text loses a bound": unbound("ClientToken", "max"),
    "a text judged by a rule is shorter": bound("TagValue", max=100),
    "a text may be empty": bound("CustomerAWSAccountId", min=0),
    "a pattern differs": bound("CustomerAWSAccountId", pattern="^[0-9]{12}$"),
    "a pattern is gained": bound("ClientToken", pattern="^[a-z]+$"),
    "a pattern is lost": unbound("LicenseArn", "pattern"),
    "a number is greater": bound("UsageQuantity", max=4294967295),
    "a number gains a bound": bound("VersionInteger", max=1000),
    "a number loses a bound": unbound("AllocatedUsageQuantity", "min"),
    "a member becomes required": required("BatchMeterUsageRequest", "UsageRecords", "ProductCode"),
    "a member becomes optional": required("Tag", "Key"),
    "a status is gained": bound("UsageRecordResultStatus", enum=["Success", "DuplicateRecord", "Late"]),
    "an operation gains a new error": error("ResolveCustomer", "TokenUsedException"),
    "an operation gains an error we have": error("ResolveCustomer", "InvalidTagException"),
    "an operation loses an error": lambda model: model["operations"]["BatchMeterUsage"]["errors"].pop(),
    "an error nobody names is gained": bound("Metadata", exception=True),
    "an error has another status": bound("InvalidTagException", error={"httpStatusCode": 404}),
    "an error is no longer the service's": unbound("InternalServiceErrorException", "fault"),
    "an operation is gained": lambda model: model["operations"].update(Other=model["operations"]["MeterUsage"]),
    "an operation is lost": lambda model: model["operations"].pop("RegisterUsage"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_noticed(model: Model, change: str) -> None:
    """Whatever the next model changes, the comparison says so."""
    changed = copy.deepcopy(model)
    CHANGES[change](changed)
    assert drift(changed) != []
