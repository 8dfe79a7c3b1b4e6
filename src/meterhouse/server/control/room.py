"""Which call of the control API may be large: a catalog, and only from whoever may load one.

Everything else is read within the mebibyte of the contract (§1). A catalog of 100,000 agreements has some 27 MB; it is
read whole before it is looked at, so the room is given to nobody whose head does not show that he may call.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from meterhouse.server.bounds import CONTRACT
from meterhouse.server.control.access import admit
from meterhouse.server.control.problems import CallRefused
from meterhouse.server.control.table import ROOT

CATALOG_PATH: Final = f"{ROOT}/catalog"
CATALOG_BYTES: Final = 67_108_864
"""The smallest catalog that is too large."""


class Entry(NamedTuple):
    """Who may call (see `access.Access`)."""

    admin_token: str | None
    open_on_loopback: bool


def room_of(scope: Mapping[str, Any], entry: Entry) -> int:
    """The smallest body that is too large for a request, given its head."""
    if not is_catalog(scope):
        return CONTRACT.body_bytes
    try:
        admit(entry, scope["headers"])
    except CallRefused:
        return CONTRACT.body_bytes
    return CATALOG_BYTES


def is_catalog(scope: Mapping[str, Any]) -> bool:
    """Whether a request brings a catalog."""
    return bool(scope["method"] == "POST" and scope["path"] == CATALOG_PATH)
