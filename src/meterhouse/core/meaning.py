"""Whom and what the records of a batch name (contract §4, the steps COMBINATION to DIMENSION).

Sellers name the same customers and dimensions hour after hour. So what names mean is judged once, and where nothing is
wrong with it, remembered beside the catalog until the catalog changes.
"""

from collections.abc import Sequence
from functools import reduce
from operator import attrgetter, or_
from sys import intern
from typing import Any, Final

from msgspec import Struct

from meterhouse.core.call import Call, Refusal
from meterhouse.core.catalog import Agreement, Catalog, Integration, Product
from meterhouse.core.outcome import FaultCode, Step
from meterhouse.core.shapes import BatchMeterUsageRequest, Timestamp, UsageRecord
from meterhouse.core.usage import BOTH_FORMS, BY_LICENSE, BY_PRODUCT, Series

Said = UsageRecord[Timestamp]

_EVER: Final = -(2**63)

_FORM: Final = attrgetter("form")
_IS_STEADY: Final = attrgetter("is_steady")
_TOGETHER: Final = "together"
"""Where, among the notes, `_Together` is."""


class Meant(Struct, frozen=True):
    """Whom and what a record's names mean, for as long as the catalog stays as it is.

    What most requests look at comes first: there are as many of these as a seller has customers and dimensions, so they
    are read from memory, not from the processor's caches, a line of 64 bytes at a time.
    """

    refusal: Refusal | None
    """The first that its names alone bring about (its place still to be filled in)."""
    series: Series = Series("", "", "")
    product: Product | None = None
    license: Agreement | None = None
    """The agreement named by the record's license, if it names one."""
    is_steady: bool = False
    """Whether there is one agreement and nothing that could end it but a change of the catalog: from its start on, all
    usage is taken. Else the agreements are asked."""
    since_micros: int = 0
    """When that agreement began."""
    form: int = BY_PRODUCT
    """Which of the two forms of naming usage it is."""
    agreements: tuple[Agreement, ...] = ()
    """Those that may take the usage, in the order in which they are tried."""
    suspended: bool = False
    rivals: tuple[Series, ...] = ()
    """The same usage under the other form of naming it."""


class _Together:
    """What is so of everything that is remembered, and need not be asked of each record's names then."""

    __slots__ = ("are_steady", "forms", "settled_micros", "texts")

    def __init__(self) -> None:
        self.forms = 0
        self.are_steady = True
        self.settled_micros = _EVER
        """From then on no steady agreement need be asked when it began."""
        self.texts: dict[str, str] = {}
        """Each text that names have, by itself: few texts are many names, and shared they are found in the processor's
        caches. Not by `intern`, which on some Pythons keeps for ever what it was given, and customers can be made up.
        """

    def take(self, meant: Meant) -> None:
        """One more is remembered."""
        self.forms |= meant.form
        if meant.is_steady:
            self.settled_micros = max(self.settled_micros, meant.since_micros)
        else:
            self.are_steady = False


class Meanings(Struct, frozen=True):
    """What each record's names mean."""

    each: Sequence[Meant]
    were_known: bool
    """Whether all of them were remembered: of those none is refused."""
    forms: int
    """In which forms the records name what was used, as bits."""
    settled_micros: int | None
    """The latest start of the agreements, all of which are steady; None where one is not."""


def meanings_of(call: Call[BatchMeterUsageRequest[Timestamp]], catalog: Catalog) -> Meanings:
    """The steps COMBINATION to DIMENSION of all records of a batch, as far as they depend on names."""
    seller, code = call.signer.account, call.request.product_code or None
    remembered = catalog.remembered(("BatchMeterUsage", seller, code or ""))
    saids = call.request.usage_records
    names = [
        (said.customer_identifier, said.customer_aws_account_id, said.license_arn, said.dimension) for said in saids
    ]
    try:
        each, were_known = list(map(remembered.__getitem__, names)), True
    except KeyError:
        each, were_known = [], False
        for said, name in zip(saids, names, strict=True):
            meant = remembered.get(name)
            if meant is None:
                meant = _meaning(said, seller, code, catalog)
                if meant.refusal is None:  # what is refused could be made up without end, and be of any size
                    _remember(remembered, name, meant)
            each.append(meant)
    together = remembered.get(_TOGETHER, _NOTHING_YET)
    forms = together.forms if together.forms != BOTH_FORMS else reduce(or_, set(map(_FORM, each)))
    is_settled = together.are_steady or all(map(_IS_STEADY, each))
    return Meanings(each, were_known, forms, together.settled_micros if is_settled else None)


_NOTHING_YET: Final = _Together()


def _remember(remembered: dict[Any, Any], name: tuple[str | None, ...], meant: Meant) -> None:
    together = remembered.setdefault(_TOGETHER, _Together())
    together.take(meant)
    shared = together.texts
    remembered[tuple(text and shared.setdefault(text, text) for text in name)] = meant


def _meaning(said: Said, seller: str, code: str | None, catalog: Catalog) -> Meant:
    """The steps COMBINATION to DIMENSION as far as they depend on the record's names, first one wins."""
    identifier, account, arn = said.customer_identifier or None, said.customer_aws_account_id, said.license_arn
    if (identifier is None) == (account is None):
        which = "neither" if account is None else "both"
        return _refused(
            Step.COMBINATION,
            FaultCode.VALIDATION,
            f"exactly one of CustomerIdentifier and CustomerAWSAccountId must be given, not {which}",
        )
    if arn is None and code is None:
        return _refused(
            Step.COMBINATION, FaultCode.VALIDATION, "a LicenseArn must be given where ProductCode is absent"
        )
    license_ = None if arn is None else catalog.agreement_of_license.get(arn)
    product = catalog.products.get(code if code is not None else license_.product if license_ is not None else "")
    if code is not None and (
        product is None or product.seller != seller or product.integration is Integration.CONCURRENT
    ):
        return _refused(Step.PRODUCT, FaultCode.INVALID_PRODUCT_CODE, _bad_code(code, product, seller))
    if arn is not None and (license_ is None or product is None or product.seller != seller):
        return _refused(Step.PRODUCT, FaultCode.INVALID_LICENSE, "the LicenseArn names no license of this seller")
    assert product is not None, "a record has a product by its code or by its license"
    if license_ is not None and license_.product != product.code:
        reason = "the LicenseArn is of another product than ProductCode names"
        return _refused(Step.PRODUCT, FaultCode.INVALID_LICENSE, reason, product)
    buyer = account or catalog.buyer_of_identifier.get((seller, identifier or ""))
    if buyer is None or (identifier is not None and product.integration is Integration.CONCURRENT):
        reason = "the CustomerIdentifier is no customer of this seller's product"
        return _refused(Step.CUSTOMER, FaultCode.INVALID_CUSTOMER_IDENTIFIER, reason, product)
    if license_ is not None and license_.buyer != buyer:
        reason = "the LicenseArn is another customer's"
        return _refused(Step.LICENSE_CUSTOMER, FaultCode.INVALID_LICENSE, reason, product)
    if said.dimension not in catalog.dimensions[product.code]:
        reason = f"{said.dimension!r} is no dimension of the product {product.code}"
        return _refused(Step.DIMENSION, FaultCode.INVALID_USAGE_DIMENSION, reason, product)
    of_buyer = catalog.agreements_of_buyer.get((product.code, buyer), ())
    asked = (license_,) if license_ is not None else of_buyer
    suspended = catalog.suspended(buyer)
    is_steady = len(asked) == 1 and not suspended and _is_steady(asked[0])
    return Meant(
        None,
        Series(arn or "", buyer, intern(said.dimension)),
        product,
        license_,
        is_steady,
        asked[0].start_micros if is_steady else 0,
        BY_PRODUCT if license_ is None else BY_LICENSE,
        asked,
        suspended,
        _rivals(product, license_, of_buyer, buyer, said.dimension),
    )


def _is_steady(agreement: Agreement) -> bool:
    return not agreement.pending and not agreement.closed and agreement.end_micros is None


def _refused(step: Step, code: FaultCode, reason: str, product: Product | None = None) -> Meant:
    return Meant(Refusal(step, -1, code, reason), product=product)


def _bad_code(code: str, product: Product | None, seller: str) -> str:
    if product is not None and product.seller == seller:
        return f"the product {code} takes LicenseArn alone, no ProductCode"
    return f"ProductCode {code} is no product of this account"


def _rivals(
    product: Product, license_: Agreement | None, agreements: tuple[Agreement, ...], buyer: str, dimension: str
) -> tuple[Series, ...]:
    """Only a legacy product takes both forms (contract §4, the double-billing trap)."""
    if product.integration is not Integration.LEGACY:
        return ()
    if license_ is not None:
        return (Series("", buyer, dimension),)
    return tuple(Series(agreement.license_arn, buyer, dimension) for agreement in agreements)
