"""Whose keys sign, and for which service: what both sides of a Signature Version 4 name, and a client needs alone."""

from typing import Any, Final

from msgspec import Struct

SERVICES: Final = ("aws-marketplace", "metering.marketplace")
"""Services accepted in a scope: AWS's signing name first, then the one that an old client signs with (contract §2)."""


class SigningCredentials(Struct, frozen=True):
    """The keys to sign with, or to judge a signature by. `expires_micros` is None for long-lived ones."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires_micros: int | None = None

    def __repr__(self) -> str:
        # Neither secret nor token: what is printed ends in logs.
        return f"{type(self).__name__}(access_key_id={self.access_key_id!r}, expires_micros={self.expires_micros!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # As above: of a Struct, rich would print every field.
        return [("access_key_id", self.access_key_id), ("expires_micros", self.expires_micros)]
