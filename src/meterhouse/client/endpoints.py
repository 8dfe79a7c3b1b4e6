"""Where the service lives in each partition of AWS, as the SDKs' endpoint rules have it.

A table in place of the rule set's tree: a partition is known by its Regions' names, and a host by partition, FIPS and
dual-stack. A parity test holds every Region and variant against botocore's rule set.
"""

import re
from typing import Final

from msgspec import Struct

from meterhouse.client.errors import ConfigurationError


class _Partition(Struct, frozen=True):
    regions: str
    suffix: str
    dualstack_suffix: str
    plain_name: str = "metering.marketplace"
    dualstack_name: str = "metering.marketplace"


_HYPHEN: Final = "metering-marketplace"
_DOT: Final = "metering.marketplace"

_PARTITIONS: Final = (
    _Partition(r"cn-\w+-\d+|aws-cn-global", "amazonaws.com.cn", "api.amazonwebservices.com.cn", _DOT, _HYPHEN),
    _Partition(r"us-gov-\w+-\d+|aws-us-gov-global", "amazonaws.com", "api.aws", _DOT, _HYPHEN),
    _Partition(r"eusc-de-\w+-\d+", "amazonaws.eu", "api.amazonwebservices.eu", _HYPHEN, _DOT),
    _Partition(r"us-iso-\w+-\d+|aws-iso-global", "c2s.ic.gov", "api.aws.ic.gov"),
    _Partition(r"us-isob-\w+-\d+|aws-iso-b-global", "sc2s.sgov.gov", "api.aws.scloud"),
    _Partition(r"eu-isoe-\w+-\d+|aws-iso-e-global", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    _Partition(r"us-isof-\w+-\d+|aws-iso-f-global", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    _Partition(r".*", "amazonaws.com", "api.aws", _DOT, _HYPHEN),
)
"""First match counts; the last, AWS's own, takes every other name, as the rule set does: a Region may be new."""

_HOST_LABEL: Final = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"


def endpoint_url(region: str, *, dualstack: bool = False, fips: bool = False) -> str:
    """The URL at which a Region's metering service answers. ConfigurationError for what can be no Region's name."""
    if re.fullmatch(_HOST_LABEL, region) is None:
        raise ConfigurationError(f"{region!r} is no name of a Region")
    partition = next(one for one in _PARTITIONS if re.fullmatch(one.regions, region))
    name = partition.dualstack_name if dualstack else partition.plain_name
    if fips:
        name = f"{_DOT}-fips"
    return f"https://{name}.{region}.{partition.dualstack_suffix if dualstack else partition.suffix}"
