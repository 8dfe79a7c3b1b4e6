"""IAM policies (contract §2): who may call what, and which documents are refused when a credential is made."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.outcome import FaultCode
from meterhouse.wire.policy import Policy, PolicyError, access_denied, parse_policy, policy_of

OPERATIONS = ("BatchMeterUsage", "MeterUsage", "RegisterUsage", "ResolveCustomer")
ALL, NONE = set(OPERATIONS), set[str]()


def allow(*actions: str, **more: Any) -> dict[str, Any]:
    """A statement that allows these actions."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": "*", **more}


def deny(*actions: str) -> dict[str, Any]:
    """A statement that denies these actions."""
    return allow(*actions, Effect="Deny")


def document(*statements: Any, **more: Any) -> dict[str, Any]:
    """A policy of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements), **more}


def allowed(policy: Policy) -> set[str]:
    """The operations that a policy allows."""
    return {operation for operation in OPERATIONS if policy.allows(operation)}


VERDICTS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("everything", document(allow("*")), ALL),
    ("the service", document(allow("aws-marketplace:*")), ALL),
    ("one action", document(allow("aws-marketplace:MeterUsage")), {"MeterUsage"}),
    ("two actions", document(allow("aws-marketplace:MeterUsage", "aws-marketplace:RegisterUsage")),
     {"MeterUsage", "RegisterUsage"}),
    ("a star in front", document(allow("aws-marketplace:*MeterUsage")), {"BatchMeterUsage", "MeterUsage"}),
    ("a star behind", document(allow("aws-marketplace:Re*")), {"RegisterUsage", "ResolveCustomer"}),
    ("stars around", document(allow("aws-marketplace:*er*a*")), {"BatchMeterUsage", "MeterUsage", "RegisterUsage"}),
    ("a star for nothing", document(allow("aws-marketplace:MeterUsage*")), {"MeterUsage"}),
    ("question marks", document(allow("aws-marketplace:?eterUsag?")), {"MeterUsage"}),
    ("a question mark is one character", document(allow("aws-marketplace:MeterUsage?")), NONE),
    ("a question mark is not none", document(allow("aws-marketplace:?MeterUsage")), NONE),
    ("a star in the service", document(allow("aws-*:MeterUsage")), {"MeterUsage"}),
    ("a star and a colon", document(allow("*:MeterUsage")), {"MeterUsage"}),
    ("another case", document(allow("AWS-MARKETPLACE:meterUSAGE")), {"MeterUsage"}),
    ("brackets are letters", document(allow("aws-marketplace:[M]eterUsage")), NONE),
    ("a dot is a dot", document(allow("aws-marketplace:Meter.sage")), NONE),
    ("another service", document(allow("s3:*", "aws-marketplace-management:*")), NONE),
    ("the name alone, of a longer one", document(allow("aws-marketplace:Meter")), NONE),
    ("a deny alone", document(deny("aws-marketplace:MeterUsage")), NONE),
    ("a deny wins", document(allow("*"), deny("aws-marketplace:MeterUsage")), ALL - {"MeterUsage"}),
    ("a deny wins before", document(deny("aws-marketplace:*Usage"), allow("*")), {"ResolveCustomer"}),
    ("a deny of all", document(allow("*"), deny("*")), NONE),
    ("a deny of another service", document(allow("*"), deny("s3:*")), ALL),
    ("two allows", document(allow("aws-marketplace:MeterUsage"), allow("aws-marketplace:ResolveCustomer")),
     {"MeterUsage", "ResolveCustomer"}),
    ("one statement, not in a list", {"Statement": allow("aws-marketplace:MeterUsage")}, {"MeterUsage"}),
    ("one action, not in a list", document(allow(Action="aws-marketplace:MeterUsage")), {"MeterUsage"}),
    ("the resource in a list", document(allow("*", Resource=["*"])), ALL),
    ("Sid and Id", document(allow("*", Sid="Metering"), Id="id"), ALL),
    ("the older version", document(allow("*"), Version="2008-10-17"), ALL),
    ("no version", {"Statement": [allow("*")]}, ALL),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "said", "operations"), VERDICTS, ids=[row[0] for row in VERDICTS])
def test_verdicts(_name: str, said: dict[str, Any], operations: set[str]) -> None:
    """A policy allows what some statement allows and none denies, as text and decoded alike, however often asked."""
    policy = parse_policy(said)
    assert allowed(policy) == operations
    assert allowed(policy) == operations
    assert parse_policy(json.dumps(said)) == policy


REFUSED: list[tuple[str, Any, str]] = [
    # The document, and what its refusal must name
    ("a list", [], "The policy must be an object"),
    ("a number", 1, "The policy must be an object"),
    ("not JSON", "{", "The policy is not JSON"),
    ("empty text", "", "The policy is not JSON"),
    ("JSON of great depth", "[" * 100_000, "The policy is not JSON"),
    ("JSON null", "null", "The policy must be an object"),
    ("an element twice", '{"Statement": [], "Statement": []}', "the element 'Statement' twice"),
    ("an unknown element", document(allow("*"), Extra=1), "The policy has the element 'Extra'"),
    ("an element in another case", {"statement": [allow("*")]}, "The policy has the element 'statement'"),
    ("an unknown version", document(allow("*"), Version="2020-01-01"), "The policy's Version"),
    ("a version that is a date", document(allow("*"), Version=20121017), "The policy's Version"),
    ("an Id that is no string", document(allow("*"), Id=1), "The policy's Id"),
    ("no Statement", {"Version": "2012-10-17"}, "The policy's Statement"),
    ("no statements", document(), "The policy's Statement"),
    ("a statement that is no object", document("Allow"), "The policy's Statement"),
    ("Condition", document(allow("*", Condition={})), "Statement 1 has the element 'Condition'"),
    ("NotAction", document(allow("*"), deny("*") | {"NotAction": "*"}), "Statement 2 has the element 'NotAction'"),
    ("NotResource", document(allow("*", NotResource="*")), "Statement 1 has the element 'NotResource'"),
    ("Principal", document(allow("*", Principal="*")), "Statement 1 has the element 'Principal'"),
    ("NotPrincipal", document(allow("*", NotPrincipal="*")), "Statement 1 has the element 'NotPrincipal'"),
    ("a Sid that is no string", document(allow("*", Sid=None)), "Statement 1's Sid"),
    ("no Effect", document({"Action": "*", "Resource": "*"}), "Statement 1's Effect"),
    ("an Effect in another case", document(allow("*", Effect="allow")), "Statement 1's Effect"),
    ("an Effect that is a list", document(allow("*", Effect=["Allow"])), "Statement 1's Effect"),
    ("no Action", document({"Effect": "Allow", "Resource": "*"}), "Statement 1's Action"),
    ("no actions", document(allow()), "Statement 1's Action"),
    ("an Action that is a number", document(allow(Action=1)), "Statement 1's Action"),
    ("an Action in a list of lists", document(allow(Action=[["*"]])), "Statement 1's Action"),
    ("an Action without its service", document(allow("MeterUsage")), "Statement 1's Action 'MeterUsage'"),
    ("an Action of nothing", document(allow("aws-marketplace:")), "Statement 1's Action 'aws-marketplace:'"),
    ("an empty Action", document(allow("")), "Statement 1's Action ''"),
    ("no Resource", document({"Effect": "Allow", "Action": "*"}), "Statement 1's Resource"),
    ("a Resource of one product", document(allow("*", Resource="arn:aws:x")), "Statement 1's Resource"),
    ("a Resource beside all", document(allow("*", Resource=["*", "arn:aws:x"])), "Statement 1's Resource"),
    ("no resources", document(allow("*", Resource=[])), "Statement 1's Resource"),
]


@pytest.mark.parametrize(("_name", "said", "named"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refusals(_name: str, said: Any, named: str) -> None:
    """What cannot be judged is refused in one sentence that names the element."""
    with pytest.raises(PolicyError, match=re.escape(named)) as refused:
        parse_policy(said)
    assert str(refused.value).endswith(".")


def test_policy_of_a_credential() -> None:
    """A credential without a policy may call every operation, and one document is parsed once."""
    text = json.dumps(document(allow("aws-marketplace:MeterUsage")))
    assert allowed(policy_of(None)) == ALL
    assert allowed(policy_of(text)) == {"MeterUsage"}
    assert policy_of(text) is policy_of(text)


def test_unknown_operations_do_not_pile_up() -> None:
    """Asking for ever new operations gives right verdicts without keeping them all."""
    policy = parse_policy(document(allow("aws-marketplace:Even*")))
    assert all(policy.allows(f"{name}{i}") == (name == "Even") for i in range(200) for name in ("Even", "Odd"))
    assert len(policy._verdicts) < 100


def test_access_denied() -> None:
    """A refused principal is told who may not do what, in AWS's words."""
    fault = access_denied("arn:aws:iam::111122223333:user/seller", "MeterUsage")
    assert fault.code is FaultCode.ACCESS_DENIED
    assert fault.message == (
        "User: arn:aws:iam::111122223333:user/seller is not authorized to perform: aws-marketplace:MeterUsage"
    )


@given(st.text("aAb:*?", min_size=1, max_size=12), st.text("aAb", max_size=10))
def test_wildcards_as_a_regular_expression(pattern: str, operation: str) -> None:
    """A pattern matches as the regular expression that it stands for does, whatever the case."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    policy = parse_policy(document(allow(f"aws-marketplace:{pattern}")))
    assert policy.allows(operation) == (re.fullmatch(expression, operation, re.IGNORECASE) is not None)


def test_many_stars_are_quick() -> None:
    """A pattern of a thousand stars against a long name is judged by a bounded number of steps."""
    policy = parse_policy(document(allow("aws-marketplace:" + "*a" * 1000 + "b")))
    assert not policy.allows("a" * 1500)


@given(st.lists(st.sampled_from([allow("*"), deny("*"), allow("aws-marketplace:Me*"), deny("aws-marketplace:Me*")])))
def test_order_of_statements_does_not_count(statements: list[dict[str, Any]]) -> None:
    """Statements mean the same in any order, and one more deny never allows more."""
    if statements:
        policy = parse_policy(document(*statements))
        assert allowed(parse_policy(document(*reversed(statements)))) == allowed(policy)
        assert allowed(parse_policy(document(*statements, deny("aws-marketplace:R*")))) <= allowed(policy)
    else:
        with pytest.raises(PolicyError):
            parse_policy(document())


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["Allow", "*", "2012-10-17"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Version", "Id", "Statement", "Sid", "Effect", "Action", "Resource", "Condition"])
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(documents | st.text(max_size=40))
def test_any_document_is_parsed_or_refused(said: Any) -> None:
    """Whatever a document holds, it becomes a policy or is refused as one, and never ends in a surprise."""
    try:
        policy = parse_policy(said)
    except PolicyError as refused:
        text = str(refused)
    else:
        text = ""
        assert policy.statements
    assert "\n" not in text
