"""A server whose batch, disk, file or key is bad: it says so, keeps what it acknowledged, and changes nothing else."""

import asyncio
import base64
import os
import resource
import shutil
import sqlite3
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw
import pytest

from tests.e2e import killing
from tests.e2e.control import TOKEN, ask
from tests.e2e.killing import Load, Truth, journal_of
from tests.e2e.market import CATALOG, CUSTOMER, FORMER_CUSTOMER, KEYS, LEGACY, now_seconds
from tests.e2e.seller import Seller
from tests.e2e.serving import MEMORY, Server, run_meterhouse

# --- all or nothing ---------------------------------------------------------------------------------------------------

NOW: Final = now_seconds() - 5

BAD: Final[list[tuple[dict[str, Any], str]]] = [
    ({"Dimension": 5}, "SerializationException"),
    ({"Quantity": -1}, "ValidationException"),
    ({"CustomerAWSAccountId": "444455556666"}, "ValidationException"),
    ({"LicenseArn": "arn:aws:license-manager::1:license:l-1"}, "InvalidLicenseException"),
    ({"CustomerIdentifier": "X99"}, "InvalidCustomerIdentifierException"),
    ({"Dimension": "seats"}, "InvalidUsageDimensionException"),
    ({"Timestamp": NOW - 90_000}, "TimestampOutOfBoundsException"),
    (
        {"UsageAllocations": [{"AllocatedUsageQuantity": 5, "Tags": [{"Key": "aws:a", "Value": "b"}]}]},
        "InvalidTagException",
    ),
    ({"UsageAllocations": [{"AllocatedUsageQuantity": 4}]}, "InvalidUsageAllocationsException"),
]


def record(hours: int, dimension: str = "users", **members: Any) -> dict[str, Any]:
    """A customer's usage, some hours ago."""
    about = {"Timestamp": NOW - 3600 * hours, "CustomerIdentifier": CUSTOMER, "Dimension": dimension, "Quantity": 5}
    return {**about, **members}


def test_a_batch_with_one_bad_record_keeps_nothing(tmp_path: Path) -> None:
    """Whatever is wrong with one record, at either end, no record of its batch is kept; without it all are."""
    good = [record(hours, dimension) for hours in range(4) for dimension in ("users", "storage")]
    with (
        Server(tmp_path, catalog=CATALOG, environment={"METERHOUSE_ADMIN_TOKEN": TOKEN}) as server,
        Seller(server.port, KEYS) as seller,
    ):
        for members, code in BAD:
            bad = record(0, "storage", **members)
            for batch in ([*good, bad], [bad, *good]):
                answer = seller.batch(LEGACY, batch)
                assert (answer.status, answer.code) == (400, code)
        assert ask(server.port, "GET", "/records") == {"items": [], "next": None}
        assert ask(server.port, "GET", "/journal") == {"items": [], "next": None}
        answer = seller.batch(LEGACY, [*good, record(0, CustomerIdentifier=FORMER_CUSTOMER)])
        assert answer.status == 200
        kept = {one["record_id"] for one in ask(server.port, "GET", "/records")["items"]}
        assert kept == {result["MeteringRecordId"] for result in answer.body["Results"][:-1]}
        assert [row["position"] for row in ask(server.port, "GET", "/journal")["items"]] == [1]


# --- a full disk ------------------------------------------------------------------------------------------------------

FULL_KIB: Final = 1024
"""The largest file that the server may write, as if the disk were full."""


def limited(kibibytes: int) -> list[str]:
    """Words before a command that keep its files from growing beyond a size."""
    return ["sh", "-c", f'ulimit -S -f {kibibytes * 2}; exec "$@"', "sh"]


def test_a_full_disk_is_told_and_outlived(tmp_path: Path) -> None:
    """On a full disk usage is refused with 503; the server stays up, loses nothing, and goes on when there is room."""
    load, truth = Load(Random(7)), Truth()
    batches = load.batches(400)
    truth.expect(batches)
    server = Server(tmp_path, "--log-level", "error", catalog=killing.catalog(), before=limited(FULL_KIB))
    refused = []
    with server:
        with Seller(server.port, KEYS) as seller:
            for batch in batches:
                answer = seller.batch(killing.PRODUCT, batch.request())
                if answer.status == 200:
                    truth.hear(batch, answer)
                else:
                    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
                    refused.append(batch)
                    if len(refused) == 10:
                        break
            assert len(refused) == 10
            assert truth.acknowledged
            make_room(server)
            for batch in [*batches[:50], *refused]:
                truth.hear(batch, seller.batch(killing.PRODUCT, batch.request()))
        assert server.stop() == 0
    truth.check(asyncio.run(journal_of(server.ledger)))


def make_room(server: Server) -> None:
    """Let the server's files grow again, while it runs where the system can do that, else by a start without limit."""
    without_end = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if hasattr(resource, "prlimit"):
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, without_end)
    else:
        server.stop()
        server.before = ()
        server.start()


def test_a_log_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    """Where the log has no room, requests are answered as ever, refusals too."""
    (tmp_path / "server.log").write_bytes(b" " * 4096)
    with (
        Server(tmp_path, "--log-level", "debug", catalog=CATALOG, data=MEMORY, before=limited(1)) as server,
        Seller(server.port, KEYS) as seller,
    ):
        for _ in range(3):
            assert seller.batch(LEGACY, [record(0)]).status == 200
            assert seller.batch("nothing", [record(0)]).code == "InvalidProductCodeException"
        assert server.stop() == 0


# --- files that are no ledger -----------------------------------------------------------------------------------------

OTHER_KEY: Final = base64.b64encode(b"k" * 32).decode()
UNPRIVILEGED: Final = """
import ctypes, os, sys
if sys.platform == "linux":
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""What makes even root ask for permission."""


@pytest.fixture(scope="module")
def kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that was served, with a record in it, and stopped."""
    folder = tmp_path_factory.mktemp("kept")
    with Server(folder, catalog=CATALOG) as server:
        with Seller(server.port, KEYS) as seller:
            assert seller.batch(LEGACY, [record(0)]).status == 200
        assert server.stop() == 0
    return folder


@pytest.fixture
def folder(kept_folder: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be spoiled."""
    for name in ("ledger.db", "ledger.db.key"):
        shutil.copy(kept_folder / name, tmp_path)
    return tmp_path


def sql(folder: Path, *statements: str) -> None:
    """Change a SQLite file behind the server's back."""
    database = sqlite3.connect(folder / "ledger.db")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def remove(folder: Path) -> None:
    """Take the ledger away."""
    (folder / "ledger.db").unlink()


def as_directory(folder: Path) -> None:
    """Put a directory in the ledger's place."""
    remove(folder)
    (folder / "ledger.db").mkdir()


def as_foreign(folder: Path) -> None:
    """Put another program's database in the ledger's place."""
    remove(folder)
    sql(folder, "CREATE TABLE notes (text)")


def overwritten(start: int, length: int) -> Callable[[Path], None]:
    """Spoil a part of the ledger."""

    def spoil(folder: Path) -> None:
        with (folder / "ledger.db").open("r+b") as file:
            file.seek(start)
            file.write(b"\xaa" * length)

    return spoil


def written(name: str, text: str) -> Callable[[Path], None]:
    """Put a text in a file's place."""

    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


def cut(folder: Path) -> None:
    """Lose the end of the ledger."""
    os.truncate(folder / "ledger.db", 5000)


def read_only(folder: Path) -> None:
    """Forbid to write the ledger."""
    (folder / "ledger.db").chmod(0o444)


def closed_folder(folder: Path) -> None:
    """Forbid to make files beside the ledger."""
    folder.chmod(0o555)


def unchanged(_folder: Path) -> None:
    """Spoil nothing."""


def leaves(ledger: Path, table: str) -> list[int]:
    """The pages that hold a table's rows, in their order."""
    database = apsw.Connection(str(ledger))
    found = database.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,))
    pages = [page for (page,) in found]
    database.close()
    return pages


PAGE_BYTES: Final = 4096
MASTER: Final = "METERHOUSE_MASTER_KEY"
REFUSED: Final[list[tuple[str, Callable[[Path], None], dict[str, str], str]]] = [
    ("a directory", as_directory, {}, "ledger.db is a directory, not a file"),
    ("a text", written("ledger.db", "once upon a time " * 500), {}, "the file is not a SQLite database"),
    ("another program's database", as_foreign, {}, "is a SQLite file, but not a Meterhouse ledger"),
    (
        "a newer schema",
        lambda folder: sql(folder, "PRAGMA user_version = 99"),
        {},
        "run the newer version that wrote it",
    ),
    ("its first page damaged", overwritten(20, 80), {}, "its first page is damaged"),
    ("its schema damaged", overwritten(100, 3000), {}, "the file is damaged"),
    ("its documents damaged", overwritten(4096, 1_000_000), {}, "the file is damaged"),
    ("its end lost", cut, {}, "the file is damaged"),
    ("read-only", read_only, {}, "ledger.db is read-only"),
    ("a folder that is read-only", closed_folder, {}, "ledger.db-lock cannot be made: Permission denied"),
    (
        "no key",
        lambda folder: (folder / "ledger.db.key").unlink(),
        {},
        "is missing, and METERHOUSE_MASTER_KEY is not set",
    ),
    (
        "another key",
        written("ledger.db.key", OTHER_KEY),
        {},
        "is not the one that this data's secrets were sealed with",
    ),
    ("a key that is none", written("ledger.db.key", "sesame"), {}, "it must hold 32 random bytes in base64"),
    ("a key that may not be read", lambda folder: (folder / "ledger.db.key").chmod(0), {}, "cannot be read"),
    ("a variable that is no key", unchanged, {MASTER: "sesame!"}, "METERHOUSE_MASTER_KEY is not base64"),
    ("a variable that is cut", unchanged, {MASTER: OTHER_KEY[:40]}, "METERHOUSE_MASTER_KEY holds 30 bytes"),
    (
        "a variable with another key",
        unchanged,
        {MASTER: OTHER_KEY},
        "is not the one that this data's secrets were sealed",
    ),
]


def contents(folder: Path) -> dict[str, bytes]:
    """What is in a folder's files; the lock, which is empty, does not count."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".db-lock"}


@pytest.mark.parametrize(
    ("spoil", "environment", "sentence"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_no_ledger_is_refused(
    folder: Path, spoil: Callable[[Path], None], environment: Mapping[str, str], sentence: str
) -> None:
    """A ledger that cannot be opened ends the start: one sentence, exit code 1, every file as it was."""
    spoil(folder)
    before = contents(folder)
    ended = run_meterhouse(
        *("serve", "--port", "0", "--data", str(folder / "ledger.db")),
        folder=folder,
        environment=environment,
        before=[sys.executable, "-c", UNPRIVILEGED],
    )
    folder.chmod(0o755)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("meterhouse: ")
    assert ended.stderr.count("\n") == 1
    assert sentence in ended.stderr
    assert contents(folder) == before


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A ledger in a folder that is not there is refused, and the folder is not made."""
    ended = run_meterhouse("serve", "--port", "0", "--data", "no/where/ledger.db", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith("no/where is not a directory: make it, or name another place for the ledger.\n")
    assert not list(tmp_path.iterdir())


def test_no_room_for_a_new_ledger_is_refused(tmp_path: Path) -> None:
    """Where not even an empty ledger has room, the start ends with a sentence."""
    ended = run_meterhouse("serve", "--port", "0", folder=tmp_path, before=limited(0))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("meterhouse: ")
    assert ended.stderr.count("\n") == 1


def test_one_server_has_a_ledger(folder: Path) -> None:
    """A second server on the same ledger, by whatever name, is refused, and the first goes on."""
    (folder / "other-name.db").symlink_to(folder / "ledger.db")
    with Server(folder) as server:
        for name in ("ledger.db", "other-name.db", "./ledger.db"):
            ended = run_meterhouse("serve", "--port", "0", "--data", name, folder=folder)
            assert (ended.returncode, ended.stdout) == (1, "")
            assert ended.stderr == f"meterhouse: {folder / 'ledger.db'} is in use by another server.\n"
        with Seller(server.port, KEYS) as seller:
            assert seller.batch(LEGACY, [record(0)]).body["Results"][0]["Status"] == "Success"


def test_what_is_damaged_is_not_guessed(tmp_path: Path) -> None:
    """Where records were damaged on disk the server says 503, or what is true; it stays up."""
    load, truth = Load(Random(8)), Truth()
    batches = load.batches(60)
    truth.expect(batches)
    with Server(tmp_path, "--log-level", "error", catalog=killing.catalog()) as server:
        killing.send(server, batches, truth, None)
        assert server.stop() == 0
        for page in leaves(server.ledger, "usage_records")[::2]:
            overwritten((page - 1) * PAGE_BYTES, PAGE_BYTES)(tmp_path)
        server.start()
        refused = 0
        with Seller(server.port, KEYS) as seller:
            for batch in batches:
                answer = seller.batch(killing.PRODUCT, batch.request())
                if answer.status == 200:
                    truth.hear(batch, answer)
                else:
                    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
                    refused += 1
        assert refused
        assert server.stop() == 0
