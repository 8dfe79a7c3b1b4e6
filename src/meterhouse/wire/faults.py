"""A fault as an answer: status, name and body (contract §1, errors)."""

from typing import Final

import msgspec

from meterhouse.core.outcome import Fault, FaultCode

STATUS: Final = {
    FaultCode.REQUEST_ENTITY_TOO_LARGE: 413,
    FaultCode.INTERNAL_SERVICE_ERROR: 500,
    FaultCode.SERVICE_UNAVAILABLE: 503,
}
"""Every other fault is 400: AWS's JSON services are seen to answer so."""


class FaultBody(msgspec.Struct, rename={"name": "__type"}):
    """The body of every error: the plain name, and one sentence."""

    name: str
    message: str


def status_of(code: FaultCode) -> int:
    """The HTTP status that goes with a fault."""
    return STATUS.get(code, 400)


def body_of(fault: Fault) -> bytes:
    """`{"__type":"…","message":"…"}`; what cannot be written in UTF-8 (a lone surrogate echoed) is replaced."""
    message = fault.message.encode(errors="replace").decode()
    return msgspec.json.encode(FaultBody(str(fault.code), message))
