"""IAM policies: whether a principal may call an operation.

Of IAM's language Meterhouse judges what the Metering Service can use (contract §2): statements that allow or deny
actions on every resource. An explicit deny wins over any allow, and what nothing allows is denied. Action names may
hold `*` (any run of characters) and `?` (any one), and their case does not matter, as in IAM.

A document is parsed once, when a credential is made. Everything that cannot be judged is refused there, with one
sentence that names the element: a Condition that were read past would allow what its author meant to forbid.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from meterhouse.core.outcome import Fault, FaultCode

SERVICE: Final = "aws-marketplace"
"""The prefix of the Metering Service's actions in IAM."""

DEFAULT_DOCUMENT: Final = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"aws-marketplace:*","Resource":"*"}]}'
)
"""What a credential without a policy may do: every operation."""

_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_EFFECTS: Final = {"Allow": True, "Deny": False}
_LARGEST_CACHE: Final = 64
"""Verdicts kept for one policy; a caller that asks about known operations only never comes near it."""


class PolicyError(ValueError):
    """A policy document that Meterhouse cannot judge; the text says which element and why."""


class Statement(NamedTuple):
    """One statement: whether it allows or denies, and the actions it speaks of, in lower case."""

    allows: bool
    actions: tuple[str, ...]

    def covers(self, action: str) -> bool:
        """Whether it speaks of an action, given in lower case."""
        return any(_matches(pattern, action) for pattern in self.actions)


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy document."""

    statements: tuple[Statement, ...]
    _verdicts: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def allows(self, operation: str) -> bool:
        """Whether the principal may call an operation, such as `BatchMeterUsage` (contract §2)."""
        verdict = self._verdicts.get(operation)
        if verdict is None:
            verdict = self._judge(f"{SERVICE}:{operation}".lower())
            if len(self._verdicts) < _LARGEST_CACHE:
                self._verdicts[operation] = verdict
        return verdict

    def _judge(self, action: str) -> bool:
        verdicts = {statement.allows for statement in self.statements if statement.covers(action)}
        return verdicts == {True}


def access_denied(principal: str, operation: str) -> Fault:
    """The fault, in AWS's words, of a principal (an ARN) whose policy does not allow an operation (contract §1)."""
    message = f"User: {principal} is not authorized to perform: {SERVICE}:{operation}"
    return Fault(FaultCode.ACCESS_DENIED, message)


@lru_cache(maxsize=1024)
def policy_of(document: str | None) -> Policy:
    """The policy that a credential holds as JSON text, parsed once; None is the default, every operation."""
    return parse_policy(DEFAULT_DOCUMENT if document is None else document)


def parse_policy(document: object) -> Policy:
    """The policy that a document says, as JSON text or decoded; PolicyError where it cannot be judged."""
    policy: Any = _decoded(document) if isinstance(document, str) else document
    _check_elements(policy, "The policy", ("Version", "Id", "Statement"))
    if policy.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise PolicyError(f"The policy's Version must be one of {' and '.join(_VERSIONS)}.")
    _check_text(policy, "The policy", "Id")
    statements = _several(policy.get("Statement"), Mapping, "The policy's Statement", "an object or a list of them")
    return Policy(tuple(_statement(statement, f"Statement {i}") for i, statement in enumerate(statements, 1)))


def _decoded(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except PolicyError:
        raise
    except (ValueError, RecursionError):
        raise PolicyError("The policy is not JSON.") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose elements stand once each: of two, one would go unjudged."""
    elements: dict[str, Any] = {}
    for name, value in pairs:
        if name in elements:
            raise PolicyError(f"The policy has the element {name[:64]!r} twice in one object.")
        elements[name] = value
    return elements


def _statement(statement: Mapping[str, Any], where: str) -> Statement:
    _check_elements(statement, where, ("Sid", "Effect", "Action", "Resource"))
    _check_text(statement, where, "Sid")
    effect = statement.get("Effect")
    if not isinstance(effect, str) or effect not in _EFFECTS:
        raise PolicyError(f"{where}'s Effect must be Allow or Deny.")
    actions = _several(statement.get("Action"), str, f"{where}'s Action", "an action or a list of them")
    resources = _several(statement.get("Resource"), str, f"{where}'s Resource", "'*'")
    if set(resources) != {"*"}:
        raise PolicyError(f"{where}'s Resource must be '*': the Metering Service has no resources to name.")
    return Statement(_EFFECTS[effect], tuple(_action(action, where) for action in actions))


def _action(action: str, where: str) -> str:
    service, colon, name = action.partition(":")
    if action != "*" and not (service and colon and name):
        raise PolicyError(f"{where}'s Action {action[:64]!r} must be '*' or like '{SERVICE}:MeterUsage'.")
    return action.lower()


def _check_elements(element: Any, where: str, known: Sequence[str]) -> None:
    if not isinstance(element, Mapping):
        raise PolicyError(f"{where} must be an object.")
    unknown = [name for name in element if name not in known]
    if unknown:
        raise PolicyError(
            f"{where} has the element {str(unknown[0])[:64]!r}, which is not judged here; known are {', '.join(known)}."
        )


def _check_text(element: Mapping[str, Any], where: str, name: str) -> None:
    if not isinstance(element.get(name, ""), str):
        raise PolicyError(f"{where}'s {name} must be a string.")


def _several(value: Any, kind: type, where: str, wanted: str) -> list[Any]:
    """One value or a list of them as a list; IAM takes either, but no empty list."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, kind) for each in values):
        raise PolicyError(f"{where} must be {wanted}.")
    return values


def _matches(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern of `*` and `?`.

    Each `*` takes as little as it can, and only the last one seen is ever widened, since what an earlier one took can
    stay as it is: so a pattern of many stars costs no more than pattern times text.
    """
    at, star, resume = 0, -1, 0
    position = 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in {"?", text[position]}:
            at, position = at + 1, position + 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")
