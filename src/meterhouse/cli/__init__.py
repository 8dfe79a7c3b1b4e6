"""The command line: parses and delegates.

Exit codes: 0 done (or stopped by a signal), 1 the operation failed, 2 bad input. Whatever goes wrong gets one sentence
on standard error, beginning with `meterhouse:`.

Each command is named here and imported when it is called.
"""

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Final

from cyclopts import App, CycloptsError, Group, MissingArgumentError, UnusedCliTokensError
from cyclopts.config import Env

from meterhouse import __version__
from meterhouse.cli.failure import CommandFailed

SETTINGS: Final = Env("METERHOUSE_", command=False)
"""Every flag of `serve` is also a variable. The other commands name theirs: METERHOUSE_REGION is no filter."""
RUN, MARKETPLACE, USAGE, SANDBOX, KEEP = (
    Group(name, sort_key=place)
    for place, name in enumerate(("Run", "Marketplace", "Usage", "Sandbox (serve --clock test)", "Files"))
)

app = App(
    name="meterhouse",
    help="The AWS Marketplace Metering Service as open software. Serve it, set up its marketplace, read what was kept.",
    version=__version__,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,  # being stopped is no failure: exit code 0
    print_error=False,
    result_action="return_value",
)
app.command("meterhouse.cli.serve:serve", config=SETTINGS, group=RUN)
app.command("meterhouse.cli.demo:demo", config=SETTINGS, group=RUN)
for noun, path, says, group in (
    ("product", "meterhouse.cli.product:app", "Products: what sellers list.", MARKETPLACE),
    ("agreement", "meterhouse.cli.agreement:app", "Agreements: buyers' acceptances of offers.", MARKETPLACE),
    ("account", "meterhouse.cli.account:app", "Accounts: AWS accounts as the marketplace sees them.", MARKETPLACE),
    (
        "token",
        "meterhouse.cli.registration_token:app",
        "Registration tokens: buyers' ways back to the seller.",
        MARKETPLACE,
    ),
    ("credential", "meterhouse.cli.credential:app", "Credentials: keys that sign calls.", MARKETPLACE),
    ("workload", "meterhouse.cli.workload:app", "Workloads: software that runs at buyers.", MARKETPLACE),
    ("catalog", "meterhouse.cli.catalog:app", "The whole catalog, as a file.", MARKETPLACE),
    ("record", "meterhouse.cli.record:app", "Records: the usage that is kept.", USAGE),
    ("journal", "meterhouse.cli.journal:app", "The journal: the requests that kept something.", USAGE),
    ("clock", "meterhouse.cli.clock:app", "The clock: what time it is, for all or for one account.", SANDBOX),
    ("fault", "meterhouse.cli.fault:app", "Faults: calls that are made to fail.", SANDBOX),
    ("key", "meterhouse.cli.key:app", "The master key, under which secrets are encrypted.", KEEP),
):
    app.command(path, name=noun, help=says, group=group)
app.command("meterhouse.cli.call:call", group=USAGE)
app.command("meterhouse.cli.reset:reset", group=SANDBOX)
app.command("meterhouse.cli.backup:backup", group=KEEP)
app.command("meterhouse.cli.prune:prune", group=KEEP)
app.command("meterhouse.cli.migrate:migrate", group=KEEP)
app.command("meterhouse.cli.copy:copy", group=KEEP)
app.register_install_completion_command(help="Let the shell complete this command.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code."""
    _open_standard_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: whatever is under way is left in order
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter shows its number
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs one command; the exit code."""
    try:
        if not arguments or arguments[0] in app.help_flags:
            for name in app:  # the list of commands has what each says of itself
                app[name]
        app(arguments)
    except UnusedCliTokensError as error:
        return _told(_superfluous(error.unused_tokens or []), 2)
    except MissingArgumentError as error:
        return _told(_missing(error), 2)
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


def _open_standard_streams() -> None:
    """What the caller has closed leads nowhere: else the next file to be opened would pass for standard error."""
    opened = 0
    while opened <= _STANDARD_ERROR:
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)
    # Python has no streams for what was closed. They stay open for as long as the process lives.
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")


_STANDARD_ERROR: Final = 2
"""The highest descriptor of the three standard streams."""


def _missing(error: MissingArgumentError) -> str:
    """What was not typed, as --help names it; a flag without its value is told by the library."""
    argument = error.argument
    if argument is None or argument.tokens or error.keyword is not None:
        return str(error)
    name = argument.name.removeprefix("--").upper() if argument.field_info.is_positional else argument.name
    command = " ".join(error.command_chain or ())
    return f"{command} needs {name}; see meterhouse {command} --help."


def _superfluous(words: Sequence[str]) -> str:
    shown = " ".join(f'"{word}"' for word in words)
    return f"{shown} is more than this command takes; what a flag is given stands behind its name (see --help)."


def _told(sentence: str, exit_code: int) -> int:
    shown = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in " ".join(sentence.split()))
    full_stop = "" if shown.endswith((".", "?", "!")) else "."
    print(f"meterhouse: {shown}{full_stop}", file=sys.stderr)
    return exit_code
