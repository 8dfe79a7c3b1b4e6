"""Values as answers show them, where several nouns show the same."""

from collections.abc import Iterable

from meterhouse.core.moment import rfc3339
from meterhouse.core.quantity import text_of_micros
from meterhouse.core.usage import Allotment
from meterhouse.server.control.answers import AllocationAnswer, SecretAnswer, TagAnswer, TokenAnswer
from meterhouse.service.agreements import IssuedToken
from meterhouse.service.credentials import ShownCredential


def when(micros: int | None) -> str | None:
    """An instant that may be absent."""
    return None if micros is None else rfc3339(micros)


def allocation_answers(allocations: Iterable[Allotment]) -> list[AllocationAnswer]:
    """How a quantity is split."""
    return [
        AllocationAnswer(
            quantity=text_of_micros(part.quantity_micros),
            tags=[TagAnswer(key=key, value=value) for key, value in part.tags],
        )
        for part in allocations
    ]


def token_answer(issued: IssuedToken, token_micros: int) -> TokenAnswer:
    """A registration token, shown once; `token_micros` is how long one lives."""
    return TokenAnswer(
        token=issued.token, expires=rfc3339(issued.issued_micros + token_micros), agreement=issued.agreement
    )


def secret_answer(shown: ShownCredential) -> SecretAnswer:
    """Keys and their secrets, shown once."""
    return SecretAnswer(
        access_key_id=shown.access_key_id,
        secret_access_key=shown.secret_access_key,
        session_token=shown.session_token,
        expires=when(shown.expires_micros),
        account=shown.account,
        principal=shown.principal,
    )
