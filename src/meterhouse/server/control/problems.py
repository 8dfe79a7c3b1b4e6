"""How a call is refused: one form, made in one place (catalog contract, "Answers")."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct
from starlette.responses import Response

from meterhouse.service.refused import RefusalKind, Refused

CODES: Final = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    500: "internal",
    503: "unavailable",
}
"""The word for each status, as `code` says it."""

_STATUS_OF_KIND: Final = {
    RefusalKind.MALFORMED: 400,
    RefusalKind.NOT_FOUND: 404,
    RefusalKind.CONFLICT: 409,
    RefusalKind.INVALID: 422,
}

STANDING_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""On every answer: it may hold secrets, and is what it says it is."""


class Error(Struct, kw_only=True):
    """Why a call was refused."""

    code: str
    message: str
    field: str | None
    """The path of the member or parameter at fault; null where no single one is."""


class Problem(Struct, kw_only=True):
    """The body of every refusal."""

    error: Error


class CallRefused(Exception):
    """A call is refused for how it was made, whatever it asks for."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def problem(status: int, message: str, field: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a call that is refused."""
    body = msgspec.json.encode(Problem(error=Error(code=CODES[status], message=message, field=field)))
    return Response(body, status, {**STANDING_HEADERS, **(headers or {})}, "application/json")


def problem_of(refused: Refused) -> Response:
    """The answer to what a rule refused."""
    return problem(_STATUS_OF_KIND[refused.kind], refused.message, refused.field)
