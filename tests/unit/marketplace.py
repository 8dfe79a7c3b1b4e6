"""A marketplace for the tests of the catalog: a seller, a buyer, time that stands still, chance that repeats itself."""

from collections.abc import Callable
from hashlib import shake_256
from typing import TypeVar

from meterhouse.core.catalog import Catalog, Fact
from meterhouse.core.moment import micros_of_rfc3339
from meterhouse.ledger.protocol import Document
from meterhouse.service.catalog_file import Circumstances, Loaded, load
from meterhouse.service.draft import Change, Gone, Sources
from meterhouse.service.places import Source
from meterhouse.service.reading import read_catalog
from meterhouse.wire.policy import policy_of

answer_type = TypeVar("answer_type")

SELLER = "111122223333"
BUYER = "444455556666"
OTHER_BUYER = "777788889999"
NOW = micros_of_rfc3339("2026-11-21T12:00:00Z")

PRODUCT = """
[[products]]
code = "pipeline"
name = "Data Pipeline"
seller = "111122223333"
type = "saas"
"""
DIMENSION = """
[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.25"
"""
AGREEMENT = """
[[agreements]]
product = "pipeline"
buyer = "444455556666"
"""
CREDENTIAL = """
[[credentials]]
access_key_id = "AKIDEXAMPLE"
secret_access_key = "very secret"
account = "111122223333"
"""


class Chance:
    """Bytes that look random and are the same in every run."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, length: int) -> bytes:
        """That many bytes, never given before."""
        self.asked += 1
        return shake_256(str(self.asked).encode()).digest(length)


def sources_at(now: Callable[[str], int] | int = NOW) -> Sources:
    """What rules need from outside, with a seal that hides nothing."""

    def seal(place: str, secret: bytes) -> bytes:
        return f"{place}={secret.decode()}".encode()

    return Sources((lambda _account: now) if isinstance(now, int) else now, Chance(), seal, policy_of)


class Place:
    """A catalog, and what was loaded into it: a market without a ledger."""

    def __init__(self, now: Callable[[str], int] | int = NOW) -> None:
        self.catalog = Catalog()
        self.kept: dict[str, bytes] = {}
        self.sources = sources_at(now)
        self.environment = {"SECRET": "from the environment"}

    def load(self, text: str, source: Source = Source.FILE) -> Loaded:
        """Loads a file's text, as the market would."""
        circumstances = Circumstances(source, self.kept, lambda secret: f"<{secret}>", self.environment)
        return self.keep(load(read_catalog(text, "catalog.toml"), self.catalog, circumstances, self.sources))

    def keep(self, change: Change[answer_type]) -> answer_type:
        """Applies a change."""
        for write in change.writes:
            self._put(write)
        return change.answer

    def _put(self, write: Fact | Gone | Document) -> None:
        match write:
            case Gone():
                self.catalog.drop_credential(write.access_key_id)
            case Document():
                assert write.body is not None, "nothing that is loaded is forgotten whole"
                self.kept[write.key] = write.body
            case _:
                self.catalog.put(write)
