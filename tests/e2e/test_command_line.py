"""Every verb of the command line, as a process against a running server: told to people, and as the API answers.

All commands run side by side, a few at a time, before the tests look at what came of each. What one form changes, the
other must not meet, so in a row `{form}` stands for a letter of the form's own, and `{digit}` for a digit.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from meterhouse.wire.keys import SigningCredentials
from tests.e2e.control import TOKEN, ask
from tests.e2e.seller import Seller
from tests.e2e.serving import Server, run_meterhouse
from tests.parts.test_cli_help import VERBS

PRODUCT: Final = "a1b2c3d4e5f6g7h8i9j0k1l2m"
SELLER: Final = "111122223333"
BUYER: Final = "444455556666"
KEYS: Final = SigningCredentials("AKIDEXAMPLESELLER0001", "a secret of the seller's")
LICENSE: Final = "arn:aws:license-manager::111122223333:license:l-0123456789abcdef0123456789abcdef"

CATALOG: Final = f"""
[[products]]
code = "{PRODUCT}"
id = "prod-abcdefghijklm"
name = "Data Pipeline"
seller = "{SELLER}"
type = "saas"
[[products.dimensions]]
key = "users"
unit = "Users"
price = "1234.5"

[[products]]
code = "container"
name = "Agent"
seller = "{SELLER}"
type = "container"
hourly_price = "0.12"

[[agreements]]
id = "agmt-1"
product = "{PRODUCT}"
buyer = "{BUYER}"
customer_identifier = "X01CUSTOMER"
license_arn = "{LICENSE}"
start = 2024-01-01T00:00:00Z

[[accounts]]
id = "555566660060"
suspended = true

[[credentials]]
access_key_id = "{KEYS.access_key_id}"
secret_access_key = "{KEYS.secret_access_key}"
account = "{SELLER}"
""" + "".join(
    f"""
[[products]]
code = "product-{form}"
name = "Another"
seller = "{SELLER}"
type = "saas"

[[agreements]]
id = "agmt-pending-{form}"
product = "container"
buyer = "55556666000{digit}"
status = "pending"

[[agreements]]
id = "agmt-active-{form}"
product = "container"
buyer = "55556666001{digit}"
start = 2024-01-01T00:00:00Z

[[agreements]]
id = "agmt-loaded-{form}"
product = "container"
buyer = "55556666007{digit}"

[[agreements]]
id = "agmt-ended-{form}"
product = "container"
buyer = "55556666006{digit}"
start = 2024-01-01T00:00:00Z

[[agreements]]
id = "agmt-ending-{form}"
product = "container"
buyer = "55556666002{digit}"
start = 2024-01-01T00:00:00Z

[[accounts]]
id = "55556666003{digit}"
suspended = true

[[credentials]]
access_key_id = "AKIDDELETED{form}"
secret_access_key = "another secret"
account = "{SELLER}"
"""
    for form, digit in (("t", 1), ("j", 2))
)

PRODUCT_FILE: Final = f"""
code = "made-{{form}}"
name = "Made"
seller = "{SELLER}"
type = "saas"
[[dimensions]]
key = "gigabytes"
unit = "GB"
price = "0.00000001"
"""
CATALOG_FILE: Final = f"""
[[products]]
code = "loaded-{{form}}"
name = "Loaded"
seller = "{SELLER}"
type = "saas"
"""
TOKEN_ROW: Final = """
[[registration_tokens]]
agreement = "agmt-loaded-{form}"
"""
POLICY: Final = """
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "aws-marketplace:MeterUsage", "Resource": "*"}]}
"""
FILES: Final = {
    "product-{form}.toml": PRODUCT_FILE,
    "loaded-{form}.toml": CATALOG_FILE + TOKEN_ROW,
    "checked.toml": CATALOG_FILE,
    "policy.json": POLICY,
}

TABLE: Final = "t"
JSON: Final = "j"
FORMS: Final = {TABLE: "1", JSON: "2"}
"""The letters and digits of the two forms."""
Names = Mapping[str, str]


class Row(NamedTuple):
    """A command, and what comes of it."""

    words: str
    told: tuple[str, ...]
    """What stands in what people are told, each in a line of its own, its words divided by spaces."""
    answered: Any = None
    """What the API's answer has, or more; of a list, some of its rows."""
    path: str = ""
    """Of what only reads: where the API answers the very same."""


USED: Final = f"{PRODUCT} us-east-1 {BUYER} users"
TOTAL: Final = f"{BUYER} users 1,703.5 Users $1,234.50 $2,102,970.75"

FIRST: Final = [
    Row("product list", ("Code Name Seller", f"{PRODUCT} Data Pipeline {SELLER} saas legacy 1"), [{"code": PRODUCT}]),
    Row(f"product show {PRODUCT}", ("Name Data Pipeline", "users Users $1,234.50 -"), path=f"/products/{PRODUCT}"),
    Row(
        "product create product-{form}.toml",
        ("Code made-{form}", "gigabytes GB $0.00000001 -"),
        {"code": "made-{form}", "dimensions": [{"key": "gigabytes", "unit": "GB", "price": "0.00000001"}]},
    ),
    Row(
        "product update product-{form} --name Renamed --regions us-east-1,eu-west-1 --identical-repeat DuplicateRecord",
        ("Name Renamed", "Regions us-east-1, eu-west-1", "Identical repeat DuplicateRecord"),
        {"name": "Renamed", "regions": ["us-east-1", "eu-west-1"], "identical_repeat": "DuplicateRecord"},
    ),
    Row("product rotate-key product-{form}", ("Version 2", "-----BEGIN PUBLIC KEY-----"), {"version": 2}),
    Row("product public-key container", ("-----BEGIN PUBLIC KEY-----",), path="/products/container/keys/1"),
    Row(
        "agreement list",
        ("Agreement Product Buyer", f"agmt-1 {PRODUCT} {BUYER} X01CUSTOMER active 2024-01-01 00:00:00 UTC -"),
        [{"id": "agmt-1", "license_arn": LICENSE}],
    ),
    Row("agreement show agmt-1", (f"License {LICENSE}", "Status active"), path="/agreements/agmt-1"),
    Row(
        "agreement create container 55556666004{digit} --start 2026-01-01 --end 2099-01-01",
        ("Buyer 55556666004{digit}", "Start 2026-01-01 00:00:00 UTC", "End 2099-01-01 00:00:00 UTC"),
        {"buyer": "55556666004{digit}", "start": "2026-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z"},
    ),
    Row("agreement activate agmt-pending-{form}", ("Status active",), {"status": "active"}),
    Row(
        "agreement update agmt-pending-{form} --end 2097-01-01",
        ("End 2097-01-01 00:00:00 UTC",),
        {"end": "2097-01-01T00:00:00Z"},
    ),
    Row("agreement update agmt-pending-{form} --no-end", ("End -",), {"end": None}),
    Row("agreement unsubscribe agmt-active-{form}", ("Status unsubscribing",), {"status": "unsubscribing"}),
    Row(
        "agreement end agmt-ending-{form} --at 2098-01-01",
        ("End 2098-01-01 00:00:00 UTC",),
        {"end": "2098-01-01T00:00:00Z"},
    ),
    Row("agreement end agmt-ended-{form}", ("Status ended",), {"status": "ended"}),
    Row("account list", ("Account Suspended", "555566660060 yes"), [{"id": "555566660060", "suspended": True}]),
    Row("account show 555566660060", ("Account 555566660060", "Suspended yes"), path="/accounts/555566660060"),
    Row("account suspend 55556666005{digit}", ("Suspended yes",), {"id": "55556666005{digit}", "suspended": True}),
    Row("account restore 55556666003{digit}", ("Suspended no",), {"suspended": False}),
    Row(
        "token create agmt-1 --token token-{form} --issued 2099-01-01",
        ("Registration token token-{form}", "Expires 2099-01-01 04:00:00 UTC"),
        {"token": "token-{form}", "agreement": "agmt-1", "expires": "2099-01-01T04:00:00Z"},
    ),
    Row(
        "credential list",
        ("Access key id Account", f"{KEYS.access_key_id} {SELLER} arn:aws:iam::{SELLER}:root - -"),
        [{"access_key_id": KEYS.access_key_id}],
    ),
    Row(
        f"credential create {SELLER} --access-key-id AKIDMADE{{form}} --secret-access-key mine --expires 2099-01-01",
        ("Access key id AKIDMADE{form}", "Secret access key mine", "Expires 2099-01-01 00:00:00 UTC"),
        {"access_key_id": "AKIDMADE{form}", "secret_access_key": "mine", "account": SELLER},
    ),
    Row(
        f"credential create {BUYER} --platform ecs --region us-east-1 --resource-id made/{{form}} --policy policy.json",
        ("Secret access key", f"Account {BUYER}"),
        {"account": BUYER},
    ),
    Row("credential delete AKIDDELETED{form}", ("AKIDDELETED{form} is deleted.",)),
    Row(
        "workload list",
        ("Resource id Platform", f"task/shown ecs {BUYER} us-east-1"),
        [{"resource_id": "task/shown", "heartbeat_seconds": 3600}],
    ),
    Row("workload show task/shown", ("Heartbeat seconds 3,600", "Ended -"), path="/workloads/task%2Fshown"),
    Row(
        f"workload start ecs {BUYER} us-east-1 --resource-id started/{{form}} --heartbeat-seconds 60",
        ("Resource id started/{form}", "Session token", "export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1"),
        {"resource_id": "started/{form}", "platform": "ecs", "heartbeat_seconds": 60},
    ),
    Row("workload heartbeat task/alive-{form}", ("Last seen 20",), {"resource_id": "task/alive-{form}"}),
    Row("workload end task/ended-{form}", ("Ended 20",), {"resource_id": "task/ended-{form}"}),
    Row("record list", ("Time Product Region", f"{USED} 1,700.5 Users no"), path="/records"),
    Row(
        f"record list --product {PRODUCT} --customer X01CUSTOMER --dimension users --region us-east-1 --from 2024-01-01"
        " --to 2099-01-01 --limit 1 --all",
        (f"{USED} 1,700.5 Users no", f"{USED} 3 Users no"),
        path="/records",
    ),
    Row("record list --from 2098-01-01", ("There are no such records.",), path="/records?from=2098-01-01T00:00:00Z"),
    Row("record totals", ("Month Buyer Dimension", f"2025-01 {TOTAL}"), path="/records?totals=true"),
    Row("journal list", ("Received Product Region", f"{PRODUCT} us-east-1 1 BatchMeterUsage"), path="/journal"),
    Row(
        f"journal list --product {PRODUCT} --region us-east-1 --after 1",
        (f"{PRODUCT} us-east-1 2 BatchMeterUsage",),
        path=f"/journal?product={PRODUCT}&region=us-east-1&after=1",
    ),
    Row("clock show", ("Mode real",), {"mode": "real"}),
    Row(
        "clock freeze 2026-11-30T23:59:59Z --account 77778888000{digit}",
        ("Now 2026-11-30 23:59:59 UTC", "Mode frozen"),
        {"now": "2026-11-30T23:59:59Z", "mode": "frozen"},
    ),
    Row(
        "clock advance 1h30m --account 77778888001{digit}",
        ("Now 2030-01-01 01:30:00 UTC",),
        {"now": "2030-01-01T01:30:00Z"},
    ),
    Row("clock real --account 77778888002{digit}".replace('0"', '"'), ("Mode real",), {"mode": "real"}),
    Row("fault list", ("Fault Operation Kind", "ResolveCustomer throttle 7 all"), [{"times": 7}]),
    Row(
        "fault add BatchMeterUsage unprocessed --times 1000 --records 0,3 --product other --probability 0.5 --seed 7",
        ("Kind unprocessed", "Times 1,000", "Records 0, 3", "Product other", "Probability 0.5", "Seed 7"),
        {"operation": "BatchMeterUsage", "fault": "unprocessed", "times": 1000, "records": [0, 3], "seed": 7},
    ),
    Row(
        "fault add MeterUsage delay --seconds 2.5 --product other",
        ("Kind delay", "Times 1", "Records all", "Seconds 2.5"),
        {"fault": "delay", "seconds": 2.5, "records": None, "product": "other"},
    ),
    Row("fault remove {fault}", ("{fault} is removed.",)),
    Row("catalog check checked.toml", ("Table Rows", "products 1"), {"changed": {"products": 1}}),
    Row(
        "catalog load loaded-{form}.toml",
        ("products 1", "registration_tokens 1", "Shown this once:", "Agreement agmt-loaded-{form}"),
        {"changed": {"products": 1}, "registration_tokens": [{"agreement": "agmt-loaded-{form}"}]},
    ),
    Row("catalog export", ('code = "container"', 'hourly_price = "0.12"'), {}),
    Row(
        "backup copy-{form}.db --data ledger.db",
        ("Backup copy-{form}.db", "Records 2", "Journal rows 2"),
        {"file": "copy-{form}.db", "records": 2, "journal_rows": 2},
    ),
]
LAST: Final = [
    Row("fault clear", ("All faults are removed.",)),
    Row("reset --yes", ("Usage, journal and faults are empty.",), {}),
]
"""These empty what the others look at."""
STOPPED: Final = [Row("key rotate --data ledger.db", ("Secrets encrypted anew: ",), {})]
"""This wants the ledger for itself."""
ROWS: Final = [*FIRST, *LAST, *STOPPED]


class Came(NamedTuple):
    """What came of a row."""

    told: subprocess.CompletedProcess[str]
    printed: subprocess.CompletedProcess[str]
    """With --json."""
    api: Any
    """What the API answered at the row's path."""


class Operator:
    """Runs rows against a server, in its folder."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._environment = {"METERHOUSE_URL": server.url, "METERHOUSE_ADMIN_TOKEN": TOKEN}
        self._names: dict[str, Names] = {}
        self._came: dict[str, Came] = {}

    def prepare(self) -> None:
        """Brings about what the rows look at: usage, workloads, clocks, faults, files."""
        self._ask("PUT", f"/clock?account={SELLER}", {"now": "2025-01-01T12:30:00Z"})
        with Seller(self._server.port, KEYS) as seller:
            for quantity in ({"Quantity": 3}, {"QuantityAsDecimal": "1700.5"}):
                noon = {"Timestamp": 1_735_732_800 - 3600 * ("Quantity" in quantity), "Dimension": "users"}
                answer = seller.batch(PRODUCT, [{**noon, **quantity, "CustomerIdentifier": "X01CUSTOMER"}])
                assert answer.body["Results"][0]["Status"] == "Success", answer
        self._ask("PUT", f"/clock?account={SELLER}", {"real": True})
        self._ask("POST", "/faults", {"operation": "ResolveCustomer", "fault": "throttle", "times": 7})
        self._ask("GET", "/products/container/keys/1")
        task = {"platform": "ecs", "account": BUYER, "region": "us-east-1"}
        self._ask("POST", "/workloads", {**task, "resource_id": "task/shown", "heartbeat_seconds": 3600})
        for form, digit in FORMS.items():
            for what in ("alive", "ended"):
                self._ask("POST", "/workloads", {**task, "resource_id": f"task/{what}-{form}"})
            self._ask("PUT", f"/clock?account=77778888001{digit}", {"now": "2030-01-01T00:00:00Z"})
            fault = self._ask("POST", "/faults", {"operation": "MeterUsage", "fault": "throttle", "product": "none"})
            self._names[form] = {"{form}": form, "{digit}": digit, "{fault}": fault["id"]}
            for file, text in FILES.items():
                (self._server.folder / self.filled(file, form)).write_text(self.filled(text, form))

    def run_side_by_side(self, rows: Sequence[Row]) -> None:
        """Runs rows, a few at a time."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            self._came.update(zip((row.words for row in rows), pool.map(self._run, rows), strict=True))

    def run(self, rows: Sequence[Row]) -> None:
        """Runs rows one after another."""
        self._came.update({row.words: self._run(row) for row in rows})

    def came(self, row: Row) -> Came:
        """What came of a row."""
        return self._came[row.words]

    def filled(self, value: Any, form: str) -> Any:
        """Texts of a row, with what its names stand for in a form."""
        match value:
            case str():
                for name, meant in self._names[form].items():
                    value = value.replace(name, meant)
                return value
            case dict():
                return {member: self.filled(one, form) for member, one in value.items()}
            case list():
                return [self.filled(one, form) for one in value]
            case _:
                return value

    def _run(self, row: Row) -> Came:
        told = self._meterhouse(self.filled(row.words, TABLE))
        printed = self._meterhouse(f"{self.filled(row.words, JSON)} --json")
        return Came(told, printed, self._ask("GET", row.path) if row.path else None)

    def _meterhouse(self, words: str) -> subprocess.CompletedProcess[str]:
        return run_meterhouse(*words.split(), folder=self._server.folder, environment=self._environment)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return ask(self._server.port, method, path, body)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Whoever has run all rows."""
    folder: Path = tmp_path_factory.mktemp("operator")
    token = {"METERHOUSE_ADMIN_TOKEN": TOKEN}
    with Server(folder, "--clock", "test", catalog=CATALOG, environment=token) as server:
        operator = Operator(server)
        operator.prepare()
        operator.run_side_by_side(FIRST)
        operator.run(LAST)
        server.stop()
        operator.run(STOPPED)
    return operator


def _id(row: Row) -> str:
    return " ".join(row.words.split()[:2])


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_people_are_told(operator: Operator, row: Row) -> None:
    """A command that succeeds tells what it should, plainly, and nothing on standard error."""
    told = operator.came(row).told
    assert (told.returncode, told.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in told.stdout.splitlines()]
    for wanted in row.told:
        phrase = operator.filled(wanted, TABLE)
        assert any(phrase in line for line in lines), (phrase, lines)
    assert "\x1b" not in told.stdout
    assert [line for line in told.stdout.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_programs_get_what_the_api_answers(operator: Operator, row: Row) -> None:
    """--json prints the API's answer, one JSON document on one line; of what is answered with nothing, nothing."""
    came = operator.came(row)
    assert (came.printed.returncode, came.printed.stderr) == (0, "")
    if row.answered is None and not row.path:
        assert came.printed.stdout == ""
        return
    assert came.printed.stdout.count("\n") == 1
    answer = json.loads(came.printed.stdout)
    if row.path:
        assert answer == came.api
    else:
        assert_holds(answer["items"] if isinstance(row.answered, list) else answer, operator.filled(row.answered, JSON))


def assert_holds(answer: Any, wanted: Any) -> None:
    """An answer has the members that are wanted, or more; a list has each that is wanted, among others perhaps."""
    match wanted:
        case dict():
            assert wanted.keys() <= answer.keys()
            for name, value in wanted.items():
                assert_holds(answer[name], value)
        case [dict(), *_]:
            for row in wanted:
                (found,) = [one for one in answer if row.items() <= one.items()]
                assert found
        case _:
            assert answer == wanted


def test_every_verb_is_run() -> None:
    """No verb is left out but `journal follow`, which does not end by itself (test_command_line_terminal.py)."""
    run = {tuple(row.words.split()[:2]) for row in ROWS}
    wanted = {(noun, verb) for noun, verbs in VERBS.items() for verb in verbs}
    assert {words for words in wanted if words not in run} == {("journal", "follow")}
    with_tests_of_their_own = {"serve", "demo", "migrate", "copy", "call", "prune"}
    assert {words[0] for words in run} >= set(VERBS) - with_tests_of_their_own
