"""How a wish of a person or a program to change something is refused: one kind, one reason, one place."""

from enum import StrEnum


class RefusalKind(StrEnum):
    """Why, as far as a program must know (the control API's statuses 400, 404, 409 and 422)."""

    MALFORMED = "malformed"
    """What was sent is not JSON at all."""
    NOT_FOUND = "not found"
    CONFLICT = "conflict"
    """It exists already, or does not agree with what exists."""
    INVALID = "invalid"
    """An unknown or missing member, a wrong type, a bad pattern, a dangling name."""


class Refused(Exception):
    """Nothing was changed. `str()` is one sentence for people; it never holds a secret.

    `field` is the path of the member at fault (`dimensions[3].key`), None where no single one is. `place` says the same
    for people, and for a file more: its name, the line, the table.
    """

    def __init__(self, kind: RefusalKind, reason: str, field: str | None = None, place: str | None = None) -> None:
        super().__init__(kind, reason, field)
        self.kind = kind
        self.reason = reason
        self.field = field
        self.place = field if place is None else place

    @property
    def message(self) -> str:
        """Place and reason, one sentence."""
        return self.reason if self.place is None else f"{self.place}: {self.reason}"

    def __str__(self) -> str:
        return self.message
