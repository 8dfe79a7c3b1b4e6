"""A change of the catalog while it is being drawn up: pure, and thrown away whole where one part of it is refused.

A rule reads the `Draft`: the present catalog with what this same change has put on top, so that an agreement finds the
product that stands above it in the same file. What comes of it is a `Change`: what to write, and what to answer.
"""

from collections import ChainMap
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar

from meterhouse.core.catalog import (
    Account,
    Agreement,
    Catalog,
    Credential,
    Fact,
    OpenIdentity,
    Product,
    ProductKey,
    RegistrationToken,
    Workload,
    key_of,
)
from meterhouse.core.moment import SECOND, micros_of_datetime
from meterhouse.core.shapes import FIRST_SECOND, LAST_SECOND
from meterhouse.ledger.protocol import Document
from meterhouse.service.refused import RefusalKind, Refused

answer_type = TypeVar("answer_type")

FIRST_MICROS: Final = FIRST_SECOND * SECOND
"""The first instant of the year 1."""
LAST_MICROS: Final = LAST_SECOND * SECOND + SECOND - 1
"""The last instant of the year 9999."""


class Gone(NamedTuple):
    """A credential is deleted; the only fact that can be."""

    access_key_id: str


class Change(NamedTuple, Generic[answer_type]):
    """What a rule wants written, all or nothing, and what is answered once it is."""

    writes: Sequence[Fact | Gone | Document]
    answer: answer_type


class Sources(NamedTuple):
    """What rules need from outside: time, chance, encryption, and a look at policies."""

    now: Callable[[str], int]
    """The present instant in microseconds, by the clock of an account."""
    random_bytes: Callable[[int], bytes]
    """That many unguessable bytes."""
    seal: Callable[[str, bytes], bytes]
    """A secret encrypted for the place it is kept at (`seal.Seal.seal`)."""
    check_policy: Callable[[str], object]
    """Raises ValueError, one sentence, for an IAM document (JSON text) that cannot be judged."""


class Draft:
    """The present catalog, and what a change has added so far."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.products: ChainMap[str, Product] = ChainMap({}, catalog.products)
        self.agreements: ChainMap[str, Agreement] = ChainMap({}, catalog.agreements)
        self.agreement_of_license: ChainMap[str, Agreement] = ChainMap({}, catalog.agreement_of_license)
        self.buyer_of_identifier: ChainMap[tuple[str, str], str] = ChainMap({}, catalog.buyer_of_identifier)
        self.identifier_of_buyer: ChainMap[tuple[str, str], str] = ChainMap({}, catalog.identifier_of_buyer)
        self.accounts: ChainMap[str, Account] = ChainMap({}, catalog.accounts)
        self.workloads: ChainMap[str, Workload] = ChainMap({}, catalog.workloads)
        self.credentials: ChainMap[str, Credential] = ChainMap({}, catalog.credentials)
        self.tokens: ChainMap[str, RegistrationToken] = ChainMap({}, catalog.tokens)
        self.open = catalog.open
        self._code_of_product_id: dict[str, str] | None = None

    def code_of_product_id(self, product_id: str) -> str | None:
        """The code of the product that has an id; None where none has it."""
        if self._code_of_product_id is None:
            # Products are few and rarely made: an index made when it is asked for costs less than one kept for ever.
            self._code_of_product_id = {product.id: product.code for product in self.products.values()}
        return self._code_of_product_id.get(product_id)

    def put(self, fact: Fact) -> None:
        """Adds a fact, or takes it in place of the one under its key."""
        match fact:
            case Product():
                self.products[fact.code] = fact
                if self._code_of_product_id is not None:
                    self._code_of_product_id[fact.id] = fact.code
            case Agreement():
                self.agreements[fact.id] = fact
                self.agreement_of_license[fact.license_arn] = fact
                if fact.customer_identifier is not None:
                    seller = self.products[fact.product].seller
                    self.buyer_of_identifier[seller, fact.customer_identifier] = fact.buyer
                    self.identifier_of_buyer[seller, fact.buyer] = fact.customer_identifier
            case Account():
                self.accounts[fact.id] = fact
            case Workload():
                self.workloads[fact.resource_id] = fact
            case Credential():
                self.credentials[fact.access_key_id] = fact
            case RegistrationToken():
                self.tokens[fact.token_sha256] = fact
            case OpenIdentity():
                self.open = fact


def held(catalog: Catalog, fact: Fact) -> Fact | None:
    """What the catalog holds under a fact's kind and key."""
    match fact:
        case Product():
            return catalog.products.get(fact.code)
        case Agreement():
            return catalog.agreements.get(fact.id)
        case Account():
            return catalog.accounts.get(fact.id)
        case Workload():
            return catalog.workloads.get(fact.resource_id)
        case Credential():
            return catalog.credentials.get(fact.access_key_id)
        case RegistrationToken():
            return catalog.tokens.get(fact.token_sha256)
        case ProductKey():
            return catalog.product_keys.get(key_of(fact))
        case OpenIdentity():
            return catalog.open


def micros_of(moment: datetime, field: str) -> int:
    """An instant as microseconds since the epoch. Raises Refused beyond the years 1-9999 (of UTC)."""
    micros = micros_of_datetime(moment)
    if not FIRST_MICROS <= micros <= LAST_MICROS:
        raise Refused(RefusalKind.INVALID, f"{moment.isoformat()} is, in UTC, not within the years 1 to 9999", field)
    return micros


def fixed(old: object, new: object, field: str, of_what: str) -> None:
    """Raises Refused where a member that cannot change would change."""
    if new is not None and new != old:
        raise Refused(RefusalKind.CONFLICT, f"it is fixed when {of_what} is made", field)


UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
"""The 32 characters of access keys and customer identifiers."""
LOWER: Final = UPPER.lower()
"""The 32 characters of ids."""


def letters(random_bytes: Callable[[int], bytes], alphabet: str, count: int) -> str:
    """That many random characters of an alphabet of 32: five unguessable bits each."""
    return "".join(alphabet[byte & 31] for byte in random_bytes(count))
