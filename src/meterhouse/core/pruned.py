"""What of a ledger was removed after its export: a setting that is kept beside the catalog.

From the moment it is kept, nothing that is older is shown any more, though it may take a while until all of it is gone:
so nobody ever reads half a month.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from meterhouse.core.moment import micros_of_rfc3339

PRUNED_KIND: Final = "pruned"
"""The kind of its document."""
PRUNED_KEY: Final = ""


class Pruned(Struct, frozen=True):
    """The newest pruning of a ledger."""

    before: str
    """The first month that is kept, as `2026-01`."""
    archive_sha256: str
    """The file that has what was removed, as its last line says."""
    done: bool = False
    """Whether all of it is gone."""

    @property
    def before_micros(self) -> int:
        """The first instant that is kept."""
        return start_of_month(self.before)


def start_of_month(month: str) -> int:
    """The first instant of a month such as `2026-01`; ValueError where it is none."""
    return micros_of_rfc3339(f"{month}-01T00:00:00Z")


def body_of(pruned: Pruned) -> bytes:
    """The document's body."""
    return msgspec.msgpack.encode(pruned)


def pruned_in(kept: Mapping[str, bytes]) -> Pruned | None:
    """What the documents of the kind say, by their keys; None where nothing was ever pruned."""
    body = kept.get(PRUNED_KEY)
    return None if body is None else msgspec.msgpack.decode(body, type=Pruned)
