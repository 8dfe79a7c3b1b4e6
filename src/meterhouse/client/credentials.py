"""Where the credentials of a call come from: given, environment, profile, container, instance.

The order is that of AWS's SDKs. Environment, container endpoint and instance metadata (IMDSv2) are read here; what a
profile file can say (SSO, web identity, assumed roles, a process) is botocore's to find out, which comes with the extra
`meterhouse[aws]` and is imported only where a profile, a web identity or an AWS file is there to be read.

Temporary credentials are renewed from a quarter of an hour before they expire (halfway, where they live shorter than
that); while the old ones hold, a failure to renew them is not the call's, and is tried again a minute later.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from meterhouse.client.errors import ConfigurationError, CredentialsError, TransportError
from meterhouse.client.flow import NOW, Blocking, CredentialSource, Flow, Instant, Send, Sleep
from meterhouse.client.settings import Profile
from meterhouse.client.transport import HttpAnswer, HttpRequest, split_url
from meterhouse.core.moment import SECOND, micros_of_datetime, micros_of_rfc3339
from meterhouse.wire.keys import SigningCredentials

Credentials = SigningCredentials
"""An access key id, its secret, and for temporary ones the session token and `expires_micros` (since the epoch)."""

_EARLY_MICROS: Final = 900 * SECOND
_PAUSE_MICROS: Final = 60 * SECOND

_CONTAINER_HOST: Final = "169.254.170.2"
_CONTAINER_HOSTS: Final = frozenset({_CONTAINER_HOST, "169.254.170.23", "fd00:ec2::23", "localhost"})
_CONTAINER_TIMEOUT_SECONDS: Final = 2.0
_CONTAINER_ATTEMPTS: Final = 3

_INSTANCE_ENDPOINT: Final = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
_INSTANCE_TOKEN_SECONDS: Final = b"21600"
_INSTANCE_PATH: Final = b"/latest/meta-data/iam/security-credentials/"

Fetch = Callable[[], Flow[Credentials | None]]
"""A flow that gets credentials; None where this is not where they are."""


def checked(credentials: Credentials) -> Credentials:
    """The same. Raises CredentialsError for what cannot be sent or signed with: nothing, no text, a line break."""
    parts = (
        ("access key id", credentials.access_key_id),
        ("secret access key", credentials.secret_access_key),
        ("session token", "-" if credentials.session_token is None else credentials.session_token),
    )
    for name, text in parts:
        if not isinstance(text, str):
            raise CredentialsError(f"the {name} is no text but {type(text).__name__}")
        if not text:
            raise CredentialsError(f"the {name} is empty")
        if not text.isprintable():  # never shown: it may be a secret
            raise CredentialsError(f"the {name} has a line break or another character in it that cannot be printed")
        if not text.isascii() and name != "secret access key":
            raise CredentialsError(f"the {name} has characters in it that no header may have")
    return credentials


class StaticCredentials:
    """The same credentials for ever. Raises CredentialsError."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = checked(credentials)

    def current(self, now: Instant) -> Flow[Credentials]:
        """See `CredentialSource.current`."""
        del now
        yield from ()
        return self._credentials

    def renewed(self, refused: Credentials) -> Flow[Credentials | None]:
        """There are no others."""
        del refused
        yield from ()
        return None


class RenewedCredentials:
    """Credentials that are fetched, kept, and fetched again before they expire."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._held: Credentials | None = None
        self._renew_at_micros = 0

    def current(self, now: Instant) -> Flow[Credentials]:
        """See `CredentialSource.current`."""
        held = self._held
        if held is None or _has_expired(held, now.wall_micros):
            return (yield from self._renew(now.wall_micros))
        if held.expires_micros is None or now.wall_micros < self._renew_at_micros:
            return held
        # The old ones still hold. Whoever comes meanwhile goes on with them; nobody waits twice for one renewal.
        self._renew_at_micros = now.wall_micros + _PAUSE_MICROS
        try:
            return (yield from self._renew(now.wall_micros))
        except CredentialsError:
            return held

    def renewed(self, refused: Credentials) -> Flow[Credentials | None]:
        """See `CredentialSource.renewed`."""
        if self._held is refused:
            if refused.expires_micros is None:
                return None
            self._held = yield from self._fetch()
        return None if self._held == refused else self._held

    def _renew(self, now_micros: int) -> Flow[Credentials]:
        found = yield from self._fetch()
        if found is None:
            raise CredentialsError("no credentials were found")
        if not isinstance(found, Credentials):
            raise CredentialsError(f"what should give Credentials gave {type(found).__name__}")
        checked(found)
        if found.expires_micros is not None:
            left_micros = found.expires_micros - now_micros
            self._renew_at_micros = now_micros + max(left_micros - _EARLY_MICROS, left_micros // 2)
        self._held = found
        return found


def _has_expired(credentials: Credentials, now_micros: int) -> bool:
    return credentials.expires_micros is not None and now_micros >= credentials.expires_micros


def source_of(
    given: Credentials | Callable[[], Credentials] | CredentialSource | None,
    environment: Mapping[str, str],
    profile: Profile,
    read_file: Callable[[str], str | None],
) -> CredentialSource:
    """Where a client's credentials come from. A callable is asked for new ones before those it gave expire."""
    if isinstance(given, Credentials):
        return StaticCredentials(given)
    if callable(given):
        provider = given

        def provided() -> Flow[Credentials | None]:
            credentials: Credentials = yield Blocking(provider)
            return credentials

        return RenewedCredentials(provided)
    if given is not None:
        if not hasattr(given, "current"):
            raise TypeError(
                f"credentials are Credentials(…), or a function that gives them, not {type(given).__name__}"
            )
        return given
    return RenewedCredentials(lambda: _chain(environment, profile, read_file))


def _chain(
    environment: Mapping[str, str], profile: Profile, read_file: Callable[[str], str | None]
) -> Flow[Credentials | None]:
    if profile.asked_for_by != "argument":
        found = of_environment(environment)
        if found is not None:
            return found
    of_a_file: Credentials | None = yield Blocking(lambda: of_files(environment, profile, read_file))
    if of_a_file is not None:
        return of_a_file
    if any(name in environment for name in (_RELATIVE_URI, _FULL_URI)):
        return (yield from of_container(environment, read_file))
    found = yield from of_instance(environment)
    if found is None:
        raise CredentialsError(
            "no credentials: none were given, AWS_ACCESS_KEY_ID is not set, and neither a profile nor a container nor "
            "an instance gives any"
        )
    return found


# --- environment ------------------------------------------------------------------------------------------------------


def of_environment(environment: Mapping[str, str]) -> Credentials | None:
    """AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where there is one, AWS_SESSION_TOKEN."""
    access_key_id = environment.get("AWS_ACCESS_KEY_ID")
    if not access_key_id:
        return None
    secret = environment.get("AWS_SECRET_ACCESS_KEY")
    if not secret:
        raise CredentialsError("AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not")
    return Credentials(access_key_id, secret, environment.get("AWS_SESSION_TOKEN") or None)


# --- container --------------------------------------------------------------------------------------------------------

_RELATIVE_URI: Final = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_FULL_URI: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN_FILE: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
_TOKEN: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN"


def of_container(environment: Mapping[str, str], read_file: Callable[[str], str | None]) -> Flow[Credentials | None]:
    """What the container's credentials endpoint gives (ECS, EKS Pod Identity, Meterhouse). Raises CredentialsError."""
    relative = environment.get(_RELATIVE_URI)
    address, target = split_url(f"http://{_CONTAINER_HOST}{relative}" if relative else environment[_FULL_URI])
    if address.scheme != "https" and not _is_trusted(address.host):
        raise CredentialsError(f"{address.host} is no loopback name and none of {', '.join(sorted(_CONTAINER_HOSTS))}")
    headers = [(b"Accept", b"application/json")]
    token = environment.get(_TOKEN)
    if _TOKEN_FILE in environment:
        path = environment[_TOKEN_FILE]
        token = yield Blocking(lambda: read_file(path))
        if token is None:
            raise CredentialsError(f"{_TOKEN_FILE} names {path}, which cannot be read")
    if token:
        if "\r" in token or "\n" in token:
            raise CredentialsError("the container's authorization token has a line break in it")
        headers.append((b"Authorization", token.encode()))
    request = HttpRequest(address, headers, method=b"GET", target=target, direct=True)
    body = yield from _ask(request, "the container's credentials endpoint", _CONTAINER_TIMEOUT_SECONDS)
    return _read(body, "the container's credentials endpoint")


def _is_trusted(host: str) -> bool:
    if host in _CONTAINER_HOSTS:
        return True
    from ipaddress import ip_address  # noqa: PLC0415 - only for a container's endpoint

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _ask(request: HttpRequest, whom: str, timeout_seconds: float) -> Flow[bytes]:
    """The body of a 200; a failure is met by two more attempts. Raises CredentialsError."""
    reason = ""
    for attempt in range(1, _CONTAINER_ATTEMPTS + 1):
        answer: HttpAnswer | TransportError = yield Send(request, timeout_seconds)
        if isinstance(answer, HttpAnswer) and answer.status == 200:
            return answer.body
        reason = str(answer) if isinstance(answer, TransportError) else f"HTTP {answer.status}"
        if attempt < _CONTAINER_ATTEMPTS:
            now: Instant = yield NOW
            yield Sleep(now.seconds + 1)
    raise CredentialsError(f"{whom} gave no credentials: {reason}")


class _Said(msgspec.Struct, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str | None = None
    expiration: str | None = None


def _read(body: bytes, whom: str) -> Credentials:
    try:
        said = msgspec.json.decode(body, type=_Said)
        expires_micros = None if said.expiration is None else micros_of_rfc3339(said.expiration)
    except (msgspec.DecodeError, ValueError):
        raise CredentialsError(f"what {whom} gave is no credentials") from None
    return Credentials(said.access_key_id, said.secret_access_key, said.token, expires_micros)


# --- instance ---------------------------------------------------------------------------------------------------------


def of_instance(environment: Mapping[str, str]) -> Flow[Credentials | None]:
    """What the instance's metadata service (IMDSv2) gives; None where there is none, or no role."""
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    mode = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv4").lower()
    if mode not in _INSTANCE_ENDPOINT:
        raise ConfigurationError(f"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is {mode!r}, where ipv4 or ipv6 is wanted")
    address, root = split_url(environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _INSTANCE_ENDPOINT[mode])
    prefix = root.rstrip(b"/")
    timeout = float(environment.get("AWS_METADATA_SERVICE_TIMEOUT") or 1)
    attempts = int(environment.get("AWS_METADATA_SERVICE_NUM_ATTEMPTS") or 1)

    def asked(path: bytes, headers: list[tuple[bytes, bytes]], method: bytes = b"GET") -> Flow[bytes | None]:
        request = HttpRequest(address, headers, method=method, target=prefix + path, direct=True)
        for _ in range(attempts):
            answer: HttpAnswer | TransportError = yield Send(request, timeout)
            if isinstance(answer, HttpAnswer) and answer.status == 200 and answer.body.strip():
                return answer.body.strip()
        return None

    lifetime = [(b"X-aws-ec2-metadata-token-ttl-seconds", _INSTANCE_TOKEN_SECONDS)]
    token = yield from asked(b"/latest/api/token", lifetime, b"PUT")
    if token is None:
        return None
    headers = [(b"X-aws-ec2-metadata-token", token)]
    role = yield from asked(_INSTANCE_PATH, headers)
    if role is None:
        return None
    body = yield from asked(_INSTANCE_PATH + role, headers)
    return None if body is None else _read(body, "the instance's metadata service")


# --- files, by botocore -----------------------------------------------------------------------------------------------

_READ_HERE: Final = ("env", "container-role", "iam-role")


def of_files(
    environment: Mapping[str, str], profile: Profile, read_file: Callable[[str], str | None]
) -> Credentials | None:
    """What a profile or a web identity gives, by botocore. Blocking: it may start a process, or call STS or SSO.

    Raises CredentialsError where one is asked for and botocore is not there, or finds nothing.
    """
    must = profile.asked_for_by is not None or "AWS_WEB_IDENTITY_TOKEN_FILE" in environment
    credentials_file = environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    if not must and not profile.values and read_file(credentials_file) is None:
        return None
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - an extra, and slow to import
        from botocore.session import Session  # noqa: PLC0415 - the same
    except ImportError:
        if must:
            raise CredentialsError(
                "profiles and web identities are read by botocore: install meterhouse[aws]"
            ) from None
        return None
    try:
        session = Session(profile=profile.name if profile.asked_for_by is not None else None)
        chain = session.get_component("credential_provider")
        for link in _READ_HERE:
            chain.remove(link)
        found = session.get_credentials()
        return None if found is None else _frozen(found)
    except BotoCoreError as error:
        raise CredentialsError(f"botocore found no credentials: {error}") from error


def _frozen(found: Any) -> Credentials:
    """What botocore found, as of now. When it expires, botocore keeps to itself: the chain is then asked anew."""
    frozen = found.get_frozen_credentials()
    expires = getattr(found, "_expiry_time", None)
    expires_micros = None if expires is None else micros_of_datetime(expires)
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token, expires_micros)
