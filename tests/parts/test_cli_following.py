"""Following the journals: every row once, in order, whatever comes while it is read."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterhouse.cli import following, journal, run
from meterhouse.cli.calling import Unanswered
from meterhouse.cli.following import Following

Row = dict[str, Any]


class Journals:
    """A server's journals, answered as the API answers: by position, or all by when they were received."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.asked: list[Mapping[str, object]] = []

    def keep(self, product: str, received: int, region: str = "us-east-1") -> None:
        """A request is kept that was received at some time."""
        position = 1 + sum((row["product"], row["region"]) == (product, region) for row in self.rows)
        self.rows.append({"product": product, "region": region, "position": position, "received": received})

    def call(self, method: str, path: str, query: Mapping[str, Any]) -> bytes:
        """`GET /journal`."""
        assert (method, path) == ("GET", "/journal")
        self.asked.append(query)
        found = [
            row
            for row in self.rows
            if query["product"] in (None, row["product"]) and query["region"] in (None, row["region"])
        ]
        if query["product"] is not None and query["region"] is not None:
            found = [row for row in found if row["position"] > int(query["after"])]
        else:
            after = json.loads(query["after"] or "[-1]")
            found = sorted((row for row in found if _place(row) > after), key=_place)
        shown = found[: query["limit"]]
        following = json.dumps(_place(shown[-1])) if len(found) > len(shown) else None
        return json.dumps({"items": shown, "next": following}).encode()


def _place(row: Row) -> list[Any]:
    return [row["received"], row["region"], row["product"], row["position"]]


def read(follower: Following) -> list[Row]:
    """What is new."""
    return [json.loads(bytes(row)) for rows in follower.new_rows() for row in rows]


def follow(
    journals: Journals, product: str | None = None, region: str | None = None, after: str | None = None
) -> Following:
    """A follower of them."""
    return Following(journals, product, region, after)  # type: ignore[arg-type]  # it has the one method that is called


def test_one_journal_is_read_on_from_a_position() -> None:
    """Of one product in one Region only what is behind the position comes, and then what is new."""
    journals = Journals()
    for received in range(5):
        journals.keep("a", received)
        journals.keep("b", received)
    follower = follow(journals, "a", "us-east-1", "3")
    assert [row["position"] for row in read(follower)] == [4, 5]
    assert read(follower) == []
    journals.keep("a", 2)
    assert [row["position"] for row in read(follower)] == [6]


def test_journals_of_a_product_are_found() -> None:
    """Without a Region the journals of all Regions are followed, also one that begins later; of other products none."""
    journals = Journals()
    journals.keep("a", 1)
    journals.keep("b", 1)
    follower = follow(journals, "a")
    assert [(row["region"], row["position"]) for row in read(follower)] == [("us-east-1", 1)]
    journals.keep("a", 2, "eu-west-1")
    journals.keep("a", 3)
    assert sorted((row["region"], row["position"]) for row in read(follower)) == [("eu-west-1", 1), ("us-east-1", 2)]


def test_what_was_read_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a journal is, a look at what is new reads the end of the list alone."""
    monkeypatch.setattr(following, "LOOKED_AT_AGAIN", 10)
    journals = Journals()
    for received in range(105):
        journals.keep("a", received)
    follower = follow(journals)
    assert len(read(follower)) == 105
    journals.asked.clear()
    assert read(follower) == []
    assert len(journals.asked) == 3


@settings(max_examples=60)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-2, 2)), max_size=6), min_size=1, max_size=12))
def test_none_is_missed_and_none_comes_twice(turns: list[list[tuple[str, int]]]) -> None:
    """Whatever is kept between two looks, a little later than it was received perhaps, comes once, in its order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "LOOKED_AT_AGAIN", 8)
        journals, seen = Journals(), []
        follower, now = follow(journals), 0
        for turn in turns:
            for product, late in turn:
                now += 1
                journals.keep(product, now + late)
            seen += read(follower)
    for product in "abc":
        kept = [row for row in journals.rows if row["product"] == product]
        assert [row for row in seen if row["product"] == product] == kept


class Unsteady(Journals):
    """A server that is away now and then, and whose reader presses Ctrl-C at last."""

    def __init__(self, *days: str) -> None:
        super().__init__()
        self._days = list(days)

    def call(self, method: str, path: str, query: Mapping[str, Any]) -> bytes:
        """What comes of a look at one journal depends on the day."""
        if not self._days:
            raise KeyboardInterrupt
        if self._days.pop(0) == "away":
            raise Unanswered("http://h is not served: nobody listens there.")
        self.keep("a", len(self._days))
        return super().call(method, path, query)


@pytest.mark.parametrize(
    ("days", "exit_code", "positions", "complaints"),
    [
        ("here here", 0, [1, 2], 0),
        ("here away away here away here", 0, [1, 2, 3], 2),
        ("away here", 1, [], 1),
    ],
)
def test_a_server_may_come_back(
    days: str,
    exit_code: int,
    positions: list[int],
    complaints: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A server that was there and goes is asked on, which is said once; one that never was is a failure."""
    server = Unsteady(*days.split())
    monkeypatch.setattr(journal, "Caller", lambda _url: server)
    monkeypatch.setattr(journal, "POLL_SECONDS", 0)
    assert run(["journal", "follow", "--product", "a", "--region", "us-east-1", "--json"]) == exit_code
    out, error = capsys.readouterr()
    assert [json.loads(line)["position"] for line in out.splitlines()] == positions
    assert error.count("nobody listens there") == complaints
