"""Which names can be a Region's, and which Regions are served (contract §2, §9)."""

import re
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final

REGION_PATTERN: Final = r"[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}"
"""The form of a Region's name, all of it."""

_REGION: Final = re.compile(REGION_PATTERN)


@lru_cache(maxsize=256)
def well_formed(region: str) -> bool:
    """Whether a name is of the form of a Region's (`eu-west-1`)."""
    return _REGION.fullmatch(region) is not None


def serves(regions: AbstractSet[str] | None, region: str) -> bool:
    """Whether a server serves a Region: one of its list, or, where it has none, every well-formed one."""
    return well_formed(region) if regions is None else region in regions
