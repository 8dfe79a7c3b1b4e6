"""The demo's own parts: its day is a day that the service takes, and it does not hide what is not so."""

import sys
from datetime import timedelta
from typing import Any

import pytest

from meterhouse.cli import run
from meterhouse.core.quantity import micros_of_decimal
from meterhouse.demo.day import (
    BATCH_SIZE,
    Record,
    gateway_batch,
    misspelled,
    pipeline_batches,
    quantity_of,
    second_thoughts,
)
from meterhouse.demo.marketplace import GATEWAY, OPENING, PIPELINE, catalog_text
from meterhouse.demo.page import Page, json_of
from meterhouse.demo.seller import Seller
from meterhouse.demo.story import DemoFailed, _Story
from meterhouse.service.catalog_file import check
from tests.unit.marketplace import sources_at

BOOKED = {"buyer": "444455556666", "dimension": "users", "quantity": "17", "unit": "U", "price": "1", "amount": "17"}


class Books:
    """A control API whose ledger has one sum in it, of one product."""

    def __init__(self, *sums: dict[str, str]) -> None:
        self._sums = sums

    def totals(self, product: str) -> list[dict[str, str]]:
        """The sums of a product."""
        return [*self._sums] if product == PIPELINE.code else []

    def record_count(self) -> int:
        """How many records there are."""
        return len(self._sums)


class Ledgerless(Seller):
    """A seller whose every record is answered Success."""

    def meter(self, records: Any, product_code: str | None = None) -> list[dict[str, Any]]:
        """Results without a service."""
        return [{"Status": "Success", "MeteringRecordId": str(index)} for index, _ in enumerate(records)]


def story(control: Any) -> Any:
    """The story's acts, over a control API that is made up."""
    return _Story(Page(), control, Ledgerless())


def all_records() -> list[Record]:
    """Every record of the day."""
    return [record for batch in (*pipeline_batches(), gateway_batch()) for record in batch]


def test_a_batch_is_not_too_large() -> None:
    """No batch has more records than the service takes."""
    assert [len(batch) for batch in (*pipeline_batches(), gateway_batch())] == [25, 25, 25, 21, 24]
    assert BATCH_SIZE == 25


def test_the_day_is_within_the_window() -> None:
    """At its end every record is less than 24 hours old, and none lies ahead."""
    end = OPENING + timedelta(hours=24)
    assert all(timedelta() < end - record["Timestamp"] < timedelta(hours=24) for record in all_records())


def test_the_allocations_are_the_whole() -> None:
    """The parts of a record add up to it, as the service asks, with at most six decimals."""
    for record in gateway_batch():
        parts = [micros_of_decimal(part["AllocatedUsageQuantityAsDecimal"]) for part in record["UsageAllocations"]]
        assert sum(parts) == micros_of_decimal(record["QuantityAsDecimal"])


def test_a_misspelled_batch_differs_in_one_dimension() -> None:
    """Only the last record of it is bad."""
    batch = pipeline_batches()[0]
    bad = misspelled(batch)
    assert bad[:-1] == batch[:-1]
    assert {**bad[-1], "Dimension": batch[-1]["Dimension"]} == batch[-1]
    assert bad[-1]["Dimension"] != batch[-1]["Dimension"]


def test_the_second_thought_contradicts_the_day() -> None:
    """One of the three names a record of the day with another quantity, and the other two are of none."""
    said = {_names(record): quantity_of(record) for record in all_records()}
    _new, other, _unsubscribed = second_thoughts()
    assert [_names(record) in said for record in second_thoughts()] == [False, True, False]
    assert said[_names(other)] + 1 == quantity_of(other)


def _names(record: Record) -> tuple[str, str, str]:
    return (record["CustomerAWSAccountId"], record["Dimension"], record["Timestamp"].isoformat()[:13])


def test_the_catalog_of_the_demo_is_whole() -> None:
    """It can be loaded, and sells what the day meters."""
    text = catalog_text("http://127.0.0.1:1/register")
    assert check(text, "catalog.toml", {}, sources_at()).changed["products"] == 2
    assert all(f'code = "{product.code}"' in text for product in (PIPELINE, GATEWAY))


@pytest.mark.parametrize(
    ("sums", "complaint"),
    [
        ([{**BOOKED, "quantity": "18"}], "not what the seller's books say"),
        ([BOOKED, {**BOOKED, "dimension": "gigabytes"}], "not what the seller's books say"),
        ([], "lacks what the seller's books have"),
        ([BOOKED], None),
    ],
)
def test_a_ledger_that_differs_from_the_books_fails_the_demo(sums: list[dict[str, str]], complaint: str | None) -> None:
    """What is said to be equal was compared: a sum that differs, one too many, one that is missing."""
    acts = story(Books(*sums))
    acts._meter([{"CustomerAWSAccountId": "444455556666", "Dimension": "users", "Quantity": 17}])
    if complaint is None:
        acts._add_up()
    else:
        with pytest.raises(DemoFailed, match=complaint):
            acts._add_up()


def test_a_record_is_shown_as_json() -> None:
    """A member a line, an allocation a line, times as the API's documents write them."""
    shown = json_of({"Timestamp": OPENING, "Quantity": 2, "UsageAllocations": [{"a": 1}, {"a": 2}]})
    assert shown == (
        '{"Timestamp": "2026-11-19T09:00:00Z",\n "Quantity": 2,\n'
        ' "UsageAllocations": [\n     {"a": 1},\n     {"a": 2}]}'
    )


def test_without_boto3_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever installed the package without the extra is told its name."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert run(["demo"]) == 1
    wanted = "meterhouse: the demo meters with boto3, which is not installed: pip install 'meterhouse[demo]'.\n"
    assert capsys.readouterr().err == wanted
