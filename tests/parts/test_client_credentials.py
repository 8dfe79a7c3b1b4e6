"""Credentials: where they are looked for, in which order, and how they are renewed before they expire."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.pretty import pretty_repr

from meterhouse.client.credentials import Credentials, RenewedCredentials, source_of
from meterhouse.client.doubles import RecordedTransport
from meterhouse.client.errors import ConfigurationError, ConnectError, CredentialsError
from meterhouse.client.flow import Flow, Instant
from meterhouse.client.settings import Profile, read_profile
from meterhouse.client.transport import HttpAnswer, HttpRequest
from meterhouse.core.moment import SECOND
from tests.unit.client_ways import Calls, by_hand

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_MICROS = int(NOON.timestamp()) * SECOND
NO_PROFILE = Profile("default")
GIVEN = {
    "AccessKeyId": "ASIACONTAINER",
    "SecretAccessKey": "s",
    "Token": "t",
    "Expiration": "2026-11-21T18:00:00Z",
}
CONTAINER = Credentials("ASIACONTAINER", "s", "t", NOON_MICROS + 6 * 3600 * SECOND)


def _nothing(path: str) -> str | None:
    del path
    return None


def look(
    environment: Mapping[str, str],
    answers: Any = (),
    *,
    profile: Profile = NO_PROFILE,
    read_file: Any = _nothing,
) -> tuple[Credentials, Calls]:
    """The credentials that an environment leads to, and the hands that looked."""
    hands = by_hand(RecordedTransport(answers))
    source = source_of(None, environment, profile, read_file)
    return hands.run(source.current(Instant(NOON_MICROS, 0.0))), hands


def _ok(said: Any) -> HttpAnswer:
    return HttpAnswer(200, {}, said if isinstance(said, bytes) else json.dumps(said).encode())


# --- environment ------------------------------------------------------------------------------------------------------


def test_the_environment_comes_first() -> None:
    """Keys in the environment are used, with their session token where they have one."""
    keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}
    assert look({**keys, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost/x"})[0] == Credentials("AKID", "s")
    assert look({**keys, "AWS_SESSION_TOKEN": "t"})[0] == Credentials("AKID", "s", "t")
    with pytest.raises(CredentialsError, match="AWS_SECRET_ACCESS_KEY is not"):
        look({"AWS_ACCESS_KEY_ID": "AKID"})


def test_secrets_are_not_shown() -> None:
    """Neither a secret nor a session token is in the text of credentials."""
    keys = Credentials("AKID", "s3cret", "s3cret-token")
    for shown in (repr(keys), str([keys]), f"{keys}", pretty_repr(keys)):
        assert "AKID" in shown
        assert "s3cret" not in shown


# --- container --------------------------------------------------------------------------------------------------------

URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"


def test_a_container_gives_credentials(tmp_path: Path) -> None:
    """By full or relative URI, with a token from a variable or, before it, from a file."""
    found, hands = look(
        {URI: "http://127.0.0.1:8750/creds?a=b", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "T"}, [_ok(GIVEN)]
    )
    assert found == CONTAINER
    (request,) = hands.transport.requests
    assert (request.method, request.target, request.direct) == (b"GET", b"/creds?a=b", True)
    assert dict(request.headers)[b"Authorization"] == b"T"

    _, hands = look({RELATIVE: "/v2/x", URI: "http://127.0.0.1/other"}, [_ok(GIVEN)])
    (request,) = hands.transport.requests
    assert (str(request.address), request.target) == ("http://169.254.170.2", b"/v2/x")
    assert b"Authorization" not in dict(request.headers)

    both = {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "T", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/token"}
    files = {"/var/token": "from the file"}
    _, hands = look({RELATIVE: "/v2/x", **both}, [_ok(GIVEN)], read_file=files.get)
    assert dict(hands.transport.requests[0].headers)[b"Authorization"] == b"from the file"


TRUSTED = [
    ("http://localhost/x", True),
    ("http://127.0.0.9/x", True),
    ("http://[::1]/x", True),
    ("http://169.254.170.23/x", True),
    ("http://[fd00:ec2::23]/x", True),
    ("https://anywhere.example/x", True),
    ("http://anywhere.example/x", False),
    ("http://10.0.0.1/x", False),
    ("http://169.254.169.254/x", False),
]


@pytest.mark.parametrize(("uri", "is_trusted"), TRUSTED)
def test_a_containers_token_goes_to_no_stranger(uri: str, is_trusted: bool) -> None:
    """Without TLS only loopback and the platforms' own addresses are asked."""
    if is_trusted:
        assert look({URI: uri}, [_ok(GIVEN)])[0] == CONTAINER
    else:
        with pytest.raises(CredentialsError, match="no loopback name"):
            look({URI: uri})


def test_a_container_is_asked_three_times() -> None:
    """A failure is met by two more attempts, a second apart; then it is said."""
    busy = HttpAnswer(503, {}, b"")
    found, hands = look({RELATIVE: "/x"}, [busy, ConnectError("refused"), _ok(GIVEN)])
    assert found == CONTAINER
    assert hands.clock.seconds == 2
    with pytest.raises(CredentialsError, match="HTTP 503"):
        look({RELATIVE: "/x"}, [busy] * 3)
    for said in (b"no json", b"{}", b'{"AccessKeyId": "a", "SecretAccessKey": "s", "Expiration": "soon"}'):
        with pytest.raises(CredentialsError, match="is no credentials"):
            look({RELATIVE: "/x"}, [_ok(said)])


def test_a_token_that_would_break_the_request_is_refused() -> None:
    """A line break in a header would be another header."""
    with pytest.raises(CredentialsError, match="line break"):
        look({RELATIVE: "/x", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a\r\nX: y"})
    with pytest.raises(CredentialsError, match="cannot be read"):
        look({RELATIVE: "/x", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/none"})


# --- instance ---------------------------------------------------------------------------------------------------------


def _instance(request: HttpRequest) -> HttpAnswer:
    headers = dict(request.headers)
    match request.method, request.target:
        case b"PUT", b"/latest/api/token":
            assert headers[b"X-aws-ec2-metadata-token-ttl-seconds"] == b"21600"
            return _ok(b"imds-token")
        case b"GET", b"/latest/meta-data/iam/security-credentials/":
            assert headers[b"X-aws-ec2-metadata-token"] == b"imds-token"
            return _ok(b"the-role\n")
        case b"GET", b"/latest/meta-data/iam/security-credentials/the-role":
            assert headers[b"X-aws-ec2-metadata-token"] == b"imds-token"
            return _ok({**GIVEN, "Code": "Success"})
    return HttpAnswer(404, {}, b"")


def test_an_instance_gives_credentials() -> None:
    """By a session token (IMDSv2), at its own address, at another's, or by IPv6; never through a proxy."""
    for environment, address in (
        ({}, "http://169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1338/"}, "http://127.0.0.1:1338"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "http://[fd00:ec2::254]"),
    ):
        found, hands = look(environment, _instance)
        assert found == CONTAINER
        assert {str(request.address) for request in hands.transport.requests} == {address}
        assert all(request.direct for request in hands.transport.requests)


def test_no_credentials_anywhere_is_said() -> None:
    """No instance, one without a role, one that must not be asked: the places that were looked at are named."""

    def without_role(request: HttpRequest) -> HttpAnswer:
        return _ok(b"imds-token") if request.method == b"PUT" else HttpAnswer(404, {}, b"")

    for environment, answers in (
        ({}, [ConnectError("no route")]),
        ({}, without_role),
        ({"AWS_EC2_METADATA_DISABLED": "true"}, []),
    ):
        with pytest.raises(CredentialsError, match="neither a profile nor a container nor an instance"):
            look(environment, answers)
    with pytest.raises(ConfigurationError, match="ipv4 or ipv6"):
        look({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipx"})


# --- profiles, by botocore --------------------------------------------------------------------------------------------


def _read_real(path: str) -> str | None:
    file = Path(path).expanduser()
    return file.read_text() if file.exists() else None


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """AWS's two files, with a profile of each kind that needs no network; the environment that names them."""
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    given = json.dumps(
        {"Version": 1, **GIVEN, "AccessKeyId": "ASIAPROCESS", "SessionToken": "t", "Expiration": expires}
    )
    program = tmp_path / "give.py"
    program.write_text(f"print({given!r})")
    (tmp_path / "config").write_text(
        f"[profile program]\nregion = us-east-1\ncredential_process = {sys.executable} {program}\n[profile plain]\n"
    )
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = s\n"
        "[plain]\naws_access_key_id = AKIDPLAIN\naws_secret_access_key = s\n"
    )
    environment = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return environment


def _by_profile(name: str | None, environment: Mapping[str, str]) -> Credentials:
    chosen = read_profile(name, environment, _read_real)
    return look(environment, profile=chosen, read_file=_read_real)[0]


def test_botocore_reads_profiles(files: dict[str, str]) -> None:
    """Keys in a file, and whatever a program gives, with its expiry."""
    assert _by_profile(None, files).access_key_id == "AKIDDEFAULT"
    assert _by_profile("plain", files).access_key_id == "AKIDPLAIN"
    assert _by_profile(None, {**files, "AWS_PROFILE": "plain"}).access_key_id == "AKIDPLAIN"
    by_program = _by_profile("program", files)
    assert (by_program.access_key_id, by_program.session_token) == ("ASIAPROCESS", "t")
    assert by_program.expires_micros is not None
    hour_from_now = datetime.now(UTC).timestamp() + 3600
    assert abs(by_program.expires_micros / SECOND - hour_from_now) < 300


def test_a_profile_by_argument_goes_before_the_environment(files: dict[str, str]) -> None:
    """As in botocore: named in the call it wins over keys in the environment, named in the environment it does not."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s"}
    assert _by_profile("plain", {**files, **keys}).access_key_id == "AKIDPLAIN"
    assert _by_profile(None, {**files, **keys, "AWS_PROFILE": "plain"}).access_key_id == "AKIDENV"


def test_a_profile_that_is_not_there_is_said(files: dict[str, str]) -> None:
    """Botocore's own words are passed on."""
    with pytest.raises(CredentialsError, match="missing"):
        _by_profile("missing", files)


def test_profiles_need_the_extra(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without botocore a profile that is asked for is refused with what to install; one that is not is passed over."""
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(CredentialsError, match=r"install meterhouse\[aws\]"):
        _by_profile("plain", files)
    with pytest.raises(CredentialsError, match="neither a profile"):
        _by_profile(None, {**files, "AWS_EC2_METADATA_DISABLED": "true"})


# --- renewal ----------------------------------------------------------------------------------------------------------


class _Source:
    """Gives pairs that live an hour, and counts how often it was asked."""

    def __init__(self, lifetime_seconds: int = 3600) -> None:
        self.now = NOON_MICROS
        self.asked = 0
        self.is_down = False
        self._lifetime = lifetime_seconds
        self.renewed = RenewedCredentials(self._fetch)

    def _fetch(self) -> Flow[Credentials | None]:
        yield from ()
        self.asked += 1
        if self.is_down:
            raise CredentialsError("down")
        return Credentials(f"ASIA{self.asked}", "s", "t", self.now + self._lifetime * SECOND)

    def after(self, seconds: int) -> Credentials:
        """The current pair, so much later than noon."""
        self.now = NOON_MICROS + seconds * SECOND
        found: Credentials = by_hand(RecordedTransport([])).run(self.renewed.current(Instant(self.now, 0.0)))
        return found


def test_credentials_are_renewed_before_they_expire() -> None:
    """The same pair serves until a quarter of an hour before its end, and the next one then."""
    source = _Source()
    assert [source.after(seconds).access_key_id for seconds in (0, 60, 2699, 2700, 2701)] == [
        "ASIA1", "ASIA1", "ASIA1", "ASIA2", "ASIA2",
    ]  # fmt: skip
    short = _Source(lifetime_seconds=600)
    assert [short.after(seconds).access_key_id for seconds in (0, 299, 300)] == ["ASIA1", "ASIA1", "ASIA2"]


def test_while_the_old_ones_hold_a_failed_renewal_is_nobodys_failure() -> None:
    """It is tried again a minute later; once the old pair has expired, the failure is said."""
    source = _Source()
    source.after(0)
    source.is_down = True
    assert [source.after(seconds).access_key_id for seconds in (2700, 2759, 2760)] == ["ASIA1"] * 3
    assert source.asked == 3
    with pytest.raises(CredentialsError, match="down"):
        source.after(3600)
    source.is_down = False
    assert source.after(3601).access_key_id == "ASIA5"


def test_a_function_gives_credentials() -> None:
    """A function of one's own is asked once, and again before what it gave expires."""
    given = iter([Credentials("A", "s", "t", NOON_MICROS + 3600 * SECOND), Credentials("B", "s")])
    source = source_of(lambda: next(given), {}, NO_PROFILE, _nothing)
    hands = by_hand(RecordedTransport([]))
    keys = [
        hands.run(source.current(Instant(NOON_MICROS + seconds * SECOND, 0.0))).access_key_id
        for seconds in (0, 1, 3000, 10**9)
    ]
    assert keys == ["A", "A", "B", "B"]
