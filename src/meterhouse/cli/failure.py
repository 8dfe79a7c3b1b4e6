"""How a command ends that could not do what was asked."""


class CommandFailed(Exception):
    """One sentence for a person, and the exit code: 1 the operation failed, 2 bad input."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
