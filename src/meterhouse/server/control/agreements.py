"""Agreements, the registration tokens issued for them, and the accounts that make them."""

import re
from typing import Final

from meterhouse.core.catalog import Account, Agreement
from meterhouse.core.moment import SECOND, rfc3339
from meterhouse.server.control.answers import AccountAnswer, AgreementAnswer, Page, TokenAnswer
from meterhouse.server.control.pages import PageQuery, page_of
from meterhouse.server.control.parts import Answered, Asked, ControlCall, ControlParts
from meterhouse.server.control.texts import token_answer, when
from meterhouse.service.agreements import edited_agreement, new_agreement, new_token
from meterhouse.service.listing import edited_account
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import AccountPatch, AgreementPatch, AgreementRow, TokenRow

_ACCOUNT_ID: Final = re.compile(r"[0-9]{12}")


def agreement_answer(agreement: Agreement, parts: ControlParts) -> AgreementAnswer:
    """An agreement, in the state it is in by its seller's clock."""
    now_micros = parts.sources.now(parts.market.catalog.products[agreement.product].seller)
    return AgreementAnswer(
        id=agreement.id,
        license_arn=agreement.license_arn,
        customer_identifier=agreement.customer_identifier,
        product=agreement.product,
        buyer=agreement.buyer,
        start=rfc3339(agreement.start_micros),
        end=when(agreement.end_micros),
        status=agreement.state(now_micros, parts.profile.last_hour_seconds * SECOND),
    )


async def list_agreements(asked: Asked) -> Answered:
    """`GET /agreements`."""
    agreements, following = await page_of(asked.parts.market.catalog.agreements, asked.query)
    return Answered(Page(items=[agreement_answer(one, asked.parts) for one in agreements], next=following))


async def make_agreement(asked: Asked) -> Answered:
    """`POST /agreements`."""
    sources = asked.parts.sources
    agreement = await asked.parts.market.change(lambda catalog: new_agreement(asked.body, catalog, sources))
    return Answered(agreement_answer(agreement, asked.parts), 201)


async def show_agreement(asked: Asked) -> Answered:
    """`GET /agreements/{id}`."""
    agreement = asked.parts.market.catalog.agreements.get(asked.path["id"])
    if agreement is None:
        raise Refused(RefusalKind.NOT_FOUND, f'no agreement has the id "{asked.path["id"]}"')
    return Answered(agreement_answer(agreement, asked.parts))


async def edit_agreement(asked: Asked) -> Answered:
    """`PATCH /agreements/{id}`."""
    sources, agreement_id = asked.parts.sources, asked.path["id"]
    agreement = await asked.parts.market.change(
        lambda catalog: edited_agreement(agreement_id, asked.body, catalog, sources)
    )
    return Answered(agreement_answer(agreement, asked.parts))


async def make_token(asked: Asked) -> Answered:
    """`POST /registration-tokens`."""
    sources = asked.parts.sources
    issued = await asked.parts.market.change(lambda catalog: new_token(asked.body, catalog, sources))
    return Answered(token_answer(issued, asked.parts.profile.token_seconds * SECOND), 201)


def account_answer(account: Account) -> AccountAnswer:
    """An account."""
    return AccountAnswer(id=account.id, suspended=account.suspended)


async def list_accounts(asked: Asked) -> Answered:
    """`GET /accounts`."""
    accounts, following = await page_of(asked.parts.market.catalog.accounts, asked.query)
    return Answered(Page(items=[account_answer(account) for account in accounts], next=following))


async def show_account(asked: Asked) -> Answered:
    """`GET /accounts/{id}`."""
    account = asked.parts.market.catalog.accounts.get(asked.path["id"])
    if account is None:
        raise Refused(RefusalKind.NOT_FOUND, f'nothing was ever set for an account "{asked.path["id"]}"')
    return Answered(account_answer(account))


async def edit_account(asked: Asked) -> Answered:
    """`PATCH /accounts/{id}`; one not seen before is made."""
    account_id = asked.path["id"]
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise Refused(RefusalKind.INVALID, f'"{account_id}" is not an AWS account id: 12 digits', "id")
    account = await asked.parts.market.change(lambda catalog: edited_account(account_id, asked.body, catalog))
    return Answered(account_answer(account))


CALLS: Final = (
    ControlCall("GET", "/agreements", "The agreements.", list_agreements, Page[AgreementAnswer], query=PageQuery),
    ControlCall(
        "POST",
        "/agreements",
        "Makes an agreement, and with it a license.",
        make_agreement,
        AgreementAnswer,
        201,
        body=AgreementRow,
        refusals=(409,),
    ),
    ControlCall("GET", "/agreements/{id}", "An agreement.", show_agreement, AgreementAnswer, refusals=(404,)),
    ControlCall(
        "PATCH",
        "/agreements/{id}",
        "Activates, unsubscribes, ends, renews or shortens an agreement; a step back in state is refused.",
        edit_agreement,
        AgreementAnswer,
        body=AgreementPatch,
        refusals=(404, 409),
    ),
    ControlCall(
        "POST",
        "/registration-tokens",
        "Issues a registration token; it is shown this once.",
        make_token,
        TokenAnswer,
        201,
        body=TokenRow,
        refusals=(409,),
    ),
    ControlCall(
        "GET",
        "/accounts",
        "The accounts for which anything was set.",
        list_accounts,
        Page[AccountAnswer],
        query=PageQuery,
    ),
    ControlCall("GET", "/accounts/{id}", "An account.", show_account, AccountAnswer, refusals=(404,)),
    ControlCall(
        "PATCH",
        "/accounts/{id}",
        "Suspends or restores an account; one not seen before is made.",
        edit_account,
        AccountAnswer,
        body=AccountPatch,
        refusals=(409,),
    ),
)
