"""The tree of errors: drawn, complete, and fit to travel."""

import inspect
import pickle
import re

import pytest

from meterhouse.client import errors
from meterhouse.client.errors import (
    DeadlineExceededError,
    ExpiredCredentialsException,
    ExpiredTokenException,
    InternalServiceErrorException,
    MeteringError,
    ServiceError,
    ServiceFailedError,
    ThrottlingException,
    class_of,
    of_answer,
)
from meterhouse.client.outcomes import NotSubscribed, RecordsRejectedError
from meterhouse.core.outcome import FaultCode
from tests.unit.test_client_records import used

_LINE = re.compile(r"^    ([│ ├└─]*)(\w+)", re.MULTILINE)


def _drawn() -> dict[str, str | None]:
    """Each class that the module's text draws, and the one it hangs from."""
    tree = (errors.__doc__ or "").split("\n\n")[1]
    path: list[str] = []
    parents: dict[str, str | None] = {}
    for branches, name in _LINE.findall(tree):
        depth = len(branches) // 4
        del path[depth:]
        parents[name] = path[-1] if path else None
        path.append(name)
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    """Every class of the tree is in the drawing, under the class it is made from, and nothing else is."""
    classes = {
        name: kind
        for name, kind in [*vars(errors).items(), ("RecordsRejectedError", RecordsRejectedError)]
        if inspect.isclass(kind) and issubclass(kind, MeteringError)
    }
    made_from = {
        name: None if kind is MeteringError else kind.__mro__[1].__name__ for name, kind in sorted(classes.items())
    }
    assert dict(sorted(_drawn().items())) == made_from


@pytest.mark.parametrize("code", list(FaultCode))
def test_every_fault_of_the_service_has_a_class(code: FaultCode) -> None:
    """What Meterhouse may answer, the client knows by a class of its own, of that name where AWS's name allows."""
    kind = class_of(code)
    assert kind is not None
    assert kind.__name__.removesuffix("Exception") == code.removesuffix("Exception")
    assert type(of_answer("ResolveCustomer", code, "", 400, None)) is kind


def test_one_name_for_two_errors_is_told_apart() -> None:
    """ExpiredTokenException is a registration token's in ResolveCustomer, unless it speaks of the request's own."""
    said = "ExpiredTokenException"
    credentials = "The security token included in the request is expired"
    assert type(of_answer("ResolveCustomer", said, "the token is 4 hours old", 400, None)) is ExpiredTokenException
    assert type(of_answer("ResolveCustomer", said, credentials, 400, None)) is ExpiredCredentialsException
    assert type(of_answer("BatchMeterUsage", said, "", 400, None)) is ExpiredCredentialsException


ANSWERS: list[tuple[str, int, type[ServiceError], str]] = [
    ("", 500, ServiceFailedError, "500"),
    ("Whatever", 503, ServiceFailedError, "Whatever"),
    ("Whatever", 400, ServiceError, "Whatever"),
    ("", 429, ThrottlingException, "429"),
    ("SlowDown", 400, ThrottlingException, "SlowDown"),
    ("InternalFailure", 500, InternalServiceErrorException, "InternalFailure"),
]


@pytest.mark.parametrize(("code", "status", "kind", "shown"), ANSWERS)
def test_an_error_without_a_class_goes_by_its_status(
    code: str, status: int, kind: type[ServiceError], shown: str
) -> None:
    """A name that is not known keeps its name, and is judged by the status alone."""
    error = of_answer("MeterUsage", code, "why", status, "r-1")
    assert type(error) is kind
    assert (error.code, error.message, error.status, error.request_id) == (shown, "why", status, "r-1")
    assert str(error) == f"{shown}: why"


def test_errors_travel() -> None:
    """An error that comes from another process is the same error."""
    sent = [
        of_answer("MeterUsage", "ThrottlingException", "Rate exceeded", 400, "r-1"),
        DeadlineExceededError("too late", may_be_kept=True),
        RecordsRejectedError([NotSubscribed(used(), "r-2")], 1),
    ]
    for error in sent:
        came = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert type(came) is type(error)
        assert (str(came), vars(came)) == (str(error), vars(error))
