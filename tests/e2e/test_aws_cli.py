"""The AWS command line against a running server, told where it is by the environment alone."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from meterhouse.wire.keys import SigningCredentials
from tests.e2e.calls import ABOUT_LEGACY, FIRST, NOT_SUBSCRIBED, SUCCESS, TEAMS, allocated, legacy, used
from tests.e2e.market import CATALOG, FORMER_CUSTOMER, KEYS, OTHER_KEYS, STALE_TOKEN, TEMPORARY_KEYS, TOKEN
from tests.e2e.serving import Server
from tests.e2e.strangers import VARIABLE, environment
from tests.strangers.environments import python_of

REFUSED = (254, 255)
"""The exit codes of the AWS command line when the service refuses; the second where it takes the keys for expired."""

UNHEARD = {"Metadata"}
"""Members of answers that its model lacks."""

WRONG_SECRET = SigningCredentials(KEYS.access_key_id, "no secret")


class Said(NamedTuple):
    """A call: the command, the request, and who signs."""

    command: str
    request: Mapping[str, Any]
    keys: SigningCredentials = KEYS


Outcome = tuple[int, dict[str, Any], str]
"""Exit code, what was printed as JSON, and what was complained."""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Said], Outcome]]:
    """`aws meteringmarketplace …` on a server of its own."""
    python = python_of("awscli")
    with Server(tmp_path_factory.mktemp("awscli"), catalog=CATALOG) as server:

        def call(said: Said) -> Outcome:
            variables = {
                VARIABLE: server.url,
                "AWS_ACCESS_KEY_ID": said.keys.access_key_id,
                "AWS_SECRET_ACCESS_KEY": said.keys.secret_access_key,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CONFIG_FILE": str(server.folder / "no-config"),
                "AWS_SHARED_CREDENTIALS_FILE": str(server.folder / "no-credentials"),
            }
            if said.keys.session_token is not None:
                variables["AWS_SESSION_TOKEN"] = said.keys.session_token
            options = ["--output", "json", "--cli-input-json", json.dumps(said.request)]
            spoken = subprocess.run(
                [str(python), "-m", "awscli", "meteringmarketplace", said.command, *options],
                env=environment(variables),
                cwd=server.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            return spoken.returncode, json.loads(spoken.stdout or "{}"), spoken.stderr

        yield call


def test_usage_is_metered_once(aws: Callable[[Said], Outcome]) -> None:
    """Usage is accepted, by product and by license; said again, by whoever of the account, it is the same record."""
    by_license = allocated(*TEAMS)
    said = [Said("batch-meter-usage", FIRST), Said("batch-meter-usage", by_license)]
    repeats = [
        Said("batch-meter-usage", legacy(*FIRST["UsageRecords"], used(0, customer=FORMER_CUSTOMER)), TEMPORARY_KEYS),
        Said("batch-meter-usage", by_license),
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        (code, first, _), (other_code, part, _) = pool.map(aws, said)
        (_, again, _), (_, part_again, _) = pool.map(aws, repeats)
    assert (code, other_code) == (0, 0)
    assert [result["Status"] for result in (*first["Results"], *part["Results"])] == [SUCCESS] * 3
    assert again["Results"][:2] == first["Results"]
    assert again["Results"][2]["Status"] == NOT_SUBSCRIBED
    assert part_again == part


def test_what_is_refused_is_named(aws: Callable[[Said], Outcome]) -> None:
    """A token is resolved; and each error is told by its code, with an exit code of its own."""
    rows = [
        (Said("resolve-customer", {"RegistrationToken": TOKEN}), ""),
        (Said("resolve-customer", {"RegistrationToken": STALE_TOKEN}), "ExpiredTokenException"),
        (Said("resolve-customer", {"RegistrationToken": "nonsense"}), "InvalidTokenException"),
        (Said("batch-meter-usage", legacy(used(25))), "TimestampOutOfBoundsException"),
        (Said("batch-meter-usage", FIRST, OTHER_KEYS), "InvalidProductCodeException"),
        (Said("batch-meter-usage", FIRST, WRONG_SECRET), "InvalidSignatureException"),
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        resolved, *refused = pool.map(aws, [said for said, _ in rows])
    assert resolved[:2] == (0, {name: value for name, value in ABOUT_LEGACY.items() if name not in UNHEARD})
    for (exit_code, printed, complained), (said, code) in zip(refused, rows[1:], strict=True):
        assert exit_code in REFUSED, complained
        assert not printed
        operation = "".join(word.capitalize() for word in said.command.split("-"))
        assert f"An error occurred ({code}) when calling the {operation} operation" in complained
