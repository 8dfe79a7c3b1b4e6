"""How tests call a rule: a view over a dict, ids in a row, and the two halves of the rule one after the other."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from meterhouse.core.call import Call, Following, NewIds, Plan, Signer
from meterhouse.core.catalog import Catalog, Workload
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.profile import NEWEST, Profile
from meterhouse.core.usage import BOTH_FORMS, BY_LICENSE, BY_PRODUCT, ClaimKey, Kept, Partition, RecordKey, text_of_id

Rule = Callable[[Call[Any], Catalog, int], Plan]


class KeptRecords:
    """What a ledger has kept, as plainly as can be; and the ids it gives, which count from 1."""

    def __init__(self) -> None:
        self.records: dict[tuple[Partition, RecordKey], Kept] = {}
        self.claims: dict[tuple[Partition, ClaimKey], bytes] = {}
        self._ids = 0

    def ids(self, count: int) -> NewIds:
        """That many ids, none given before."""
        self._ids += count
        octets = [number.to_bytes(16, "big") for number in range(self._ids - count + 1, self._ids + 1)]
        return NewIds(octets, [text_of_id(each) for each in octets])


class PlannedView:
    """What a rule may see in its turn: what is kept under the keys that its plan named, and no other."""

    def __init__(self, kept: KeptRecords, plan: Plan) -> None:
        assert plan.partition is not None
        self._kept, self._plan, self._partition = kept, plan, plan.partition
        series = [key.series for partition, key in kept.records if partition == plan.partition]
        forms = plan.forms or BOTH_FORMS
        for one in series:
            forms |= BY_LICENSE if one.license else BY_PRODUCT
        self.both_forms = forms == BOTH_FORMS
        """Whether usage may be kept under both forms of naming it."""

    def keeps_any(self, keys: Sequence[RecordKey]) -> bool:
        """Whether something is kept under any of the keys."""
        return any(self.record(key) is not None for key in keys)

    def record(self, key: RecordKey) -> Kept | None:
        """What is kept under a key."""
        assert key in self._plan.records or key in self._plan.rivals, "the plan did not name this key"
        return self._kept.records.get((self._partition, key))

    def claim(self, key: ClaimKey) -> bytes | None:
        """What a claim is bound to."""
        assert key in self._plan.claims, "the plan did not name this claim"
        return self._kept.claims.get((self._partition, key))


class Caller(NamedTuple):
    """Who calls, where, and by which rules."""

    account: str
    region: str = "us-east-1"
    profile: Profile = NEWEST
    regions: frozenset[str] | None = None
    workload: Workload | None = None


def follow(
    rule: Rule, request: object, caller: Caller, catalog: Catalog, now_micros: int, kept: KeptRecords
) -> Following:
    """What follows from a request; what it keeps is kept. Raises Fault, and then nothing is."""
    signer = Signer(caller.account, f"arn:aws:iam::{caller.account}:user/test", caller.workload)
    call = Call(request, signer, caller.region, caller.profile, caller.regions)
    plan = rule(call, catalog, now_micros)
    if plan.partition is None:
        return plan.follow(NOWHERE, kept.ids)
    following = plan.follow(PlannedView(kept, plan), kept.ids)
    assert following.keeps == bool(following.entries)
    for entry in following.entries:
        place = (plan.partition, entry.key)
        assert entry.key in plan.records, "the plan did not name what it keeps"
        assert place not in kept.records, "a key is kept twice"
        kept.records[place] = Kept(entry.quantity_micros, entry.record_id)
    for key, value in following.claims:
        assert key in plan.claims, "the plan did not name what it claims"
        assert (plan.partition, key) not in kept.claims, "a claim is made twice"
        kept.claims[plan.partition, key] = value
    return following


class _Nowhere:
    """The view of a plan that asks for nothing."""

    both_forms = False

    def record(self, key: RecordKey) -> Kept | None:
        raise AssertionError(f"the plan named no key, and asks for {key}")

    def keeps_any(self, keys: Sequence[RecordKey]) -> bool:
        raise AssertionError(f"the plan named no key, and asks for {keys}")

    def claim(self, key: ClaimKey) -> bytes | None:
        raise AssertionError(f"the plan named no claim, and asks for {key}")


NOWHERE: Final = _Nowhere()


class Refused(NamedTuple):
    """With which fault a request was refused."""

    code: FaultCode
    message: str


def result(
    rule: Rule, request: object, caller: Caller, catalog: Catalog, now_micros: int, kept: KeptRecords
) -> Following | Refused:
    """As `follow`, a Fault as a value."""
    try:
        return follow(rule, request, caller, catalog, now_micros, kept)
    except Fault as fault:
        return Refused(fault.code, fault.message)
