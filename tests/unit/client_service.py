"""A second, dumber service for the client's tests: BatchMeterUsage as a dictionary, and a seed that makes it fail.

It judges by marks in the records themselves, so that a test says beforehand what must come of each: a record is bad
where its dimension is one of `BAD`, and of a customer without subscription where the account begins with 9.
"""

import json
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from meterhouse.client.doubles import answer, error_answer
from meterhouse.client.errors import AnswerTimeoutError, ConnectError, ConnectionLostError, TransportError
from meterhouse.client.transport import HttpAnswer, HttpRequest

BAD: Final = {
    "ValidationException": "bad-shape",
    "InvalidCustomerIdentifierException": "bad-customer",
    "InvalidLicenseException": "bad-license",
    "InvalidUsageDimensionException": "bad-dimension",
    "TimestampOutOfBoundsException": "bad-time",
    "InvalidTagException": "bad-tag",
    "InvalidUsageAllocationsException": "bad-allocations",
    "OfLaterYearsException": "bad-otherwise",
}
"""By error, in the order in which they are judged: the dimension that brings it about."""

_RANK: Final = {dimension: (rank, code) for rank, (code, dimension) in enumerate(BAD.items())}

Key = tuple[Any, ...]


class DumbService:
    """Takes requests, keeps records. `billed` says how often each key was kept, which must never be twice."""

    def __init__(
        self,
        *,
        names_places: bool = False,
        trouble: float = 0.0,
        seed: int = 1,
        repeats_conflict: bool = False,
        product_of_license: Mapping[str, str] | None = None,
    ) -> None:
        self.kept: dict[Key, tuple[Decimal, str]] = {}
        self.billed: dict[Key, int] = {}
        self.calls = 0
        self.sizes: list[int] = []
        self._names_places = names_places
        self._trouble = trouble
        self._chance = random.Random(seed)
        self._repeats_conflict = repeats_conflict
        self._product_of_license = product_of_license

    def __call__(self, request: HttpRequest) -> HttpAnswer | TransportError:
        """One BatchMeterUsage."""
        self.calls += 1
        said = json.loads(request.body)
        records = said["UsageRecords"]
        self.sizes.append(len(records))
        assert len(records) <= 25
        assert len(request.body) < 1_000_000
        if self._chance.random() < self._trouble:
            return self._fail(said)
        return self._meter(said, frozenset())

    def _fail(self, said: Mapping[str, Any]) -> HttpAnswer | TransportError:
        match self._chance.choice(["throttle", "bug", "unprocessed", "lost", "late", "cut", "refused connection"]):
            case "throttle":
                return error_answer("ThrottlingException")
            case "bug":
                return error_answer("InternalServiceErrorException", status=500)
            case "unprocessed":
                count = len(said["UsageRecords"])
                return self._meter(said, frozenset(self._chance.sample(range(count), self._chance.randint(0, count))))
            case "refused connection":
                return ConnectError("refused")
            case "late":
                return AnswerTimeoutError("late")
            case how:
                given = self._meter(said, frozenset())
                if how == "lost" or given.status != 200:
                    return ConnectionLostError("lost after it was kept")
                return HttpAnswer(200, given.headers, given.body[: len(given.body) // 2])

    def _meter(self, said: Mapping[str, Any], unprocessed: frozenset[int]) -> HttpAnswer:
        records = said["UsageRecords"]
        refusal = self._refusal(records)
        if refusal is not None:
            _, place, code = refusal
            where = f"usageRecords.{place + 1}.member: " if self._names_places else ""
            return error_answer(code, f"{where}it is bad")
        results = []
        for place, record in enumerate(records):
            if place not in unprocessed:
                results.append({"UsageRecord": record, **self._keep(said.get("ProductCode"), record)})
        left = [records[place] for place in sorted(unprocessed)]
        return answer({"Results": results, "UnprocessedRecords": left})

    def _refusal(self, records: Sequence[Mapping[str, Any]]) -> tuple[int, int, str] | None:
        found = [
            (*_RANK[record["Dimension"]][:1], place, _RANK[record["Dimension"]][1])
            for place, record in enumerate(records)
            if record["Dimension"] in _RANK
        ]
        if self._product_of_license is not None:
            products = [self._product_of_license[record["LicenseArn"]] for record in records]
            found += [
                (-1, place, "InvalidLicenseException")
                for place, product in enumerate(products)
                if product != products[0]
            ]
        return min(found, default=None)

    def _keep(self, product: str | None, record: Mapping[str, Any]) -> dict[str, str]:
        customer = record.get("CustomerAWSAccountId") or record.get("CustomerIdentifier")
        key = (record.get("LicenseArn") or product, customer, record["Dimension"], int(record["Timestamp"]) // 3600)
        quantity = Decimal(str(record.get("QuantityAsDecimal", record.get("Quantity", 0))))
        kept = self.kept.get(key)
        if kept is not None:
            if kept[0] == quantity and not self._repeats_conflict:
                return {"Status": "Success", "MeteringRecordId": kept[1]}
            return {"Status": "DuplicateRecord"}
        if str(customer).startswith("9"):
            return {"Status": "CustomerNotSubscribed"}
        record_id = f"id-{len(self.kept)}"
        self.kept[key] = quantity, record_id
        self.billed[key] = self.billed.get(key, 0) + 1
        return {"Status": "Success", "MeteringRecordId": record_id}
