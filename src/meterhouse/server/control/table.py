"""All calls of the control API, in the order of the contract's table."""

from typing import Final

from meterhouse.server.control import agreements, catalog, credentials, journal, products, records, sandbox, workloads
from meterhouse.server.control.parts import ControlCall

ROOT: Final = "/_meterhouse/v1"
"""What stands before the path of every call."""

CALLS: Final[tuple[ControlCall, ...]] = (
    *catalog.CALLS,
    *products.CALLS,
    *agreements.CALLS,
    *credentials.CALLS,
    *workloads.CALLS,
    *records.CALLS,
    *journal.CALLS,
    *sandbox.CALLS,
)
