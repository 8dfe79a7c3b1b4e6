"""Credentials, workloads and `[open]`: what is made up, what is shown, what ends."""

from typing import Any

import pytest
from msgspec import convert

from meterhouse.core.catalog import OpenIdentity, Platform, Workload
from meterhouse.core.moment import HOUR, SECOND, datetime_of
from meterhouse.service.credentials import (
    ShownCredential,
    deleted_credential,
    ended_workload,
    handed_to,
    heartbeat,
    new_credential,
    new_workload,
)
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import CredentialRow, WorkloadRow
from tests.unit.marketplace import BUYER, CREDENTIAL, NOW, SELLER, Place

CONFLICT, INVALID, NOT_FOUND = RefusalKind.CONFLICT, RefusalKind.INVALID, RefusalKind.NOT_FOUND
EXPIRES = NOW + 6 * HOUR
TASK = {"platform": "ecs", "resource_id": "task/1", "region": "us-east-1"}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "aws-marketplace:*", "Resource": "*"}]}


def made(place: Place, **members: Any) -> ShownCredential:
    """What `POST /credentials` shows."""
    row = convert({"account": SELLER} | members, CredentialRow)
    return place.keep(new_credential(row, place.catalog, place.sources))


def started(place: Place, **members: Any) -> Workload:
    """The workload that `POST /workloads` starts."""
    row = convert(TASK | {"account": BUYER} | members, WorkloadRow)
    return place.keep(new_workload(row, EXPIRES, place.catalog, place.sources)).workload


@pytest.mark.parametrize(
    ("members", "prefix", "session"),
    [
        ({}, "AKIA", False),
        ({"expires": datetime_of(EXPIRES)}, "ASIA", True),
        ({"session_token": "given"}, "ASIA", True),
        ({"secret_access_key": "given", "expires": datetime_of(EXPIRES)}, "AKIA", False),
        ({"access_key_id": "AKIDEXAMPLE"}, "AKID", False),
    ],
)
def test_keys_and_secrets_are_made_up(members: dict[str, Any], prefix: str, session: bool) -> None:
    """What is not given is made up: a key of 20 characters, a secret of 40, a session token for what expires."""
    shown = made(Place(), **members)
    assert shown.access_key_id.startswith(prefix)
    assert len(shown.access_key_id) == len(members.get("access_key_id", "x" * 20))
    assert len(shown.secret_access_key) == (5 if "secret_access_key" in members else 40)
    assert (shown.session_token is not None) is session


def test_no_two_are_alike() -> None:
    """Each key and each secret is made up anew."""
    place = Place()
    shown = [made(place) for _ in range(20)]
    assert len({one.access_key_id for one in shown} | {one.secret_access_key for one in shown}) == 40


def test_secrets_are_sealed_for_their_place() -> None:
    """What is kept went through the seal, each secret bound to its key and its member."""
    place = Place()
    made(place, access_key_id="AKID", secret_access_key="one", session_token="two")
    kept = place.catalog.credentials["AKID"]
    assert kept.sealed_secret == b"credential/AKID/sealed_secret=one"
    assert kept.sealed_session_token == b"credential/AKID/sealed_session_token=two"


def test_what_is_shown_hides_its_secrets_from_representations() -> None:
    """Shown once, in the answer, and in no log."""
    assert "hidden" not in repr(made(Place(), secret_access_key="hidden", session_token="hidden"))


def test_the_principal_is_made_from_the_account() -> None:
    """Where none is given; a policy that is not given allows everything."""
    place = Place()
    assert made(place).principal == f"arn:aws:iam::{SELLER}:root"
    assert made(place, principal=f"arn:aws:iam::{SELLER}:user/a").principal == f"arn:aws:iam::{SELLER}:user/a"
    assert {one.policy for one in place.catalog.credentials.values()} == {None}


def test_a_policy_is_judged_when_it_is_given() -> None:
    """One that cannot be judged is refused with its own sentence, one that can is kept as JSON."""
    place = Place()
    made(place, access_key_id="AKID", policy=ALLOW)
    assert place.sources.check_policy(place.catalog.credentials["AKID"].policy or "")
    with pytest.raises(Refused) as refused:
        made(place, policy=ALLOW | {"Version": "1999-01-01"})
    assert (refused.value.kind, refused.value.field) == (INVALID, "policy")
    assert str(refused.value).startswith("policy: The policy's Version must be")


def test_an_access_key_is_taken_once() -> None:
    """A second credential of the same key is a conflict."""
    place = Place()
    made(place, access_key_id="AKID")
    with pytest.raises(Refused) as refused:
        made(place, access_key_id="AKID")
    assert (refused.value.kind, refused.value.field) == (CONFLICT, "access_key_id")


def test_a_credential_can_be_deleted_once() -> None:
    """It is gone then, and cannot be deleted again; its key may be taken anew."""
    place = Place()
    made(place, access_key_id="AKID")
    place.keep(deleted_credential("AKID", place.catalog))
    assert place.catalog.credentials == {}
    with pytest.raises(Refused) as refused:
        deleted_credential("AKID", place.catalog)
    assert refused.value.kind is NOT_FOUND
    made(place, access_key_id="AKID")


def test_a_credential_can_come_with_its_workload() -> None:
    """The workload is the credential's account's, and starts now."""
    place = Place()
    made(place, account=BUYER, access_key_id="AKID", workload=TASK)
    assert place.catalog.credentials["AKID"].workload == "task/1"
    assert place.catalog.workloads["task/1"] == Workload("task/1", Platform.ECS, BUYER, "us-east-1", NOW)


def test_a_workload_may_have_several_credentials() -> None:
    """As long as each describes it the same way."""
    place = Place()
    made(place, account=BUYER, workload=TASK)
    made(place, account=BUYER, workload=TASK)
    assert len(place.catalog.credentials) == 2
    for members in (
        {"account": SELLER, "workload": TASK},
        {"account": BUYER, "workload": TASK | {"platform": "eks"}},
        {"account": BUYER, "workload": TASK | {"launched": datetime_of(NOW - HOUR)}},
    ):
        with pytest.raises(Refused) as refused:
            made(place, **members)
        assert refused.value.kind is CONFLICT


@pytest.mark.parametrize(
    ("platform", "beginning"),
    [
        ("ec2", "i-"),
        ("ecs", "task/"),
        ("fargate", "task/"),
        ("eks", "pod/"),
        ("agentcore", "runtime/"),
        ("none", "process/"),
    ],
)
def test_a_workload_is_started_with_temporary_credentials(platform: str, beginning: str) -> None:
    """It starts now by its account's clock, with a made-up id and credentials that expire."""
    place = Place(lambda account: {BUYER: NOW + HOUR}[account])
    row = WorkloadRow(platform=Platform(platform), account=BUYER, region="us-east-1")
    started = place.keep(new_workload(row, EXPIRES, place.catalog, place.sources))
    assert started.workload.resource_id.startswith(beginning)
    assert started.workload.launched_micros == NOW + HOUR
    assert started.credential.access_key_id.startswith("ASIA")
    assert started.credential.session_token
    assert started.credential.expires_micros == EXPIRES
    kept = place.catalog.credentials[started.credential.access_key_id]
    assert (kept.workload, kept.account) == (started.workload.resource_id, BUYER)


def test_a_workload_is_handed_new_credentials() -> None:
    """As often as its platform would: each with keys of its own."""
    place = Place()
    workload = started(place)
    first, _ = handed_to(workload, EXPIRES, place.sources)
    second, shown = handed_to(workload, EXPIRES + HOUR, place.sources)
    assert first.access_key_id != second.access_key_id
    assert second.sealed_secret.endswith(shown.secret_access_key.encode())
    assert (second.workload, second.expires_micros) == ("task/1", EXPIRES + HOUR)


def test_a_resource_id_is_taken_once() -> None:
    """A second workload of the same id is a conflict."""
    place = Place()
    started(place)
    with pytest.raises(Refused) as refused:
        started(place)
    assert (refused.value.kind, refused.value.field) == (CONFLICT, "resource_id")


def test_a_workload_ends_once() -> None:
    """By the clock of its account; a second end is a conflict, and so is a heartbeat after it."""
    clock = {BUYER: NOW}
    place = Place(lambda account: clock[account])
    started(place, heartbeat_seconds=60)
    clock[BUYER] = NOW + HOUR
    ended = place.keep(ended_workload("task/1", place.catalog, place.sources))
    assert ended.ended_micros == NOW + HOUR
    for again in (ended_workload, heartbeat):
        with pytest.raises(Refused, match=r"it was ended at 2026-11-21T13:00:00Z") as refused:
            again("task/1", place.catalog, place.sources)
        assert refused.value.kind is CONFLICT


def test_a_heartbeat_is_a_sign_of_life() -> None:
    """Also after a lapse; and the last one stays the last where a clock is set back."""
    clock = {BUYER: NOW}
    place = Place(lambda account: clock[account])
    started(place, heartbeat_seconds=60)
    for moved, seen in ((SECOND, SECOND), (HOUR, HOUR), (0, HOUR)):
        clock[BUYER] = NOW + moved
        workload = place.keep(heartbeat("task/1", place.catalog, place.sources))
        assert workload.last_seen_micros == NOW + seen


def test_an_end_is_never_before_the_start() -> None:
    """A workload whose account's clock was set back ends when it began."""
    clock = {BUYER: NOW}
    place = Place(lambda account: clock[account])
    started(place)
    clock[BUYER] = NOW - HOUR
    assert place.keep(ended_workload("task/1", place.catalog, place.sources)).ended_micros == NOW


@pytest.mark.parametrize("call", [ended_workload, heartbeat])
def test_an_unknown_workload_is_not_found(call: Any) -> None:
    """Neither ends nor beats."""
    place = Place()
    with pytest.raises(Refused) as refused:
        call("task/9", place.catalog, place.sources)
    assert refused.value.kind is NOT_FOUND


OPEN = f"""
[open]
account = "{BUYER}"
region = "us-east-1"
[open.workload]
platform = "ecs"
resource_id = "task/1"
region = "us-east-1"
"""


def test_open_has_a_workload_like_any_other() -> None:
    """It is found among the workloads, and is ended there."""
    place = Place()
    place.load(OPEN)
    workload = Workload("task/1", Platform.ECS, BUYER, "us-east-1", NOW)
    assert place.catalog.open == OpenIdentity(BUYER, "us-east-1", "task/1")
    assert place.catalog.workloads == {"task/1": workload}
    assert place.catalog.running("task/1") == workload
    ended = place.keep(ended_workload("task/1", place.catalog, place.sources))
    assert place.catalog.workloads == {"task/1": ended}
    assert place.catalog.running("task/1") is None


def test_open_can_be_nearly_empty() -> None:
    """Without an account it is the one that nobody has."""
    place = Place()
    place.load("[open]\n")
    assert place.catalog.open == OpenIdentity()
    place.load('[open]\nregion = "eu-west-1"\n')
    assert place.catalog.open == OpenIdentity("000000000000", "eu-west-1")


@pytest.mark.parametrize(
    ("member", "other", "refused"),
    [
        ("platform", "eks", True),
        ("region", "eu-west-1", True),
        ("heartbeat_seconds", 30, False),
        ("launched", "2026-11-20T00:00:00Z", False),
    ],
)
def test_what_was_metered_is_found_by_account_region_and_platform(member: str, other: object, *, refused: bool) -> None:
    """So these are fixed; the rest of a workload may be written anew."""
    place = Place()
    written = {"platform": "ecs", "region": "us-east-1"}
    for members in (written, written | {member: other}):
        text = "".join(
            f"{name} = {value if isinstance(value, int) or name == 'launched' else repr(value)}\n"
            for name, value in members.items()
        )
        nested = f'{CREDENTIAL}[credentials.workload]\nresource_id = "task/1"\n{text}'
        if refused and members is not written:
            with pytest.raises(Refused) as refusal:
                place.load(nested)
            assert refusal.value.field is not None
            assert refusal.value.field.endswith(member)
        else:
            place.load(nested)
