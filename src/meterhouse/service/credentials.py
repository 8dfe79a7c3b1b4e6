"""Credentials, the workloads they are handed to, and `[open]`: from rows to facts (contract §2, §3, §7).

Whoever leaves a secret to be made up has it shown once, in the answer. A secret that is made up for credentials that
expire comes with a session token, and its key begins with ASIA instead of AKIA: such are temporary credentials.

A workload's account, Region and platform are fixed: what it meters is billed and found by them. Once ended
it stays so.
"""

from typing import Final

import msgspec
from msgspec import structs

from meterhouse.core.catalog import Catalog, Credential, Fact, OpenIdentity, Platform, Workload
from meterhouse.core.moment import rfc3339
from meterhouse.service.draft import LOWER, UPPER, Change, Draft, Gone, Sources, fixed, letters, micros_of
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import CredentialRow, NestedWorkload, OpenRow, Row, WorkloadRow
from meterhouse.service.seal import place_of

_RESOURCE_ID: Final = {
    Platform.EC2: "i-{}",
    Platform.ECS: "task/{}",
    Platform.EKS: "pod/{}",
    Platform.FARGATE: "task/{}",
    Platform.AGENTCORE: "runtime/{}",
    Platform.NONE: "process/{}",
}
"""What a made-up resource id looks like on each platform."""


class ShownCredential(Row, kw_only=True):
    """Keys and secrets, the only time they are shown."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    expires_micros: int | None
    account: str
    principal: str


class StartedWorkload(Row, kw_only=True):
    """A workload, and the first credentials handed to it."""

    workload: Workload
    credential: ShownCredential


def new_credential(row: CredentialRow, catalog: Catalog, sources: Sources) -> Change[ShownCredential]:
    """`POST /credentials`: CONFLICT where the key exists, or the workload and is another."""
    if row.access_key_id in catalog.credentials:
        raise Refused(RefusalKind.CONFLICT, f'the access key "{row.access_key_id}" exists already', "access_key_id")
    if row.workload is not None:
        _check_same(row.workload, row.account, catalog, sources)
    facts, shown = credential_of(row, None, Draft(catalog), sources)
    return Change(facts, shown)


def deleted_credential(access_key_id: str, catalog: Catalog) -> Change[None]:
    """`DELETE /credentials/{access_key_id}`: NOT_FOUND where there is none."""
    if access_key_id not in catalog.credentials:
        raise Refused(RefusalKind.NOT_FOUND, f'no credential has the access key "{access_key_id}"')
    return Change([Gone(access_key_id)], None)


def new_workload(row: WorkloadRow, expires_micros: int, catalog: Catalog, sources: Sources) -> Change[StartedWorkload]:
    """`POST /workloads`: it starts, with temporary credentials; CONFLICT where the resource id exists.

    `expires_micros` is by real time, as the expiry of all credentials.
    """
    _check_unused(row, catalog, "resource_id")
    workload = workload_of(row, row.account, None, sources)
    fact, shown = handed_to(workload, expires_micros, sources)
    return Change([workload, fact], StartedWorkload(workload=workload, credential=shown))


def handed_to(workload: Workload, expires_micros: int, sources: Sources) -> tuple[Credential, ShownCredential]:
    """Temporary credentials for a workload: what its platform would hand it when the ones it has run out."""
    credential = Credential(
        access_key_id=f"ASIA{letters(sources.random_bytes, UPPER, 16)}",
        account=workload.account,
        principal=_principal_of(workload.account),
        sealed_secret=b"",
        expires_micros=expires_micros,
        workload=workload.resource_id,
    )
    secret, session_token = _secret(sources), _session_token(sources)
    return _sealed(credential, secret, session_token, sources), _shown(credential, secret, session_token)


def ended_workload(resource_id: str, catalog: Catalog, sources: Sources) -> Change[Workload]:
    """`POST /workloads/{resource_id}/end`, dated by the clock of its account: NOT_FOUND; CONFLICT for a second end."""
    workload = _running(resource_id, catalog)
    ended = structs.replace(workload, ended_micros=max(sources.now(workload.account), workload.launched_micros))
    return Change([ended], ended)


def heartbeat(resource_id: str, catalog: Catalog, sources: Sources) -> Change[Workload]:
    """`POST /workloads/{resource_id}/heartbeat`: a sign of life, also after a lapse. NOT_FOUND; CONFLICT once ended."""
    workload = _running(resource_id, catalog)
    seen = seen_at(workload, sources.now(workload.account))
    return Change([seen], seen)


def seen_at(workload: Workload, micros: int) -> Workload:
    """A workload that has given a sign of life; one that comes out of order changes nothing."""
    last_seen = workload.launched_micros if workload.last_seen_micros is None else workload.last_seen_micros
    return structs.replace(workload, last_seen_micros=max(micros, last_seen))


def credential_of(
    row: CredentialRow, present: Credential | None, draft: Draft, sources: Sources
) -> tuple[list[Fact], ShownCredential]:
    """The credential that a row describes and its workload, in place of the present one or new.

    A present secret that the row does not give stays; it is then empty in what is shown, for nobody can show it again.
    """
    facts: list[Fact] = []
    workload: Workload | None = None
    if row.workload is not None:
        running = None if row.workload.resource_id is None else draft.workloads.get(row.workload.resource_id)
        workload = workload_of(row.workload, row.account, running, sources)
        facts.append(workload)
    expires_micros = None if row.expires is None else micros_of(row.expires, "expires")
    secret, session_token = row.secret_access_key, row.session_token
    sealed_session_token = present.sealed_session_token if present is not None and secret is None else None
    if secret is None and present is None:
        secret = _secret(sources)
        session_token = session_token or (None if expires_micros is None else _session_token(sources))
    prefix = "AKIA" if session_token is None else "ASIA"
    credential = Credential(
        access_key_id=row.access_key_id or f"{prefix}{letters(sources.random_bytes, UPPER, 16)}",
        account=row.account,
        principal=row.principal or _principal_of(row.account),
        sealed_secret=b"" if present is None else present.sealed_secret,
        sealed_session_token=sealed_session_token,
        expires_micros=expires_micros,
        policy=_policy_of(row, sources),
        workload=None if workload is None else workload.resource_id,
    )
    facts.append(_sealed(credential, secret, session_token, sources))
    return facts, _shown(credential, secret or "", session_token)


def workload_of(row: NestedWorkload, account: str, present: Workload | None, sources: Sources) -> Workload:
    """The workload that a row describes, in place of the present one (which stays ended, and seen) or new."""
    if present is not None:
        # What was metered is found by these: a workload that moved would leave its registrations behind.
        fixed(present.account, account, "account", "a workload")
        fixed(present.region, row.region, "region", "a workload")
        fixed(present.platform, row.platform, "platform", "a workload")
    if row.launched is not None:
        launched_micros = micros_of(row.launched, "launched")
    else:
        launched_micros = present.launched_micros if present else sources.now(account)
    return Workload(
        resource_id=row.resource_id or _RESOURCE_ID[row.platform].format(sources.random_bytes(16).hex()),
        platform=row.platform,
        account=account,
        region=row.region,
        launched_micros=launched_micros,
        ended_micros=present.ended_micros if present else None,
        heartbeat_seconds=row.heartbeat_seconds,
        last_seen_micros=present.last_seen_micros if present else None,
    )


def open_of(row: OpenRow, draft: Draft, sources: Sources) -> list[Fact]:
    """`[open]`, and its workload, which is one like any other."""
    if row.workload is None:
        return [OpenIdentity(row.account, row.region)]
    workload = workload_of(row.workload, row.account, draft.workloads.get(row.workload.resource_id), sources)
    return [workload, OpenIdentity(row.account, row.region, workload.resource_id)]


def _check_unused(row: NestedWorkload, catalog: Catalog, field: str) -> None:
    if row.resource_id in catalog.workloads:
        raise Refused(RefusalKind.CONFLICT, f'the workload "{row.resource_id}" exists already', field)


def _check_same(row: NestedWorkload, account: str, catalog: Catalog, sources: Sources) -> None:
    """A workload may be handed several credentials; it must be described the same way each time."""
    present = catalog.workloads.get(row.resource_id or "")
    if present is not None and workload_of(row, account, present, sources) != present:
        reason = f'the workload "{present.resource_id}" exists already, and is another'
        raise Refused(RefusalKind.CONFLICT, reason, "workload.resource_id")


def _running(resource_id: str, catalog: Catalog) -> Workload:
    workload = catalog.workloads.get(resource_id)
    if workload is None:
        raise Refused(RefusalKind.NOT_FOUND, f'no workload has the resource id "{resource_id}"')
    if workload.ended_micros is not None:
        raise Refused(RefusalKind.CONFLICT, f"it was ended at {rfc3339(workload.ended_micros)}")
    return workload


def _policy_of(row: CredentialRow, sources: Sources) -> str | None:
    if row.policy is None:
        return None
    policy = msgspec.json.encode(row.policy).decode()
    try:
        sources.check_policy(policy)
    except ValueError as error:
        raise Refused(RefusalKind.INVALID, str(error).removesuffix("."), "policy") from None
    return policy


def _sealed(credential: Credential, secret: str | None, session_token: str | None, sources: Sources) -> Credential:
    """The credential with new secrets sealed into it; None leaves what it has."""
    if secret is not None:
        sealed = sources.seal(place_of(credential, "sealed_secret"), secret.encode())
        credential = structs.replace(credential, sealed_secret=sealed)
    if session_token is not None:
        sealed = sources.seal(place_of(credential, "sealed_session_token"), session_token.encode())
        credential = structs.replace(credential, sealed_session_token=sealed)
    return credential


def _shown(credential: Credential, secret: str, session_token: str | None) -> ShownCredential:
    return ShownCredential(
        access_key_id=credential.access_key_id,
        secret_access_key=secret,
        session_token=session_token,
        expires_micros=credential.expires_micros,
        account=credential.account,
        principal=credential.principal,
    )


def _principal_of(account: str) -> str:
    return f"arn:aws:iam::{account}:root"


def _secret(sources: Sources) -> str:
    return letters(sources.random_bytes, LOWER, 40)


def _session_token(sources: Sources) -> str:
    return letters(sources.random_bytes, LOWER, 96)
