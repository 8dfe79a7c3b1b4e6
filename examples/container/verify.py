"""Verify what RegisterUsage answers: that it is the service's word, about this product and this very start.

    python3 verify.py PEM PRODUCT VERSION NONCE < signature

`PEM` is a file with the product's public key of that version, shipped with the software. Prints the claims, or says in
a sentence what is wrong and fails. Needs `cryptography`, and nothing else.
"""

import json
import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

HEADER = {"alg": "PS256", "typ": "JWT"}


class NotVerified(Exception):
    """The signature does not show what it should; one sentence says why."""


def verified(signature: str, pem: bytes, product: str, version: int, nonce: str) -> dict[str, Any]:
    """Return the claims of a registration's signature. Raises NotVerified.

    The nonce is the one that was sent with the call, made up for it: an answer that was recorded earlier has another.
    """
    try:
        head, claims, signed = signature.split(".")
        header = json.loads(decoded(head))
        said: dict[str, Any] = json.loads(decoded(claims))
    except ValueError:
        raise NotVerified("it is no JWT") from None
    if header != HEADER:  # the sender must not choose by which rules it is judged
        raise NotVerified(f"its header is {header}")
    key = load_pem_public_key(pem)
    if not isinstance(key, rsa.RSAPublicKey):
        raise NotVerified("the key is no RSA key")
    try:
        salted = padding.PSS(padding.MGF1(SHA256()), SHA256().digest_size)
        key.verify(decoded(signed), f"{head}.{claims}".encode(), salted, SHA256())
    except InvalidSignature:
        raise NotVerified("it was not signed by this key") from None
    for claim, expected in (("productCode", product), ("publicKeyVersion", version), ("nonce", nonce)):
        if said.get(claim) != expected:
            raise NotVerified(f"{claim} is {said.get(claim)!r}, and not {expected!r}")
    return said


def decoded(part: str) -> bytes:
    """Decode a part of a JWT: base64 of its own alphabet, without padding."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


if __name__ == "__main__":
    pem_file, product_code, key_version, sent_nonce = sys.argv[1:]
    try:
        found = verified(
            sys.stdin.read().strip(), Path(pem_file).read_bytes(), product_code, int(key_version), sent_nonce
        )
    except NotVerified as reason:
        sys.exit(f"not verified: {reason}")
    print("verified:", found["productCode"], "by key version", found["publicKeyVersion"])
