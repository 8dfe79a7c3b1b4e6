"""Which names are a Region's, and which Regions are served (contract §2, §9)."""

import pytest
from botocore.session import Session

from meterhouse.core.call import Call, Signer
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.profile import NEWEST
from meterhouse.core.regions import serves, well_formed


@pytest.mark.parametrize(
    ("name", "is_region"),
    [
        ("us-east-1", True),
        ("us-gov-west-1", True),
        ("us-isob-east-1", True),
        ("eusc-de-east-1", True),
        ("ap-southeast-10", True),
        ("US-EAST-1", False),
        ("us-east", False),
        ("us-east-1a", False),
        ("us-east-100", False),
        ("us--east-1", False),
        ("u-east-1", False),
        ("useast-1", False),
        ("abcdef-east-1", False),
        ("us_east_1", False),
        ("us-east-1\n", False),
        (" us-east-1", False),
        ("us-east-\u0661", False),
        ("x!", False),
        ("aws-global", False),
        ("", False),
    ],
)
def test_a_region_is_known_by_its_form(name: str, is_region: bool) -> None:
    """Lower-case words and a number, whole."""
    assert well_formed(name) == is_region
    assert serves(None, name) == is_region


def test_every_region_that_aws_has_is_well_formed() -> None:
    """The form leaves out none of the Regions of any partition that botocore knows."""
    session = Session()
    names = {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("meteringmarketplace", partition, allow_non_regional=False)
    }
    assert len(names) > 25
    assert all(map(well_formed, names))


@pytest.mark.parametrize(
    ("region", "served"),
    [("us-east-1", True), ("eu-west-1", True), ("ap-south-1", False), ("", False)],
)
def test_a_server_serves_the_regions_of_its_list(region: str, served: bool) -> None:
    """Where a server has a list, that is all there is."""
    call = Call(None, Signer("111122223333", "arn"), region, NEWEST, frozenset({"us-east-1", "eu-west-1"}))
    assert call.region_is_served == served
    if served:
        call.check_region()
    else:
        with pytest.raises(Fault) as refused:
            call.check_region()
        assert refused.value.code is FaultCode.DISABLED_API


def test_a_server_with_an_empty_list_serves_nothing() -> None:
    """An empty list is a list."""
    assert not serves(frozenset(), "us-east-1")
