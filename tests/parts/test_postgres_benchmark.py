"""The benchmarks of PostgreSQL: every record is new, processors' time is counted whole, and durability is looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import servers
from benchmarks.measuring import QUICK, Bench
from benchmarks.postgres import PRODUCTS, Source, catalog, described, groups, requests
from meterhouse.service.catalog_file import check
from meterhouse.service.draft import Sources
from meterhouse.wire.policy import parse_policy
from tests.postgres import Postgres


@pytest.mark.parametrize("products", PRODUCTS)
def test_every_record_is_new(products: int) -> None:
    """No record is said twice, and the products have equal shares of the requests."""
    bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in requests("127.0.0.1:1", products, 4000)]
    said = {
        (body["ProductCode"], one["CustomerAWSAccountId"], one["Dimension"], one["Timestamp"])
        for body in bodies
        for one in body["UsageRecords"]
    }
    assert len(said) == 4000 * 25
    codes = [body["ProductCode"] for body in bodies]
    assert {codes.count(code) for code in codes} == {4000 // products}


@pytest.mark.parametrize("products", PRODUCTS)
def test_the_catalog_has_what_is_said(products: int) -> None:
    """It is a catalog file, and has the customers and dimensions of the requests."""
    text = catalog(products)
    sources = Sources(lambda _account: 0, os.urandom, lambda _place, _secret: b"", parse_policy)
    check(text.encode(), "catalog.toml", {}, sources)
    for request in requests("127.0.0.1:1", products, 400):
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        assert f'code = "{body["ProductCode"]}"' in text
        assert all(f'buyer = "{one["CustomerAWSAccountId"]}"' in text for one in body["UsageRecords"])


def test_a_source_repeats_no_record() -> None:
    """Groups after one another have every series again, an hour later."""
    source = Source(25)
    keys = [entry.key for _ in range(200) for entry in source.entries()]
    assert len(set(keys)) == len(keys) == 5000
    assert len({key.series for key in keys}) == 1600


async def test_a_database_that_forgets_is_not_measured() -> None:
    """Without `fsync` there is no figure; with it, it stands in the first line."""
    with Postgres({"fsync": "off"}) as forgetful:
        with pytest.raises(SystemExit, match="fsync is off"):
            await described(forgetful.url)
        forgetful.stop()
        forgetful._settings["fsync"] = "on"
        forgetful.start()
        assert "fsync on, synchronous_commit on" in (await described(forgetful.url)).of


def test_groups_are_measured_in_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the owner and under the lock, with and without delay: each has its figures; the database comes first."""
    monkeypatch.setattr("benchmarks.postgres.GROUP_SIZES", (25,))
    sizes = QUICK._replace(rounds=1, rated_seconds=0.01)
    first, *runs = groups(Bench(sizes, tmp_path))
    assert first.figures == {}
    assert len({run.of for run in runs}) == len(runs) == 4
    assert all(run.figures["records_per_second"] > 0 for run in runs)


def test_children_count() -> None:
    """The processor time of a process is its own, and that of its children, whether they run or have ended."""
    burn = "sum(range(6_000_000))"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{burn}'])"
    script = f"{child}; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        whole = servers.cpu_seconds_of(parent.pid)
        own = servers.Server("", "", 0, parent.pid, 0).cpu_seconds()
        parent.communicate()
    assert whole > own
