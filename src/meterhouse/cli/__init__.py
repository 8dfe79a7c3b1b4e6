"""The command line: parses and delegates.

Exit codes: 0 done (or stopped by a signal), 1 the operation failed, 2 bad input. Whatever goes wrong gets one sentence
on standard error, beginning with `meterhouse:`.

Each command is named here and imported when it is called, so that `--help` answers at once.
"""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from cyclopts.config import Env

from meterhouse import __version__
from meterhouse.cli.failure import CommandFailed

app = App(
    name="meterhouse",
    help="The AWS Marketplace Metering Service as open software. Serve it, set up its marketplace, read what was kept.",
    version=__version__,
    config=Env("METERHOUSE_", command=False),
    exit_on_error=False,
    suppress_keyboard_interrupt=False,  # being stopped is no failure: exit code 0
    print_error=False,
    result_action="return_value",
)
app.command("meterhouse.cli.serve:serve")
app.command("meterhouse.cli.demo:demo")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs one command; the exit code."""
    try:
        app(arguments)
    except CycloptsError as error:
        return _told(str(error), 2)
    except CommandFailed as failure:
        return _told(str(failure), failure.exit_code)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain when it flushes at exit.
        sys.stdout = None
        return 0
    return 0


def _told(sentence: str, exit_code: int) -> int:
    print(f"meterhouse: {' '.join(sentence.split())}", file=sys.stderr)
    return exit_code
