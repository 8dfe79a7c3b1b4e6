"""RegisterUsage's signature: proof that the service has answered, and not somebody in its place (contract §7)."""

from datetime import UTC, datetime
from typing import Any

import jwt
from msgspec import Struct

from meterhouse.client.errors import InvalidRegistrationSignatureError

_CLOCKS_APART_SECONDS = 300


class Registration(Struct, frozen=True):
    """What a signature says."""

    product_code: str
    public_key_version: int
    nonce: str | None
    issued: datetime | None


def verify_registration_signature(
    signature: str, pem: str | bytes, *, product_code: str, public_key_version: int, nonce: str | None = None
) -> Registration:
    """What RegisterUsage's JWT says, if it was signed by this key for this product, key version and nonce.

    `pem`: the product's public key of that version, as the service's owner publishes it. Compare a nonce of one's own
    for each call, or an old signature may be shown again. Raises InvalidRegistrationSignatureError.
    """
    try:
        claims: dict[str, Any] = jwt.decode(signature, pem, algorithms=["PS256"], leeway=_CLOCKS_APART_SECONDS)
    except (jwt.InvalidTokenError, jwt.InvalidKeyError, ValueError) as error:
        raise InvalidRegistrationSignatureError(f"the signature does not hold: {error}") from None
    expected = {"productCode": product_code, "publicKeyVersion": public_key_version, "nonce": nonce}
    for claim, value in expected.items():
        said = claims.get(claim)
        if (said or None) != (value or None):
            raise InvalidRegistrationSignatureError(f"the signature is for {claim} {said!r}, not {value!r}")
    issued = claims.get("iat")
    return Registration(
        product_code, public_key_version, nonce, None if issued is None else datetime.fromtimestamp(issued, UTC)
    )
