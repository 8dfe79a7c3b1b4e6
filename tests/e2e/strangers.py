"""Who the strangers are, what each cannot say or hear, and how they are made to speak.

A stranger runs a script of its own (`tests/strangers/call_*`), in its own environment, once: it is given a *plan* as a
file, and prints what came of each call. A plan is `{"endpoint": URL or null, "calls": […]}`, a call

    name, operation, method     what to call it, on the wire and in Python
    request                     the parameters as the SDK takes them, instants as epoch seconds
    keys                        aws_access_key_id, aws_secret_access_key, aws_session_token (or null)
    region
    headers                     to be set after signing; null takes one away

Without an endpoint the stranger finds it in AWS_ENDPOINT_URL_MARKETPLACE_METERING. What came of a call is
`{"answer": …, "request_id": …}`, `{"code", "message", "class", "status", "request_id"}`, or `{"unsaid": CLASS}` where
the SDK refused to send it.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.e2e.calls import ROWS, Refused, Row
from tests.strangers.environments import PINS, javascript, python_of

VARIABLE: Final = "AWS_ENDPOINT_URL_MARKETPLACE_METERING"

Speak = Callable[[Path, Mapping[str, str]], str]
"""Runs a stranger on a plan, with these variables; what it printed."""


class Stranger(NamedTuple):
    """An SDK, and how it differs from the API as it is now."""

    speak: Speak
    reads_variable: bool = True
    """Whether it knows the variable that names an endpoint."""
    unknown_members: frozenset[str] = frozenset()
    """Members that its model lacks: it does not say them, and does not hear them."""
    hears: frozenset[str] = frozenset()
    """Members of answers that its model has all the same."""
    refuses_unknown: bool = True
    """Whether it refuses to say them; else it leaves them out without a word, and such rows are not for it."""
    unknown_errors: frozenset[str] = frozenset()
    """Modelled errors that it has no class for."""
    judges: frozenset[str] = frozenset()
    """Rows that it refuses by itself."""
    whole_seconds: bool = False
    """Whether it cuts instants to seconds."""
    any_error: str = "ClientError"
    """The class of an error that its model lacks."""


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The variables of a stranger's process: this one's, but for what would change how it speaks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", **given}


def _run(command: Sequence[str | Path], variables: Mapping[str, str], **more: Any) -> str:
    spoken = subprocess.run(
        command, env=environment(variables), capture_output=True, text=True, check=False, timeout=120, **more
    )
    assert spoken.returncode == 0, spoken.stderr
    printed: str = spoken.stdout
    return printed


def _botocore(name: str) -> Speak:
    return lambda plan, variables: _run([python_of(name), PINS / "call_botocore.py", plan], variables)


def _javascript(plan: Path, variables: Mapping[str, str]) -> str:
    here = javascript()
    with (PINS / "call_javascript.mjs").open() as script:
        return _run([here.node, "--input-type=module", "-", plan], variables, cwd=here.folder, stdin=script)


BOTOCORE_JUDGES: Final = frozenset(
    {
        "a negative quantity",
        "an empty dimension",
        "no allocations in a list of them",
        "no list of records",
        "no tags in a list of them",
        "no timestamp",
    }
)
"""botocore looks for required members, and at the least length and value; not at patterns, nor at the most."""

HEARD_ON_LATER_PYTHONS: Final = frozenset({"CustomerAWSAccountId"} if sys.version_info >= (3, 12) else ())
"""There the oldest SDK that can be imported is of 2022, and ResolveCustomer names the account (see its lock file)."""

JUDGES_OF_2019: Final = BOTOCORE_JUDGES | {"neither product nor license", "no name of a customer"}
"""Both names were required then."""

DECIMALS: Final = frozenset({"AllocatedUsageQuantityAsDecimal", "QuantityAsDecimal"})
AFTER_2019: Final = DECIMALS | {"CustomerAWSAccountId", "LicenseArn", "Metadata", "UsageAllocations"}
ERRORS_AFTER_2019: Final = frozenset(
    {"InvalidLicenseException", "InvalidTagException", "InvalidUsageAllocationsException"}
)

STRANGERS: Final = {
    "boto3-newest": Stranger(_botocore("boto3-newest"), judges=BOTOCORE_JUDGES),
    "boto3-2019": Stranger(
        _botocore("boto3-2019"),
        reads_variable=False,
        unknown_members=AFTER_2019,
        unknown_errors=ERRORS_AFTER_2019,
        hears=HEARD_ON_LATER_PYTHONS,
        judges=JUDGES_OF_2019,
        whole_seconds=True,
    ),
    "aiobotocore": Stranger(_botocore("aiobotocore"), unknown_members=DECIMALS, judges=BOTOCORE_JUDGES),
    "javascript": Stranger(
        _javascript,
        unknown_members=DECIMALS | {"Metadata"},
        refuses_unknown=False,
        any_error="MarketplaceMeteringServiceException",
    ),
}

MODELLED: Final = frozenset(
    {
        "DisabledApiException",
        "ExpiredTokenException",
        "InvalidCustomerIdentifierException",
        "InvalidLicenseException",
        "InvalidProductCodeException",
        "InvalidTagException",
        "InvalidTokenException",
        "InvalidUsageAllocationsException",
        "InvalidUsageDimensionException",
        "TimestampOutOfBoundsException",
    }
)
"""The errors of the table that the API's newest model has."""


def plan_of(rows: Sequence[Row], url: str, stranger: Stranger) -> dict[str, Any]:
    """The rows as a stranger is told them."""
    calls = [
        {
            "name": row.name,
            "operation": row.operation,
            "method": re.sub(r"(?<!^)(?=[A-Z])", "_", row.operation).lower(),
            "request": row.request,
            "keys": {
                "aws_access_key_id": row.keys.access_key_id,
                "aws_secret_access_key": row.keys.secret_access_key,
                "aws_session_token": row.keys.session_token,
            },
            "region": row.region,
            "headers": row.headers,
        }
        for row in rows
    ]
    return {"endpoint": None if stranger.reads_variable else url, "calls": calls}


def outcomes(stranger: Stranger, url: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What came of its rows, by name, when a stranger said them to a server."""
    plan = folder / "plan.json"
    plan.write_text(json.dumps(plan_of(rows_for(stranger), url, stranger)))
    found: dict[str, dict[str, Any]] = json.loads(stranger.speak(plan, {VARIABLE: url}))
    return found


def class_of(refused: Refused, stranger: Stranger) -> str:
    """The class by which a stranger's user catches an error."""
    return refused.code if refused.code in MODELLED - stranger.unknown_errors else stranger.any_error


def is_refused_unsent(row: Row, stranger: Stranger) -> bool:
    """Whether a stranger refuses a row's request by itself."""
    return row.name in stranger.judges or _has_unknown_members(row, stranger)


def rows_for(stranger: Stranger) -> list[Row]:
    """The rows that a stranger can be made to say, or refuses to."""
    return [row for row in ROWS if stranger.refuses_unknown or not _has_unknown_members(row, stranger)]


def _has_unknown_members(row: Row, stranger: Stranger) -> bool:
    return not stranger.unknown_members.isdisjoint(members_of(row.request))


def members_of(said: Any) -> list[str]:
    """The names of all members in a request, at any depth."""
    if isinstance(said, Mapping):
        return [*said, *(name for value in said.values() for name in members_of(value))]
    if isinstance(said, list | tuple):
        return [name for value in said for name in members_of(value)]
    return []


def heard(answer: Any, stranger: Stranger) -> Any:
    """What a stranger makes of an answer: members that it does not know are left out."""
    if isinstance(answer, Mapping):
        unheard = stranger.unknown_members - stranger.hears
        return {name: heard(value, stranger) for name, value in answer.items() if name not in unheard}
    return answer
