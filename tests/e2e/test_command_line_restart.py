"""The restart rule of the catalog file: what a call changed is still changed after a restart with the same file."""

import json
import tomllib
from pathlib import Path
from typing import Any

from tests.e2e.control import TOKEN
from tests.e2e.market import BATCH_ONLY_KEYS, CATALOG, EUROPEAN, LEGACY, SUSPENDED_BUYER
from tests.e2e.serving import Server, run_meterhouse


def command(server: Server, words: str) -> str:
    """What a command prints, which must succeed."""
    environment = {"METERHOUSE_URL": server.url, "METERHOUSE_ADMIN_TOKEN": TOKEN}
    done = run_meterhouse(*words.split(), folder=server.folder, environment=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def rows_of(catalog: str) -> dict[str, Any]:
    """The rows of a catalog file by table and id: in which order they stand says nothing."""
    tables = tomllib.loads(catalog)
    return {table: {row.get("id"): row for row in rows} for table, rows in tables.items()}


def state_of(server: Server) -> dict[str, Any]:
    """The whole catalog, and who may call."""
    return {
        "catalog": rows_of(command(server, "catalog export")),
        "credentials": json.loads(command(server, "credential list --all --json"))["items"],
    }


def test_what_a_call_changed_stays_changed(tmp_path: Path) -> None:
    """Stopped, killed, and started again with the same file, a server has what calls made of it; a row that changed in
    the file is applied, and no other.
    """
    with Server(tmp_path, catalog=CATALOG, environment={"METERHOUSE_ADMIN_TOKEN": TOKEN}) as server:
        as_in_the_file = state_of(server)
        for words in (
            f"product update {LEGACY} --name Renamed",
            "agreement activate agmt-coming",
            "agreement end agmt-legacy --at 2099-01-01",
            f"account restore {SUSPENDED_BUYER}",
            f"credential delete {BATCH_ONLY_KEYS.access_key_id}",
            f"agreement create {LEGACY} 123412341234 --id agmt-called",
        ):
            command(server, words)
        as_called = state_of(server)
        assert as_called["catalog"] != as_in_the_file["catalog"]
        assert len(as_called["credentials"]) == len(as_in_the_file["credentials"]) - 1

        assert server.stop() == 0
        server.start()
        assert state_of(server) == as_called

        server.kill()
        server.catalog.write_text(CATALOG.replace('name = "Data Pond"', 'name = "Data Puddle"'))
        server.start()
        (renamed,) = [row for row in as_called["catalog"]["products"].values() if row["code"] == EUROPEAN]
        renamed["name"] = "Data Puddle"
        assert state_of(server) == as_called


def test_an_export_is_the_same_marketplace(tmp_path: Path) -> None:
    """What is exported, an empty server loads to the same, from a file and by a call."""
    for folder in ("first", "second", "third"):
        (tmp_path / folder).mkdir()
    token = {"METERHOUSE_ADMIN_TOKEN": TOKEN}
    with Server(tmp_path / "first", catalog=CATALOG, environment=token) as server:
        exported = command(server, "catalog export")
    assert "credentials 6, registration tokens 4" in exported.splitlines()[0]
    with Server(tmp_path / "second", catalog=exported, environment=token) as server:
        assert rows_of(command(server, "catalog export")) == rows_of(exported)
    with Server(tmp_path / "third", environment=token) as server:
        (server.folder / "exported.toml").write_text(exported)
        command(server, "catalog check exported.toml")
        command(server, "catalog load exported.toml")
        assert rows_of(command(server, "catalog export")) == rows_of(exported)
        assert command(server, "catalog load exported.toml") == "Nothing has changed since it was last loaded.\n"
