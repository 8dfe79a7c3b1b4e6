"""Credentials: keys that sign calls."""

from typing import Final

import msgspec

from meterhouse.core.catalog import Credential
from meterhouse.server.control.answers import CredentialAnswer, Page, SecretAnswer
from meterhouse.server.control.pages import PageQuery, page_of
from meterhouse.server.control.parts import Answered, Asked, ControlCall
from meterhouse.server.control.texts import secret_answer, when
from meterhouse.service.credentials import deleted_credential, new_credential
from meterhouse.service.rows import CredentialRow


def credential_answer(credential: Credential) -> CredentialAnswer:
    """A credential, without its secrets."""
    return CredentialAnswer(
        access_key_id=credential.access_key_id,
        account=credential.account,
        principal=credential.principal,
        expires=when(credential.expires_micros),
        policy=None if credential.policy is None else msgspec.json.decode(credential.policy),
        workload=credential.workload,
    )


async def list_credentials(asked: Asked) -> Answered:
    """`GET /credentials`."""
    credentials, following = await page_of(asked.parts.market.catalog.credentials, asked.query)
    return Answered(Page(items=[credential_answer(one) for one in credentials], next=following))


async def make_credential(asked: Asked) -> Answered:
    """`POST /credentials`."""
    sources = asked.parts.sources
    shown = await asked.parts.market.change(lambda catalog: new_credential(asked.body, catalog, sources))
    return Answered(secret_answer(shown), 201)


async def delete_credential(asked: Asked) -> Answered:
    """`DELETE /credentials/{access_key_id}`."""
    access_key_id = asked.path["access_key_id"]
    await asked.parts.market.change(lambda catalog: deleted_credential(access_key_id, catalog))
    return Answered(None, 204)


CALLS: Final = (
    ControlCall(
        "GET",
        "/credentials",
        "The credentials, without their secrets.",
        list_credentials,
        Page[CredentialAnswer],
        query=PageQuery,
    ),
    ControlCall(
        "POST",
        "/credentials",
        "Makes a credential; its secrets are shown this once.",
        make_credential,
        SecretAnswer,
        201,
        body=CredentialRow,
        refusals=(409,),
    ),
    ControlCall(
        "DELETE",
        "/credentials/{access_key_id}",
        "Deletes a credential: calls signed with it are refused from now on.",
        delete_credential,
        None,
        204,
        refusals=(404,),
    ),
)
