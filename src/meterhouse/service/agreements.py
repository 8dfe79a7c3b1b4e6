"""Agreements and registration tokens: from rows to facts (contract §3, §4 "Time", §8).

An agreement passes through its states in one order only: pending, active, unsubscribing, ended. What it is at an
instant follows from its dates, save that it may be held back (`pending`) or closed at once (`closed`). A wish to change
it is turned into new dates and flags, and is refused where the state *now* would come before the one it is in: so an
ended agreement is never revived, and one in its last hour is not renewed; a new one is made.

- `active` lifts a pending agreement's hold; its start stays, and may yet lie ahead.
- `unsubscribing` ends it now (its last hour begins), unless an end is given or has passed.
- `ended` closes it without the last hour, at the end given, or now.
- `end` and `start` move the period, in either direction, as long as the state takes no step back.

What names an agreement (id, product, buyer, license, customer identifier) is fixed when it is made: usage is kept under
these names. A seller has one customer identifier per buyer, whatever the number of agreements.
"""

from datetime import datetime
from hashlib import sha256
from typing import Final

from msgspec import UNSET, UnsetType, structs

from meterhouse.core.catalog import Agreement, AgreementState, Catalog, Integration, Product, RegistrationToken
from meterhouse.core.moment import rfc3339
from meterhouse.service.draft import LOWER, UPPER, Change, Draft, Sources, fixed, letters, micros_of
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import AgreementPatch, AgreementRow, Row, TokenRow

_ORDER: Final = tuple(AgreementState)


class IssuedToken(Row, kw_only=True):
    """A registration token, the only time it is shown; it lives from its issue as long as the profile says."""

    token: str
    agreement: str
    issued_micros: int


def new_agreement(row: AgreementRow, catalog: Catalog, sources: Sources) -> Change[Agreement]:
    """`POST /agreements`: CONFLICT where the id or the license is taken, or the customer identifier disagrees."""
    if row.id in catalog.agreements:
        raise Refused(RefusalKind.CONFLICT, f'the agreement "{row.id}" exists already', "id")
    agreement = agreement_of(row, Draft(catalog), sources)
    return Change([agreement], agreement)


def edited_agreement(agreement_id: str, patch: AgreementPatch, catalog: Catalog, sources: Sources) -> Change[Agreement]:
    """`PATCH /agreements/{id}`, at the seller's clock: NOT_FOUND; CONFLICT for a step back or a fixed member."""
    present = catalog.agreements.get(agreement_id)
    if present is None:
        raise Refused(RefusalKind.NOT_FOUND, f'no agreement has the id "{agreement_id}"')
    for field in ("id", "license_arn", "customer_identifier", "product", "buyer"):
        if (given := getattr(patch, field)) is not UNSET:
            fixed(getattr(present, field), given, field, "an agreement")
    now_micros = sources.now(catalog.products[present.product].seller)
    agreement = _moved(present, patch.start, patch.end, patch.status, now_micros)
    return Change([agreement], agreement)


def new_token(row: TokenRow, catalog: Catalog, sources: Sources) -> Change[IssuedToken]:
    """`POST /registration-tokens`: CONFLICT where the token exists."""
    fact, issued = token_of(row, None, Draft(catalog), sources)
    return Change([fact], issued)


def agreement_of(row: AgreementRow, draft: Draft, sources: Sources) -> Agreement:
    """The new agreement that a row describes; ids are made up, and the start is now, where they are absent."""
    product = draft.products.get(row.product)
    if product is None:
        raise Refused(RefusalKind.INVALID, f'no product has the code "{row.product}"', "product")
    random_bytes = sources.random_bytes
    license_arn = row.license_arn or f"arn:aws:license-manager::{product.seller}:license:l-{random_bytes(16).hex()}"
    licensed = draft.agreement_of_license.get(license_arn)
    if licensed is not None:
        raise Refused(RefusalKind.CONFLICT, f'it is the license of the agreement "{licensed.id}"', "license_arn")
    now_micros = sources.now(product.seller)
    end_micros = None if row.end is None else micros_of(row.end, "end")
    if row.start is not None:
        start_micros = micros_of(row.start, "start")
    else:  # now; an agreement that is said to have ended before now cannot have begun now
        start_micros = now_micros if end_micros is None else min(now_micros, end_micros)
    closed = row.status is AgreementState.ENDED
    if end_micros is None and closed:
        end_micros = max(now_micros, start_micros)
    elif end_micros is None and row.status is AgreementState.UNSUBSCRIBING:
        _check_begun(start_micros, now_micros, RefusalKind.INVALID)
        end_micros = now_micros
    _check_period(start_micros, end_micros)
    return Agreement(
        id=row.id or f"agmt-{letters(random_bytes, LOWER, 24)}",
        product=product.code,
        buyer=row.buyer,
        license_arn=license_arn,
        customer_identifier=_customer_identifier(row, product, draft, sources),
        start_micros=start_micros,
        end_micros=end_micros,
        pending=row.status is AgreementState.PENDING,
        closed=closed,
    )


def rewritten_agreement(row: AgreementRow, present: Agreement, draft: Draft, sources: Sources) -> Agreement:
    """The present agreement as a changed row describes it.

    What the row does not say is not always its default: an absent start leaves the start; an absent status activates a
    pending agreement and an absent end takes an end away, but neither revives what calls have begun to end.
    """
    for field in ("license_arn", "customer_identifier", "product", "buyer"):
        fixed(getattr(present, field), getattr(row, field), field, "an agreement")
    now_micros = sources.now(draft.products[present.product].seller)
    ending = present.state(now_micros) in {AgreementState.UNSUBSCRIBING, AgreementState.ENDED}
    status = row.status or (UNSET if ending else AgreementState.ACTIVE)
    given_by_status = status in {AgreementState.UNSUBSCRIBING, AgreementState.ENDED}
    end = row.end or (UNSET if ending or given_by_status else None)
    return _moved(present, row.start or UNSET, end, status, now_micros)


def token_of(
    row: TokenRow, present: RegistrationToken | None, draft: Draft, sources: Sources
) -> tuple[RegistrationToken, IssuedToken]:
    """The token that a row describes, in place of the present one (of which only the hash is known) or new."""
    agreement = draft.agreements.get(row.agreement)
    if agreement is None:
        raise Refused(RefusalKind.INVALID, f'no agreement has the id "{row.agreement}"', "agreement")
    token = row.token or ("" if present else letters(sources.random_bytes, LOWER, 64))
    digest = present.token_sha256 if present else token_sha256(token)
    if present is None and digest in draft.tokens:
        raise Refused(RefusalKind.CONFLICT, "this token exists already", "token")
    if row.issued is not None:
        issued_micros = micros_of(row.issued, "issued")
    else:
        seller = draft.products[agreement.product].seller
        issued_micros = present.issued_micros if present else sources.now(seller)
    fact = RegistrationToken(digest, agreement.id, issued_micros)
    return fact, IssuedToken(token=token, agreement=agreement.id, issued_micros=issued_micros)


def token_sha256(token: str) -> str:
    """The only form in which a registration token is kept: hexadecimal SHA-256."""
    return sha256(token.encode()).hexdigest()


def _customer_identifier(row: AgreementRow, product: Product, draft: Draft, sources: Sources) -> str | None:
    """A seller's one name for a buyer: the known one, the given one, or a new one; a concurrent product has none."""
    field = "customer_identifier"
    given = row.customer_identifier
    if product.integration is Integration.CONCURRENT:
        if given is not None:
            raise Refused(RefusalKind.INVALID, f'the product "{product.code}" is concurrent and has none', field)
        return None
    known = draft.identifier_of_buyer.get((product.seller, row.buyer))
    if given is None:
        return known or _unused_identifier(product.seller, draft, sources)
    if known not in {None, given}:
        reason = f'"{given}" is given, but to seller {product.seller} the buyer {row.buyer} is "{known}" already'
        raise Refused(RefusalKind.CONFLICT, reason, field)
    owner = draft.buyer_of_identifier.get((product.seller, given))
    if owner not in {None, row.buyer}:
        reason = f'"{given}" is, to seller {product.seller}, the buyer {owner} already'
        raise Refused(RefusalKind.CONFLICT, reason, field)
    return given


def _unused_identifier(seller: str, draft: Draft, sources: Sources) -> str:
    while True:
        identifier = letters(sources.random_bytes, UPPER, 11)
        if (seller, identifier) not in draft.buyer_of_identifier:
            return identifier


def _moved(
    present: Agreement,
    start: datetime | UnsetType,
    end: datetime | UnsetType | None,
    status: AgreementState | UnsetType,
    now_micros: int,
) -> Agreement:
    """An agreement with a new period or state, as far as what is given; Refused for a step back."""
    before = present.state(now_micros)
    moved = present
    if start is not UNSET:
        moved = structs.replace(moved, start_micros=micros_of(start, "start"))
    if end is not UNSET:
        moved = structs.replace(moved, end_micros=None if end is None else micros_of(end, "end"))
    if status is not UNSET:
        if _ORDER.index(status) < _ORDER.index(before):
            raise Refused(RefusalKind.CONFLICT, f"it is {before} already, and {status} would be a step back", "status")
        if status is not before or status is AgreementState.PENDING:
            moved = _with_status(moved, status, now_micros, end_given=end is not UNSET)
    if before is AgreementState.ENDED and moved != present:
        raise Refused(RefusalKind.CONFLICT, "it has ended, and is never revived: make a new one", _field_of(start, end))
    after = moved.state(now_micros)
    if _ORDER.index(after) < _ORDER.index(before):
        reason = f"it is {before} already, and would be {after} again: a step back"
        raise Refused(RefusalKind.CONFLICT, reason, _field_of(start, end))
    _check_period(moved.start_micros, moved.end_micros)
    return moved


def _with_status(agreement: Agreement, status: AgreementState, now_micros: int, *, end_given: bool) -> Agreement:
    pending = status is AgreementState.PENDING
    closed = status is AgreementState.ENDED
    end_micros = agreement.end_micros
    if not end_given and (end_micros is None or end_micros > now_micros):
        if status is AgreementState.UNSUBSCRIBING:
            _check_begun(agreement.start_micros, now_micros, RefusalKind.CONFLICT)
            end_micros = now_micros
        elif closed:
            end_micros = max(now_micros, agreement.start_micros)
    return structs.replace(agreement, pending=pending, closed=closed, end_micros=end_micros)


def _check_begun(start_micros: int, now_micros: int, kind: RefusalKind) -> None:
    if start_micros > now_micros:
        reason = f"it begins only at {rfc3339(start_micros)}, so it has no last hour yet; it can be ended"
        raise Refused(kind, reason, "status")


def _check_period(start_micros: int, end_micros: int | None) -> None:
    if end_micros is not None and end_micros < start_micros:
        reason = f"{rfc3339(end_micros)} is before the start, {rfc3339(start_micros)}"
        raise Refused(RefusalKind.INVALID, reason, "end")


def _field_of(start: datetime | UnsetType, end: datetime | UnsetType | None) -> str:
    """The member to blame for a step back."""
    return "end" if end is not UNSET else "start" if start is not UNSET else "status"
