"""Whose keys sign, and for which service: what both sides of a Signature Version 4 name, and a client needs alone."""

from dataclasses import dataclass, field
from typing import Final

SERVICES: Final = ("aws-marketplace", "metering.marketplace")
"""Services accepted in a scope: AWS's signing name first, then the one that an old client signs with (contract §2)."""


@dataclass(frozen=True, slots=True)
class SigningCredentials:
    """The keys to sign with, or to judge a signature by. `expires_micros` is None for long-lived ones."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_micros: int | None = None
