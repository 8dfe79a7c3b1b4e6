"""Region, endpoint and the rest: arguments before environment before profile, as AWS's SDKs look them up."""

from collections.abc import Mapping
from typing import Any

import pytest

from meterhouse.client.client import MeteringClient
from meterhouse.client.doubles import RecordedTransport
from meterhouse.client.errors import ConfigurationError
from meterhouse.client.settings import ClientOptions, Settings, read_profile, settle
from tests.unit.client_ways import KEYS

CONFIG = """
[default]
region = eu-west-1

[profile plain]
region = eu-central-1
endpoint_url = http://plain:1
max_attempts = 7
ca_bundle = /etc/ca.pem
use_fips_endpoint = false

[profile serviced]
region = us-east-2
services = local
endpoint_url = http://all:2

[profile other-service]
region = us-east-2
services = elsewhere

[profile dangling]
region = us-east-2
services = nowhere

[profile fips]
region = us-east-2
use_fips_endpoint = true
use_dualstack_endpoint = true

[profile quiet]
region = us-east-2
endpoint_url = http://quiet:3
ignore_configured_endpoint_urls = true

[services local]
s3 =
  endpoint_url = http://s3:9
marketplace_metering =
  endpoint_url = http://metering:8750

[services elsewhere]
s3 =
  endpoint_url = http://s3:9
"""


def settled(
    environment: Mapping[str, str],
    *,
    profile: str | None = None,
    region: str | None = None,
    url: str | None = None,
    **options: Any,
) -> Settings:
    """What comes of arguments and environment beside that config file."""

    def read_file(path: str) -> str | None:
        return CONFIG if path == environment.get("AWS_CONFIG_FILE", "~/.aws/config") else None

    return settle(region, url, ClientOptions(**options), environment, read_profile(profile, environment, read_file))


REGIONS: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({}, {}, "eu-west-1"),
    ({}, {"region": "us-west-2"}, "us-west-2"),
    ({"AWS_REGION": "ap-south-1"}, {}, "ap-south-1"),
    ({"AWS_DEFAULT_REGION": "ap-south-2"}, {}, "ap-south-2"),
    ({"AWS_REGION": "ap-south-1", "AWS_DEFAULT_REGION": "ap-south-2"}, {}, "ap-south-1"),
    ({"AWS_REGION": "ap-south-1"}, {"region": "us-west-2"}, "us-west-2"),
    ({"AWS_REGION": ""}, {}, "eu-west-1"),
    ({"AWS_PROFILE": "plain"}, {}, "eu-central-1"),
    ({"AWS_DEFAULT_PROFILE": "plain"}, {}, "eu-central-1"),
    ({"AWS_PROFILE": "plain"}, {"profile": "serviced"}, "us-east-2"),
    ({"AWS_CONFIG_FILE": "/my/config"}, {"profile": "plain"}, "eu-central-1"),
]


@pytest.mark.parametrize(("environment", "arguments", "region"), REGIONS)
def test_where_the_region_comes_from(environment: dict[str, str], arguments: dict[str, Any], region: str) -> None:
    """Argument, AWS_REGION, AWS_DEFAULT_REGION, the profile: the first that says something."""
    assert settled(environment, **arguments).region == region


URL = "AWS_ENDPOINT_URL"
SERVICE_URL = "AWS_ENDPOINT_URL_MARKETPLACE_METERING"
ENDPOINTS: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({}, {}, "https://metering.marketplace.eu-west-1.amazonaws.com"),
    ({}, {"url": "http://given:1"}, "http://given:1"),
    ({SERVICE_URL: "http://service:1", URL: "http://all:1"}, {}, "http://service:1"),
    ({URL: "http://all:1"}, {}, "http://all:1"),
    ({SERVICE_URL: "http://service:1"}, {"url": "http://given:1"}, "http://given:1"),
    ({}, {"profile": "plain"}, "http://plain:1"),
    ({}, {"profile": "serviced"}, "http://metering:8750"),
    ({}, {"profile": "other-service"}, "https://metering.marketplace.us-east-2.amazonaws.com"),
    ({URL: "http://all:1"}, {"profile": "serviced"}, "http://all:1"),
    ({URL: "http://all:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, {"profile": "serviced"},
     "https://metering.marketplace.us-east-2.amazonaws.com"),
    ({}, {"profile": "quiet"}, "https://metering.marketplace.us-east-2.amazonaws.com"),
    ({"AWS_USE_FIPS_ENDPOINT": "true"}, {}, "https://metering.marketplace-fips.eu-west-1.amazonaws.com"),
    ({"AWS_USE_DUALSTACK_ENDPOINT": "True"}, {}, "https://metering-marketplace.eu-west-1.api.aws"),
    ({}, {"profile": "fips"}, "https://metering.marketplace-fips.us-east-2.api.aws"),
    ({"AWS_USE_FIPS_ENDPOINT": "true"}, {"use_fips_endpoint": False},
     "https://metering.marketplace.eu-west-1.amazonaws.com"),
    ({}, {"url": "http://given:1/base/"}, "http://given:1"),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "arguments", "url"), ENDPOINTS)
def test_where_the_endpoint_comes_from(environment: dict[str, str], arguments: dict[str, Any], url: str) -> None:
    """Argument, the service's variable, the common one, the profile's services, the profile; else AWS's own."""
    assert str(settled(environment, **arguments).endpoint[0]) == url


def test_a_path_in_the_endpoint_is_kept() -> None:
    """An endpoint behind a gateway may have one, and it is signed."""
    assert settled({}, url="http://given:1/base/x").endpoint[1] == b"/base/x"


def test_the_rest() -> None:
    """Attempts and certificates from argument, environment, profile; 3 attempts where nobody says."""
    assert settled({}).max_attempts == 3
    assert settled({}, profile="plain").max_attempts == 7
    assert settled({"AWS_MAX_ATTEMPTS": "5"}, profile="plain").max_attempts == 5
    assert settled({"AWS_MAX_ATTEMPTS": "5"}, max_attempts=2).max_attempts == 2
    assert settled({}, profile="plain").ca_bundle == "/etc/ca.pem"
    assert settled({"AWS_CA_BUNDLE": "/ca"}, profile="plain").ca_bundle == "/ca"
    assert settled({}).ca_bundle is None


WRONG: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({"AWS_CONFIG_FILE": "/none"}, {"profile": "x"}, "no Region"),
    ({}, {"profile": "dangling"}, "'nowhere' that is not there"),
    ({"AWS_MAX_ATTEMPTS": "many"}, {}, "max_attempts is 'many'"),
    ({"AWS_MAX_ATTEMPTS": "0"}, {}, "max_attempts is '0'"),
    ({}, {"url": "127.0.0.1:8750"}, "no URL"),
    ({}, {"region": "us east"}, "no name of a Region"),
    ({}, {"url": "http://given:1", "use_fips_endpoint": True}, "exclude each other"),
    ({URL: "http://all:1"}, {"use_dualstack_endpoint": True}, "exclude each other"),
]


@pytest.mark.parametrize(("environment", "arguments", "says"), WRONG)
def test_what_cannot_be_is_said(environment: dict[str, str], arguments: dict[str, Any], says: str) -> None:
    """A setting that cannot be honoured is refused by name before anything is sent."""
    with pytest.raises(ConfigurationError, match=says):
        settled(environment, **arguments)


def test_a_config_file_that_is_none() -> None:
    """A file that cannot be read as one is named, not ignored."""
    with pytest.raises(ConfigurationError, match="config file"):
        read_profile(None, {}, lambda _: "region = before any section")


def test_a_client_reads_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client itself looks into the process's environment, and shows what it found."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv(SERVICE_URL, "http://127.0.0.1:8750")
    with MeteringClient(credentials=KEYS, transport=RecordedTransport([])) as client:
        assert (client.region, client.endpoint_url) == ("eu-north-1", "http://127.0.0.1:8750/")
