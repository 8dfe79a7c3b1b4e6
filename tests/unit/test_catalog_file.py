"""Loading a catalog file: once, again, changed, from two sources; what is made up stays, and what calls did stays."""

import re
from typing import Any

import pytest
from msgspec import convert

from meterhouse.core.catalog import Account, AgreementState, Catalog, Credential, Platform, Product, ProductType
from meterhouse.core.moment import HOUR, micros_of_rfc3339
from meterhouse.ledger.protocol import Document
from meterhouse.service.agreements import IssuedToken, edited_agreement, token_sha256
from meterhouse.service.catalog_file import LOADED_KIND, Circumstances, check, load
from meterhouse.service.credentials import ShownCredential, deleted_credential, new_credential
from meterhouse.service.listing import edited_account, edited_product
from meterhouse.service.places import Source
from meterhouse.service.reading import WrittenCatalog, read_catalog
from meterhouse.service.refused import Refused
from meterhouse.service.rows import AccountPatch, AgreementPatch, CredentialRow, ProductPatch
from tests.unit.marketplace import (
    AGREEMENT,
    BUYER,
    CREDENTIAL,
    DIMENSION,
    NOW,
    OTHER_BUYER,
    PRODUCT,
    SELLER,
    Place,
    sources_at,
)

SUSPENDED = f'[[accounts]]\nid = "{BUYER}"\nsuspended = true\n'
TOKEN = '[[registration_tokens]]\nagreement = "agmt-1"\n'
NAMED = AGREEMENT + 'id = "agmt-1"\n'


def facts_of(place: Place) -> list[object]:
    """All that a place's catalog holds."""
    return sorted([*place.catalog.facts(), place.catalog.open], key=repr)


def patched(place: Place, agreement_id: str, **members: Any) -> None:
    """`PATCH /agreements/{id}`."""
    patch = convert(members, AgreementPatch)
    place.keep(edited_agreement(agreement_id, patch, place.catalog, place.sources))


WHOLE = """
[[products]]
code = "a1b2c3d4e5f6g7h8i9j0k1l2m"
id = "prod-abcdefghijklm"
name = "Data Pipeline"
seller = "111122223333"
type = "saas"
integration = "legacy"
registration_url = "http://127.0.0.1:5000/register"
regions = ["us-east-1", "eu-west-1"]
hourly_price = "0.12"
identical_repeat = "Success"
window_edge = "instant"
dry_run = "answer"

[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.25"
description = "Active users an hour"

[[agreements]]
id = "agmt-1example"
license_arn = "arn:aws:license-manager::111122223333:license:l-0123456789abcdef0123456789abcdef"
customer_identifier = "X01EXAMPLEX"
product = "a1b2c3d4e5f6g7h8i9j0k1l2m"
buyer = "444455556666"
start = 2026-01-01T00:00:00Z
end = 2027-01-01T00:00:00Z
status = "active"

[[accounts]]
id = "444455556666"
suspended = false

[[registration_tokens]]
token = "a-token-a-test-can-know"
agreement = "agmt-1example"
issued = 2026-11-20T08:00:00Z

[[credentials]]
access_key_id = "AKIDEXAMPLESELLER0001"
secret_access_key = "…"
session_token = "…"
expires = 2026-12-01T00:00:00Z
account = "111122223333"
principal = "arn:aws:iam::111122223333:user/seller"
policy = { Version = "2012-10-17", Statement = [ { Effect = "Allow", Action = "aws-marketplace:*", Resource = "*" } ] }

[credentials.workload]
platform = "ecs"
resource_id = "task/0123456789abcdef"
region = "us-east-1"
launched = 2026-11-21T00:00:00Z
heartbeat_seconds = 120

[open]
account = "111122223333"
region = "us-east-1"
"""


def test_every_key_of_the_form_is_taken() -> None:
    """A file that uses each key once becomes the facts that it says, and shows nothing, for nothing was made up."""
    place = Place()
    loaded = place.load(WHOLE)
    assert dict(loaded.changed) == dict.fromkeys(
        ("products", "agreements", "accounts", "registration_tokens", "credentials", "open"), 1
    )
    assert loaded.shown_once == []
    catalog = place.catalog
    product = catalog.products["a1b2c3d4e5f6g7h8i9j0k1l2m"]
    agreement = catalog.agreements["agmt-1example"]
    credential = catalog.credentials["AKIDEXAMPLESELLER0001"]
    workload = catalog.workloads["task/0123456789abcdef"]
    assert (product.hourly_price_units, product.dimensions[0].price_units) == (12_000_000, 25_000_000)
    assert (agreement.customer_identifier, agreement.end_micros) == (
        "X01EXAMPLEX",
        micros_of_rfc3339("2027-01-01T00:00Z"),
    )
    assert catalog.tokens[token_sha256("a-token-a-test-can-know")].issued_micros == NOW - 28 * HOUR
    assert credential.expires_micros == micros_of_rfc3339("2026-12-01T00:00:00Z")
    assert (workload.heartbeat_seconds, workload.platform, workload.account) == (120, Platform.ECS, SELLER)
    assert credential.workload == workload.resource_id
    assert catalog.open.account == SELLER


def test_loading_again_changes_nothing() -> None:
    """Not one fact and not one document is written."""
    place = Place()
    place.load(
        WHOLE + TOKEN.replace("agmt-1", "agmt-1example") + AGREEMENT.replace("pipeline", "a1b2c3d4e5f6g7h8i9j0k1l2m")
    )
    facts, kept = facts_of(place), dict(place.kept)
    again = place.load(
        WHOLE + TOKEN.replace("agmt-1", "agmt-1example") + AGREEMENT.replace("pipeline", "a1b2c3d4e5f6g7h8i9j0k1l2m")
    )
    assert (again.changed, again.shown_once) == ({}, [])
    assert (facts_of(place), place.kept) == (facts, kept)


def test_what_a_call_changed_stays() -> None:
    """The same file again does not undo what calls did to a product, an agreement, an account or a credential."""
    place = Place()
    text = PRODUCT + NAMED + SUSPENDED + CREDENTIAL
    place.load(text)
    place.keep(edited_product("pipeline", ProductPatch(name="Other"), place.catalog, place.sources))
    patched(place, "agmt-1", status="unsubscribing")
    place.keep(edited_account(BUYER, AccountPatch(suspended=False), place.catalog))
    place.keep(deleted_credential("AKIDEXAMPLE", place.catalog))
    facts = facts_of(place)
    assert place.load(text).changed == {}
    assert facts_of(place) == facts


def test_a_changed_row_is_applied_and_no_other() -> None:
    """Its neighbours stay as calls have made them."""
    place = Place()
    second = SUSPENDED.replace(BUYER, OTHER_BUYER)
    place.load(PRODUCT + SUSPENDED + second)
    for account in (BUYER, OTHER_BUYER):
        place.keep(edited_account(account, AccountPatch(suspended=False), place.catalog))
    loaded = place.load(PRODUCT + SUSPENDED.replace("true", "false") + second)
    assert loaded.changed == {}
    place.keep(edited_account(BUYER, AccountPatch(suspended=False), place.catalog))
    loaded = place.load(PRODUCT + SUSPENDED + second)
    assert loaded.changed == {"accounts": 1}
    assert place.catalog.accounts == {BUYER: Account(BUYER, suspended=True), OTHER_BUYER: Account(OTHER_BUYER)}


def test_a_row_that_is_gone_deletes_nothing() -> None:
    """And counts as changed when it is written again."""
    place = Place()
    text = PRODUCT + NAMED + CREDENTIAL + SUSPENDED
    place.load(text)
    facts = facts_of(place)
    assert place.load(PRODUCT).changed == {}
    assert facts_of(place) == facts
    place.keep(edited_account(BUYER, AccountPatch(suspended=False), place.catalog))
    place.load(text)
    assert place.catalog.suspended(BUYER)


def test_made_up_ids_stay() -> None:
    """A row without ids keeps those that it was given, also when something else in it changes."""
    place = Place()
    place.load(PRODUCT + AGREEMENT)
    (before,) = place.catalog.agreements.values()
    place.load(PRODUCT + AGREEMENT + "end = 2027-01-01T00:00:00Z\n")
    (after,) = place.catalog.agreements.values()
    assert (after.id, after.license_arn, after.customer_identifier) == (
        before.id,
        before.license_arn,
        before.customer_identifier,
    )
    assert after.end_micros == micros_of_rfc3339("2027-01-01T00:00:00Z")
    assert place.catalog.products["pipeline"].id.startswith("prod-")


def test_defaults_of_now_are_of_the_first_load() -> None:
    """An agreement, a token and a workload do not begin anew because their row changed later."""
    clock = [NOW]
    place = Place(lambda _account: clock[0])
    workload = '[credentials.workload]\nplatform = "ecs"\nresource_id = "task/1"\nregion = "us-east-1"\n'
    token = TOKEN + 'token = "known"\n'
    place.load(PRODUCT + NAMED + CREDENTIAL + workload + token)
    clock[0] += HOUR
    place.load(
        PRODUCT + NAMED + "end = 2030-01-01T00:00:00Z\n" + CREDENTIAL + workload + "heartbeat_seconds = 9\n" + token
    )
    assert place.catalog.agreements["agmt-1"].start_micros == NOW
    assert place.catalog.workloads["task/1"].launched_micros == NOW
    assert place.catalog.tokens[token_sha256("known")].issued_micros == NOW


def test_now_is_the_clock_of_whom_it_concerns() -> None:
    """Agreements and tokens begin by the seller's clock, workloads by that of their account."""
    clocks = {SELLER: NOW + HOUR, BUYER: NOW - HOUR}
    place = Place(lambda account: clocks[account])
    workload = '[credentials.workload]\nplatform = "ecs"\nresource_id = "task/1"\nregion = "us-east-1"\n'
    place.load(PRODUCT + NAMED + TOKEN + CREDENTIAL.replace(SELLER, BUYER) + workload)
    (token,) = place.catalog.tokens.values()
    assert place.catalog.agreements["agmt-1"].start_micros == token.issued_micros == NOW + HOUR
    assert place.catalog.workloads["task/1"].launched_micros == NOW - HOUR


# States of agreements


@pytest.mark.parametrize(
    ("first", "call", "second", "outcome"),
    [
        ('status = "pending"', {}, 'status = "active"', AgreementState.ACTIVE),
        ('status = "pending"', {}, "", AgreementState.ACTIVE),
        ("", {}, 'status = "unsubscribing"', AgreementState.UNSUBSCRIBING),
        ("", {}, 'status = "ended"', AgreementState.ENDED),
        ("end = 2027-01-01T00:00:00Z", {}, "", AgreementState.ACTIVE),
        ("", {"status": "unsubscribing"}, "start = 2026-11-01T00:00:00Z", AgreementState.UNSUBSCRIBING),
        ("", {"status": "unsubscribing"}, 'status = "ended"', AgreementState.ENDED),
        ("", {"status": "ended"}, 'status = "ended"', AgreementState.ENDED),
        ("", {"status": "unsubscribing"}, 'status = "active"', "status: it is unsubscribing already"),
        ("", {"status": "unsubscribing"}, "end = 2027-01-01T00:00:00Z", "end: it is unsubscribing already"),
        ("", {"status": "ended"}, 'status = "active"', "status: it is ended already"),
        ("", {"status": "ended"}, "end = 2027-01-01T00:00:00Z", "end: it has ended, and is never revived"),
        ("", {}, 'status = "pending"', "status: it is active already"),
    ],
)
def test_a_changed_row_moves_the_state_on(
    first: str, call: dict[str, Any], second: str, outcome: AgreementState | str
) -> None:
    """What the row says is done or refused; what it does not say revives nothing that calls have ended."""
    place = Place()
    place.load(PRODUCT + NAMED + "start = 2026-10-01T00:00:00Z\n" + first)
    patched(place, "agmt-1", **call)
    text = PRODUCT + NAMED + (second if "start" in second else "start = 2026-10-01T00:00:00Z\n" + second)
    if isinstance(outcome, AgreementState):
        place.load(text)
        assert place.catalog.agreements["agmt-1"].state(NOW) is outcome
    else:
        with pytest.raises(Refused, match=outcome):
            place.load(text)


def test_a_customer_named_in_one_row_is_named_so_in_all() -> None:
    """Also in rows above it."""
    place = Place()
    place.load(PRODUCT + AGREEMENT + AGREEMENT + 'customer_identifier = "X01"\n')
    assert {agreement.customer_identifier for agreement in place.catalog.agreements.values()} == {"X01"}


# Secrets


def test_a_random_token_is_shown_once() -> None:
    """When its row is first loaded; its row may change later without a new one."""
    place = Place()
    (issued,) = place.load(PRODUCT + NAMED + TOKEN).shown_once
    assert isinstance(issued, IssuedToken)
    assert set(place.catalog.tokens) == {token_sha256(issued.token)}
    assert place.load(PRODUCT + NAMED + TOKEN).shown_once == []
    assert place.load(PRODUCT + NAMED + TOKEN + "issued = 2026-11-20T08:00:00Z\n").shown_once == []
    assert place.catalog.tokens[token_sha256(issued.token)].issued_micros == NOW - 28 * HOUR
    (second,) = place.load(PRODUCT + NAMED + TOKEN * 2).shown_once
    assert isinstance(second, IssuedToken)
    assert len(place.catalog.tokens) == 2


def test_a_random_secret_is_shown_once() -> None:
    """And stays when its row changes."""
    place = Place()
    text = CREDENTIAL.replace('secret_access_key = "very secret"\n', "")
    (shown,) = place.load(text).shown_once
    assert isinstance(shown, ShownCredential)
    sealed = place.catalog.credentials["AKIDEXAMPLE"].sealed_secret
    assert sealed.endswith(shown.secret_access_key.encode())
    assert place.load(text + f'principal = "arn:aws:iam::{SELLER}:user/a"\n').shown_once == []
    assert place.catalog.credentials["AKIDEXAMPLE"].sealed_secret == sealed


def test_a_secret_can_stand_in_the_environment() -> None:
    """It counts as if it were written in the file: a new value is a changed row."""
    place = Place()
    text = CREDENTIAL.replace('secret_access_key = "very secret"', 'secret_access_key_env = "SECRET"')
    place.load(text)
    assert place.catalog.credentials["AKIDEXAMPLE"].sealed_secret.endswith(b"=from the environment")
    assert place.load(CREDENTIAL.replace("very secret", "from the environment")).changed == {}
    place.environment["SECRET"] = "another"
    assert place.load(text).changed == {"credentials": 1}
    assert place.catalog.credentials["AKIDEXAMPLE"].sealed_secret.endswith(b"=another")


def test_a_secret_written_in_the_file_replaces_the_session_token_too() -> None:
    """Who writes the secret writes the whole credential."""
    place = Place()
    place.load(CREDENTIAL + 'session_token = "token"\n')
    assert place.catalog.credentials["AKIDEXAMPLE"].sealed_session_token
    place.load(CREDENTIAL)
    assert place.catalog.credentials["AKIDEXAMPLE"].sealed_session_token is None


def loaded_documents(written: WrittenCatalog, circumstances: Circumstances) -> list[Document]:
    """What is kept of a file that is loaded for the first time."""
    writes = load(written, Catalog(), circumstances, sources_at(NOW)).writes
    return [write for write in writes if isinstance(write, Document) and write.kind == LOADED_KIND]


def test_what_is_kept_of_a_file_gives_no_secret_away() -> None:
    """Neither the secrets nor a digest of them that could be guessed against: fingerprints alone go in."""
    text = PRODUCT + NAMED + TOKEN + 'token = "known"\n' + CREDENTIAL + 'session_token = "session"\n'
    written = read_catalog(text, "catalog.toml")
    fingerprinted: list[str] = []

    def same_for_all(secret: str) -> str:
        fingerprinted.append(secret)
        return "the same for all"

    circumstances = Circumstances(Source.FILE, {}, same_for_all, {})
    documents = loaded_documents(written, circumstances)
    other = read_catalog(text.replace("very secret", "guessed").replace('"session"', '"guessed"'), "catalog.toml")
    assert loaded_documents(other, circumstances) == documents
    assert {"known", "very secret", "session"} <= set(fingerprinted)
    for secret in (b"very secret", b"session", b"known"):
        assert not any(secret in (document.body or b"") for document in documents)


def test_a_row_of_a_deleted_credential_makes_it_anew() -> None:
    """Once the row changes, not before."""
    place = Place()
    place.load(CREDENTIAL)
    place.keep(deleted_credential("AKIDEXAMPLE", place.catalog))
    place.load(CREDENTIAL)
    assert place.catalog.credentials == {}
    place.load(CREDENTIAL.replace("very secret", "another"))
    assert isinstance(place.catalog.credentials["AKIDEXAMPLE"], Credential)


def test_a_row_may_name_a_key_that_a_call_made() -> None:
    """It then describes it anew, secret and all."""
    place = Place()
    row = CredentialRow(account=SELLER, access_key_id="AKIDEXAMPLE", secret_access_key="by call")
    place.keep(new_credential(row, place.catalog, place.sources))
    place.load(CREDENTIAL)
    assert place.catalog.credentials["AKIDEXAMPLE"].sealed_secret.endswith(b"=very secret")


def test_a_workload_may_be_described_twice_the_same() -> None:
    """By two credentials, or by one and `[open]`."""
    workload = 'platform = "ecs"\nresource_id = "task/1"\nregion = "us-east-1"\n'
    place = Place()
    nested = "[credentials.workload]\n" + workload
    two = CREDENTIAL + nested + CREDENTIAL.replace("AKID", "AKIE") + nested
    place.load(two + f'[open]\naccount = "{SELLER}"\n[open.workload]\n' + workload)
    assert len(place.catalog.workloads) == 1
    with pytest.raises(Refused, match=re.escape('[open.workload], resource_id: "task/1" is described otherwise')):
        place.load(two + f'[open]\naccount = "{BUYER}"\n[open.workload]\n' + workload)


def test_a_file_is_checked_as_an_empty_server_would() -> None:
    """Without touching anything."""
    loaded = check(PRODUCT + DIMENSION + NAMED, "catalog.toml", {}, sources_at(NOW))
    assert loaded.changed == {"products": 1, "agreements": 1}
    with pytest.raises(Refused, match=r"^catalog\.toml, line 3, \[\[agreements\]\] no\. 1, product: no product has"):
        check(AGREEMENT, "catalog.toml", {}, sources_at(NOW))


def test_an_empty_file_is_a_catalog() -> None:
    """Of nothing."""
    assert Place().load("").changed == {}


def test_a_product_needs_no_more_than_is_required() -> None:
    """All else has its default."""
    place = Place()
    place.load(PRODUCT)
    product = place.catalog.products["pipeline"]
    assert product == Product("pipeline", product.id, "Data Pipeline", SELLER, ProductType.SAAS)
