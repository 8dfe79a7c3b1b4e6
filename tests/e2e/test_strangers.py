"""AWS's own SDKs, unchanged, against a running server: every row of the table, by every stranger.

Each stranger has a server and a ledger of its own and speaks once, all of them side by side; the tests look at what
came of each call.
"""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.calls import SERVED, SUCCESS, Refused, Row
from tests.e2e.market import CATALOG
from tests.e2e.serving import Server
from tests.e2e.strangers import STRANGERS, class_of, heard, is_refused_unsent, outcomes, rows_for

Outcomes = Mapping[str, Mapping[str, Mapping[str, Any]]]

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
REGIONS = [option for region in SERVED for option in ("--region", region)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of every row, by stranger and name."""
    # Made one after the other: the first folder of all makes the root of them, and two threads at that undo each other.
    folders: dict[str, Path] = {name: tmp_path_factory.mktemp(name) for name in STRANGERS}

    def ask(name: str) -> dict[str, Any]:
        folder = folders[name]
        with Server(folder, *REGIONS, catalog=CATALOG) as server:
            return outcomes(STRANGERS[name], server.url, folder)

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(STRANGERS, pool.map(ask, STRANGERS), strict=True))


def _ids(outcome: Mapping[str, Any]) -> list[str | None]:
    return [result.get("MeteringRecordId") for result in outcome["answer"]["Results"]]


CASES = [pytest.param(name, row, id=f"{name}-{row.name}") for name in STRANGERS for row in rows_for(STRANGERS[name])]


@pytest.mark.parametrize(("name", "row"), CASES)
def test_a_call_ends_as_the_contract_says(found: Outcomes, name: str, row: Row) -> None:
    """Every stranger gets the answer, or the error by its class, that the table says; or refuses by itself."""
    stranger, outcome = STRANGERS[name], found[name][row.name]
    if is_refused_unsent(row, stranger):
        assert outcome == {"unsaid": "ParamValidationError"}
        return
    assert UUID.fullmatch(outcome["request_id"]), outcome
    match row.expected:
        case Refused():
            seen = outcome["code"], outcome["status"], outcome["class"]
            assert seen == (row.expected.code, row.expected.status, class_of(row.expected, stranger)), outcome
            assert outcome["message"]
        case Mapping():
            assert outcome["answer"] == heard(row.expected, stranger)
        case _:
            results = outcome["answer"]["Results"]
            assert [result["Status"] for result in results] == row.expected
            assert outcome["answer"]["UnprocessedRecords"] == []


def _accepted_batches(name: str) -> list[Row]:
    stranger = STRANGERS[name]
    return [
        row
        for row in rows_for(stranger)
        if not isinstance(row.expected, Refused | Mapping) and not is_refused_unsent(row, stranger)
    ]


@pytest.mark.parametrize("name", STRANGERS)
def test_results_echo_what_was_said(found: Outcomes, name: str) -> None:
    """Each result carries its record as it was sent, in the order of the request."""
    for row in _accepted_batches(name):
        said = [dict(record) for record in row.request["UsageRecords"]]
        for record in said if STRANGERS[name].whole_seconds else []:
            record["Timestamp"] = int(record["Timestamp"])
        assert [result["UsageRecord"] for result in found[name][row.name]["answer"]["Results"]] == said, row.name


@pytest.mark.parametrize("name", STRANGERS)
def test_a_record_has_one_id_for_ever(found: Outcomes, name: str) -> None:
    """A repeat has the id of its first, whatever else has another; and what is not accepted has none."""
    rows = {row.name: row for row in _accepted_batches(name)}
    ids = {row.name: _ids(found[name][row.name]) for row in rows.values()}
    for row in rows.values():
        has_id = [record_id is not None and UUID.fullmatch(record_id) is not None for record_id in ids[row.name]]
        assert has_id == [status == SUCCESS for status in row.expected], row.name
        assert not row.as_in or ids[row.name] == ids[row.as_in], row.name
    new = [set(ids[row.name]) - {None} for row in rows.values() if not row.as_in and row.name != "a former customer"]
    assert len(set().union(*new)) == sum(map(len, new)), "two records have the same id"
    first, second, _ = ids["one key three times"]
    assert first == second
    assert len(set(ids["25 records"])) == 1
