"""The demo's story, act by act: a service, a buyer, a day of usage, the ledger's sums, and the reader's turn.

Nothing that is told was written down beforehand: each answer shown is the one that came. At the end the ledger is
compared with the seller's own books, and where they differ the demo fails.
"""

from collections import Counter, defaultdict
from collections.abc import MutableMapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from meterhouse.demo.control import TOTALS, Control, Unexpected, send_browser
from meterhouse.demo.day import Record, gateway_batch, misspelled, pipeline_batches, quantity_of, second_thoughts
from meterhouse.demo.invitation import invitation, settings
from meterhouse.demo.marketplace import (
    ADMIN_TOKEN,
    ALDER,
    BUYERS,
    GATEWAY,
    OPENING,
    PIPELINE,
    SUBSCRIBING,
    catalog_text,
)
from meterhouse.demo.page import Page, json_of, short
from meterhouse.demo.seller import TOKEN_FIELD, Answer, NoAnswer, Refusal, Seller, registration_page
from meterhouse.demo.service import READY, Ended, started

_FOREIGN: Final = ("aws_", "meterhouse_")
_PROXY: Final = "_proxy"


class DemoFailed(Exception):
    """The demo could not be played to its end; one sentence says why."""


def play(page: Page, environment: MutableMapping[str, str], *, port: int, ledger: Path | None, once: bool) -> None:
    """Plays the demo in a folder of its own, and unless `once` serves on until interrupted. Raises DemoFailed.

    `environment` is the one that boto3 reads: it keeps no settings for AWS, Meterhouse or proxies but the demo's own.
    """
    for name in [name for name in environment if name.lower().startswith(_FOREIGN) or name.lower().endswith(_PROXY)]:
        del environment[name]
    seller = Seller()
    try:
        with TemporaryDirectory(prefix="meterhouse-demo-") as name, registration_page(seller) as registration_url:
            folder = Path(name)
            (folder / "catalog.toml").write_text(catalog_text(registration_url), encoding="utf-8")
            kept_in = "meterhouse.db" if ledger is None else str(ledger.resolve())
            typed = ["meterhouse", "serve", "--port", str(port), "--data", kept_in, "--catalog", "catalog.toml"]
            typed += ["--clock", "test"]
            with started(typed, {**environment, "METERHOUSE_ADMIN_TOKEN": ADMIN_TOKEN}, folder) as service:
                url = service.url()
                environment.update(settings(url))
                seller.connect()
                story = _Story(page, Control(url, ADMIN_TOKEN), seller)
                story.tell(f"$ cd {folder}\n$ {' '.join(typed)}\n{READY}{url}", registration_url)
                _invite(page, url)
                if once:
                    page.sentence("Without --once the service would now go on until Ctrl-C.")
                else:
                    whither = "goes with it" if ledger is None else f"stays in {ledger}"
                    page.sentence(f"The service goes on until Ctrl-C; its ledger {whither}.")
                    service.wait()
    except (Ended, Unexpected) as failure:
        raise DemoFailed(str(failure)) from None
    except NoAnswer as failure:
        raise DemoFailed(f"boto3 had no answer: {failure}") from None


class _Story:
    """The acts, and the seller's own books of what it was told is kept."""

    def __init__(self, page: Page, control: Control, seller: Seller) -> None:
        self._page = page
        self._control = control
        self._seller = seller
        self._kept_ids: set[str] = set()
        self._results: list[Answer] = []
        """What the last batch was answered."""
        self._books: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        """Quantities by buyer and dimension."""

    def tell(self, typed: str, registration_url: str) -> None:
        """All of it."""
        self._serve(typed)
        self._subscribe(registration_url)
        self._meter_a_day()
        self._meter_again()
        self._add_up()

    def _serve(self, typed: str) -> None:
        self._control.set_clock(OPENING)
        page = self._page
        page.title("Meterhouse: a seller's day with the AWS Marketplace Metering Service")
        page.chapter("The service")
        page.typed(typed)
        page.blank()
        page.sentence(
            f"The ledger is fresh, the clock set to {OPENING:%d %B %Y, %H:%M} UTC, so that the day is always the same."
        )

    def _subscribe(self, registration_url: str) -> None:
        page, seller = self._page, self._seller
        page.chapter("A buyer subscribes")
        page.sentence(
            f"{ALDER.name} accepts the offer for {PIPELINE.name}. The marketplace sends its browser to the seller's "
            "page with a token, and the seller asks who that is."
        )
        page.blank()
        self._control.activate(SUBSCRIBING)
        token = self._control.registration_token(SUBSCRIBING)
        seen = send_browser(registration_url, {TOKEN_FIELD: token})
        if seen.status != 200:
            raise DemoFailed(f"The seller's page answered {seen.status}: {seen.text}")
        page.said("browser", f"POST {registration_url}\n{TOKEN_FIELD}={short(token)}")
        page.said("seller", f'resolve_customer(RegistrationToken="{short(token)}")')
        page.said("Meterhouse", json_of(seller.customers[-1]))
        page.said("seller", f"{seen.status} {seen.text}")

    def _meter_a_day(self) -> None:
        self._control.advance_clock(timedelta(hours=24))
        page = self._page
        page.chapter("A day of usage")
        page.sentence(
            "24 hours later the seller sends what it has counted, in batches of at most 25 records: users and "
            "gigabytes of two buyers by product code, then tokens of one by license."
        )
        page.blank()
        first, second, third, fourth = pipeline_batches()
        tokens = gateway_batch()
        page.exchanges(
            (
                (f"{len(first)} records", self._meter(first)),
                (f"{len(second)} records", self._meter(second)),
                (f"the same {len(second)} again, as a retry", self._meter(second)),
                (f"{len(third)} records", self._meter(third)),
                (f"{len(fourth)} records, one dimension misspelled", self._meter(misspelled(fourth))),
                (f"the same {len(fourth)}, mended", self._meter(fourth)),
                (f"{len(tokens)} by license, divided by team", self._meter(tokens, None)),
            )
        )
        page.blank()
        page.sentence("The last of them, as it was said and answered:")
        page.blank()
        answered = {name: value for name, value in self._results[-1].items() if name != "UsageRecord"}
        page.said("seller", json_of(tokens[-1]))
        page.said("Meterhouse", json_of(answered))

    def _meter_again(self) -> None:
        self._control.advance_clock(timedelta(minutes=30))
        page = self._page
        page.chapter("Half an hour later")
        page.sentence("One batch, three records, and each is answered for itself:")
        page.blank()
        new, other, unsubscribed = records = second_thoughts()
        self._meter(records)
        said = (
            f"{_said(new)}",
            f"{_said(other)}, where {other['Quantity'] - 1} was said before",
            f"{_said(unsubscribed)}, whose agreement has ended",
        )
        page.exchanges((text, result["Status"]) for text, result in zip(said, self._results, strict=True))

    def _add_up(self) -> None:
        page = self._page
        page.chapter("What the ledger holds")
        page.typed(f"GET {TOTALS}")
        page.blank()
        rows: list[tuple[str, ...]] = []
        total = Decimal()
        for product in (PIPELINE, GATEWAY):
            for one in self._control.totals(product.code):
                if Decimal(one["quantity"]) != self._books.pop((one["buyer"], one["dimension"]), None):
                    raise DemoFailed(f"The ledger's sum is not what the seller's books say: {one}")
                total += Decimal(one["amount"])
                rows.append(
                    (
                        BUYERS[one["buyer"]].name,
                        one["dimension"],
                        *(one[name] for name in ("quantity", "unit", "price", "amount")),
                    )
                )
        if self._books:
            raise DemoFailed(f"The ledger lacks what the seller's books have: {dict(self._books)}")
        rows.append(("", "", "", "", "", str(total)))
        headings = ("buyer", "dimension", "quantity", "unit", "USD each", "USD")
        page.sums(headings, rows, {"quantity": 0, "USD each": 2, "USD": 2})
        page.blank()
        page.sentence(
            f"{self._control.record_count()} records; and the sums are those of the seller's own books, exactly."
        )

    def _meter(self, records: Sequence[Record], product_code: str | None = PIPELINE.code) -> str:
        """Sends a batch; what became of it, in a few words."""
        before = self._control.record_count()
        try:
            results = self._seller.meter(records, product_code)
        except Refusal as refusal:
            after = self._control.record_count()
            code = refusal.response["Error"]["Code"]
            return f"{code}, {after - before} kept: {before} before, {after} after"
        self._results = results
        statuses = Counter(result["Status"] for result in results)
        answered = ", ".join(f"{count} {status}" for status, count in statuses.items())
        known = sum(result.get("MeteringRecordId") in self._kept_ids for result in results)
        self._note(records, results)
        return answered + (known == len(results)) * ", each with the id it had"

    def _note(self, records: Sequence[Record], results: Sequence[Answer]) -> None:
        for record, result in zip(records, results, strict=True):
            record_id = result.get("MeteringRecordId")
            if record_id is not None and record_id not in self._kept_ids:
                self._kept_ids.add(record_id)
                self._books[record["CustomerAWSAccountId"], record["Dimension"]] += quantity_of(record)


def _said(record: Record) -> str:
    """A record in a few words."""
    buyer = BUYERS[record["CustomerAWSAccountId"]].name
    return f"{buyer}, {record['Timestamp']:%H:%M}: {record['Quantity']} {record['Dimension']}"


def _invite(page: Page, url: str) -> None:
    Control(url, ADMIN_TOKEN).end_clock()
    page.chapter("Your turn")
    page.sentence("The clock is real again. Any AWS SDK meters here, unchanged, with these settings.")
    for caption, text in invitation(url).items():
        page.blank()
        page.caption(caption)
        page.typed(text)
    page.blank()
