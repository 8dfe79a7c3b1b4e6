"""What arguments, environment and profile files say, put together: Region, endpoint, and how calls are made.

Each setting is looked up where AWS's SDKs look, in their order: argument, environment, profile. The environment and the
text of the profile file are arguments here; `client.py` reads them.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from msgspec import Struct

from meterhouse.client.endpoints import endpoint_url
from meterhouse.client.errors import ConfigurationError
from meterhouse.client.transport import Address, NetworkOptions, check_numbers, split_url

_SERVICE: Final = "marketplace_metering"
_TRUE: Final = frozenset({"true", "1"})


class ClientOptions(Struct, frozen=True, kw_only=True):
    """How a client calls. None: what environment and profile say, else the default named here."""

    use_dualstack_endpoint: bool | None = None
    """Default AWS_USE_DUALSTACK_ENDPOINT, the profile's `use_dualstack_endpoint`, else no."""
    use_fips_endpoint: bool | None = None
    """Default AWS_USE_FIPS_ENDPOINT, the profile's `use_fips_endpoint`, else no."""
    max_attempts: int | None = None
    """Of one request, the first counted. Default AWS_MAX_ATTEMPTS, the profile's `max_attempts`, else 3."""
    answer_timeout_seconds: float = 60.0
    """How long one attempt waits for its answer."""
    requests_per_second: float | None = 10.0
    """What `batch_meter_usage` keeps to over all its requests: AWS's own bound for an account and Region (contract §9).
    None: as fast as it goes, for a service of one's own.
    """
    concurrency: int = 4
    """How many requests of one `batch_meter_usage` are under way at the same time."""
    resend_rounds: int = 6
    """How often `batch_meter_usage` sends again a record that the service left unprocessed or that met a failure."""
    network: NetworkOptions = NetworkOptions()

    def __post_init__(self) -> None:
        at_least = {"max_attempts": 1, "concurrency": 1, "resend_rounds": 0}
        check_numbers(self, at_least, ("answer_timeout_seconds", "requests_per_second"))


class Settings(Struct, frozen=True):
    """What a client works by, nothing left to look up."""

    region: str
    endpoint: tuple[Address, bytes]
    """The address, and the target to ask there."""
    max_attempts: int
    ca_bundle: str | None
    profile: "Profile"


class Profile(Struct, frozen=True):
    """One profile of a config file, and the file's services sections."""

    name: str
    values: Mapping[str, str] = {}
    services: Mapping[str, Mapping[str, str]] = {}
    asked_for_by: Literal["argument", "environment"] | None = None
    """Who names it, if anybody does. One named by an argument goes before credentials in the environment."""

    def endpoint_url(self) -> str | None:
        """What the file says of this service's endpoint: its services section first."""
        named = self.values.get("services")
        if named is not None:
            if named not in self.services:
                raise ConfigurationError(f"profile {self.name!r} names a services section {named!r} that is not there")
            nested = _nested(self.services[named].get(_SERVICE, ""))
            if "endpoint_url" in nested:
                return nested["endpoint_url"]
        return self.values.get("endpoint_url")


def _nested(text: str) -> dict[str, str]:
    """The indented `key = value` lines below a key of a services section."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def read_profile(name: str | None, environment: Mapping[str, str], read_file: Callable[[str], str | None]) -> Profile:
    """A profile of AWS_CONFIG_FILE (default `~/.aws/config`). Raises ConfigurationError where it is asked for by name
    and no config file knows it; the credentials file may, so that is left to whoever needs its credentials.
    """
    wanted = name or environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    profile = wanted or "default"
    asked_for_by: Literal["argument", "environment"] | None = "argument" if name else "environment" if wanted else None
    text = read_file(environment.get("AWS_CONFIG_FILE") or "~/.aws/config")
    if text is None:
        return Profile(profile, asked_for_by=asked_for_by)
    from configparser import Error, RawConfigParser  # noqa: PLC0415 - few machines that meter have such a file

    parser = RawConfigParser()
    try:
        parser.read_string(text)
    except Error as error:
        raise ConfigurationError(f"the config file cannot be read: {error}") from None
    section = profile if profile == "default" and parser.has_section("default") else f"profile {profile}"
    values = dict(parser.items(section)) if parser.has_section(section) else {}
    services = {
        heading.removeprefix("services ").strip(): dict(parser.items(heading))
        for heading in parser.sections()
        if heading.startswith("services ")
    }
    return Profile(profile, values, services, asked_for_by)


def settle(
    region: str | None,
    url: str | None,
    options: ClientOptions,
    environment: Mapping[str, str],
    profile: Profile,
) -> Settings:
    """All settings of a client. Raises ConfigurationError where they contradict each other or name no Region."""
    found = region or _first(environment, "AWS_REGION", "AWS_DEFAULT_REGION") or profile.values.get("region")
    if not found:
        raise ConfigurationError("no Region: give region=…, set AWS_REGION, or name one in the profile")
    dualstack = _flag(options.use_dualstack_endpoint, "use_dualstack_endpoint", environment, profile)
    fips = _flag(options.use_fips_endpoint, "use_fips_endpoint", environment, profile)
    custom = url or _configured_url(environment, profile)
    if custom and (dualstack or fips):
        which = "FIPS" if fips else "dual-stack"
        raise ConfigurationError(f"an endpoint of one's own and {which} exclude each other")
    attempts = options.max_attempts or _number(_of("max_attempts", environment, profile)) or 3
    return Settings(
        found,
        split_url(custom or endpoint_url(found, dualstack=dualstack, fips=fips)),
        attempts,
        options.network.ca_bundle or _of("ca_bundle", environment, profile),
        profile,
    )


def _configured_url(environment: Mapping[str, str], profile: Profile) -> str | None:
    if _flag(None, "ignore_configured_endpoint_urls", environment, profile):
        return None
    return (
        _first(environment, f"AWS_ENDPOINT_URL_{_SERVICE.upper()}", "AWS_ENDPOINT_URL")
        or profile.endpoint_url()
        or None
    )


def _first(environment: Mapping[str, str], *names: str) -> str | None:
    return next(filter(None, map(environment.get, names)), None)


def _of(name: str, environment: Mapping[str, str], profile: Profile) -> str | None:
    return environment.get(f"AWS_{name.upper()}") or profile.values.get(name)


def _flag(given: bool | None, name: str, environment: Mapping[str, str], profile: Profile) -> bool:  # noqa: FBT001 - of three values
    return (_of(name, environment, profile) or "").strip().lower() in _TRUE if given is None else given


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise ConfigurationError(f"max_attempts is {text!r}, where a whole number from 1 is wanted")
    return int(text)
