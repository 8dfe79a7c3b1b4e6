"""What may be written: bodies of calls, the sentences that refuse them, and what is shown of secrets."""

from datetime import UTC, datetime

import msgspec
import pytest

from meterhouse.core.catalog import ProductType
from meterhouse.service import forms, rows
from meterhouse.service.reading import field_of, read_body, read_parameter
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import (
    AccountPatch,
    AgreementPatch,
    AgreementRow,
    ClockRow,
    CredentialRow,
    ProductPatch,
    ProductRow,
    Row,
    TokenRow,
    WorkloadRow,
)

MEMBERS = "is not a set of named members {…}"
TIME = "is not a time with its offset, such as 2026-01-01T00:00:00Z"
PRICE = 'is not a price: a plain decimal with up to 8 places, as text, such as "0.25"'
STATES = "is none of pending, active, unsubscribing, ended"
SECONDS = "is not a number of seconds from 0 to a million million (to go back, freeze at an earlier time)"
TOKEN = "is not a registration token: 1 to 4096 characters"
AGREEMENT_ID = "is not an agreement id: 1 to 64 of A-Z, a-z, 0-9 and _/-"
DIMENSIONS = "is not a list of at most 200 dimensions"

INVALID: list[tuple[type[Row], str, str | None, str]] = [
    (TokenRow, "[]", None, f"[] {MEMBERS}"),
    (TokenRow, "null", None, f"null {MEMBERS}"),
    (TokenRow, "", "agreement", "missing"),
    (TokenRow, '{"agreement":1}', "agreement", f"1 {AGREEMENT_ID}"),
    (TokenRow, '{"agreement":"a","agrement":1}', "agrement", 'unknown; did you mean "agreement"?'),
    (TokenRow, '{"agreement":"a","x":1}', "x", "unknown; known here: token, agreement, issued"),
    (TokenRow, '{"agreement":"a","token":5}', "token", f"what is given {TOKEN}"),
    (AgreementPatch, '{"end":"2027-01-01"}', "end", f'"2027-01-01" {TIME}'),
    (AgreementPatch, '{"end":1795219200}', "end", f"1795219200 {TIME}"),
    (AgreementPatch, '{"end":"2027-01-01T00:00:00"}', "end", f'"2027-01-01T00:00:00" {TIME}'),
    (AgreementPatch, '{"status":null}', "status", f"null {STATES}"),
    (AccountPatch, '{"suspended":1}', "suspended", "1 is not true or false"),
    (ProductPatch, '{"dimensions":[{"key":"a","unit":"b","price":1}]}', "dimensions[0].price", f"1 {PRICE}"),
    (ProductPatch, '{"dimensions":[3]}', "dimensions[0]", f"3 {MEMBERS}"),
    (ProductPatch, '{"dimensions":{}}', "dimensions", f"{{…}} {DIMENSIONS}"),
    (WorkloadRow, '{"platform":"ecs","region":"us-east-1"}', "account", "missing"),
    (
        CredentialRow,
        '{"account":"111122223333","secret_access_key_env":"X"}',
        "secret_access_key_env",
        'unknown; did you mean "secret_access_key"?',
    ),
    (ClockRow, '{"advance_seconds":-1}', "advance_seconds", f"-1 {SECONDS}"),
    (ClockRow, '{"advance_seconds":1e400}', "advance_seconds", f"inf {SECONDS}"),
    (ClockRow, '{"advance_seconds":"1h"}', "advance_seconds", f'"1h" {SECONDS}'),
]
"""A form, a body, and how it is refused: field and reason."""

MALFORMED = [
    b"{",
    b"\xff",
    b'{"unknown":1',
    b'{"agreement":"\xff"}',
    b'{"agreement":"\\ud800"}',
    b'{"issued":NaN}',
    b"[" * 99_999,
]
"""Bodies that are not JSON."""


@pytest.mark.parametrize(("form", "body", "field", "reason"), INVALID)
def test_a_body_off_its_form_is_invalid(form: type[Row], body: str, field: str | None, reason: str) -> None:
    """JSON off its form is invalid: one sentence names the field and says why."""
    with pytest.raises(Refused) as refused:
        read_body(body.encode(), form)
    assert (refused.value.kind, refused.value.field) == (RefusalKind.INVALID, field)
    assert str(refused.value) == (reason if field is None else f"{field}: {reason}")


@pytest.mark.parametrize("body", MALFORMED)
def test_a_body_that_is_no_json_is_malformed(body: bytes) -> None:
    """What is no JSON is told from what is wrong JSON, also where something else is wrong before the break."""
    with pytest.raises(Refused) as refused:
        read_body(body, TokenRow)
    assert (refused.value.kind, refused.value.field) == (RefusalKind.MALFORMED, None)
    assert str(refused.value).startswith("the body is ")


def test_a_body_is_read_by_its_members() -> None:
    """Times are RFC 3339, prices text, and what is absent is None."""
    row = read_body(b'{"product":"p","buyer":"444455556666","end":"2027-01-01T01:00:00.5+01:00"}', AgreementRow)
    assert row.end is not None
    assert row.end.astimezone(UTC) == datetime(2027, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert (row.id, row.start, row.status) == (None, None, None)


def test_null_in_a_row_is_absence() -> None:
    """A member that may be absent may be null."""
    assert read_body(b'{"agreement":"agmt-1","token":null}', TokenRow) == TokenRow(agreement="agmt-1")


def test_of_a_member_given_twice_the_last_counts() -> None:
    """As everywhere in JSON here."""
    assert read_body(b'{"agreement":"a","agreement":"b"}', TokenRow).agreement == "b"


def test_a_parameter_has_a_form_too() -> None:
    """What stands in a path is held to the same form as what stands in a body."""
    assert read_parameter("444455556666", forms.AccountId, "id") == "444455556666"
    with pytest.raises(Refused) as refused:
        read_parameter("4444\n", forms.AccountId, "id")
    assert str(refused.value) == 'id: "4444\\n" is not an AWS account id: 12 digits, as text'


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (forms.AccountId, "444455556666\n"),
        (forms.AccountId, "44445555666\N{ARABIC-INDIC DIGIT SIX}"),
        (forms.ProductCode, "a\n"),
        (forms.DimensionKey, "users\n"),
        (forms.Price, "1\n"),
        (forms.Price, "01"),
        (forms.Price, ".5"),
        (forms.Price, "1."),
        (forms.Region, "us-east-1\n"),
        (forms.LicenseArn, "arn:aws:license-manager::111122223333:license:l-0\n"),
        (forms.RegistrationUrl, "https://"),
        (forms.RegistrationUrl, "https://a b"),
        (forms.AccessKeyId, "AKID\n"),
        (forms.ResourceId, "task/1\n"),
    ],
)
def test_a_form_is_of_the_whole_text(form: object, value: str) -> None:
    """No form lets a line break follow, another alphabet's digits pass, or a part stand for the whole."""
    with pytest.raises(Refused):
        read_parameter(value, form, "value")


def test_secrets_are_not_in_representations() -> None:
    """What is printed of a row, in a log or a traceback, has no secret in it."""
    shown = repr(CredentialRow(account="111122223333", secret_access_key="hidden", session_token="hidden")) + repr(
        TokenRow(agreement="agmt-1", token="hidden")
    )
    assert "hidden" not in shown
    assert "secret_access_key=…" in shown


def test_a_row_can_be_described_to_machines() -> None:
    """Every form of a row becomes a JSON Schema, with its patterns and what it is for."""
    named = [row for row in vars(rows).values() if isinstance(row, type) and issubclass(row, Row)]
    _, components = msgspec.json.schema_components(named)
    schema = components["ProductRow"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["code", "name", "seller", "type"]
    assert "description" in schema["properties"]["code"]
    assert "pattern" in schema["properties"]["code"]


def test_required_members_are_the_contracts() -> None:
    """What must be given is what the contract lists, and nothing else."""
    required = {
        row.__name__: sorted(field.name for field in msgspec.structs.fields(row) if field.required)
        for row in vars(rows).values()
        if isinstance(row, type) and issubclass(row, Row)
    }
    assert {name: members for name, members in required.items() if members} == {
        "ProductRow": ["code", "name", "seller", "type"],
        "DimensionRow": ["key", "price", "unit"],
        "AgreementRow": ["buyer", "product"],
        "TokenRow": ["agreement"],
        "AccountRow": ["id"],
        "CredentialRow": ["account"],
        "CredentialTable": ["access_key_id", "account"],
        "NestedWorkload": ["platform", "region"],
        "NestedWorkloadTable": ["platform", "region", "resource_id"],
        "WorkloadRow": ["account", "platform", "region"],
        "CatalogText": ["toml"],
    }


def test_defaults_are_the_contracts() -> None:
    """What is absent from a product's row takes the contract's value."""
    row = ProductRow(code="p", name="n", seller="111122223333", type=ProductType.SAAS)
    assert (row.integration, row.identical_repeat, row.window_edge, row.dry_run) == (
        "legacy",
        "Success",
        "instant",
        "answer",
    )


def test_a_field_is_a_path() -> None:
    """As programs write it."""
    assert field_of(("dimensions", 3, "key")) == "dimensions[3].key"
