"""`meterhouse call`: an operation of the metering service from a shell, AWS's own or Meterhouse's."""

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from meterhouse.cli.failure import CommandFailed

FILE_PREFIX: Final = "file://"
"""How AWS's command line names a file that holds a parameter's text."""


def call(
    verb: str,
    *,
    cli_input_json: Annotated[str, Parameter(name="--cli-input-json")],
    once: Annotated[bool, Parameter(negative=())] = False,
    endpoint_url: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> None:
    """Call an operation: batch-meter-usage, meter-usage, register-usage or resolve-customer.

    Credentials, Region and endpoint are found as AWS's SDKs find them. batch-meter-usage takes any number of records,
    sends again what can be, and prints by group what became of each; the exit code is 1 where one was not accepted.

    Example: meterhouse call batch-meter-usage --cli-input-json file://usage.json

    Parameters
    ----------
    verb
        The operation, as AWS's command line names it.
    cli_input_json
        Its input as JSON in AWS's form, or `file://` and a path.
    once
        Send one batch as it is, as AWS's command line does, and print the service's own answer.
    endpoint_url
        Another service than AWS's, such as http://127.0.0.1:8750.
    region
        The Region of the call.
    profile
        A profile of AWS's config file.
    """
    from meterhouse.client.client import MeteringClient
    from meterhouse.client.errors import ConfigurationError, InvalidRequestError, MeteringError
    from meterhouse.client.shell import call_operation

    said = _said(cli_input_json)
    try:
        with MeteringClient(endpoint_url=endpoint_url, region=region, profile=profile) as client:
            printed = call_operation(client, verb, said, once=once)
    except (ConfigurationError, InvalidRequestError) as error:
        raise CommandFailed(str(error), 2) from None
    except MeteringError as error:
        raise CommandFailed(str(error)) from None
    print(printed.text)
    if not printed.is_success:
        raise CommandFailed("not every record was accepted: see what is printed for each.")


def _said(text: str) -> str:
    if not text.startswith(FILE_PREFIX):
        return text
    path = Path(text.removeprefix(FILE_PREFIX))
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"--cli-input-json: {path} cannot be read: {error.strerror}.", 2) from None
    except UnicodeDecodeError:
        raise CommandFailed(f"--cli-input-json: {path} is not UTF-8.", 2) from None
