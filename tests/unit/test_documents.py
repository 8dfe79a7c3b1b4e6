"""The documents say what the code has: links lead somewhere, every setting and every member of the catalog is there."""

import inspect
import re
import tomllib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct, structs

from meterhouse.cli.serve import serve
from meterhouse.core.profile import HOUR_SECONDS, PROFILES
from meterhouse.server import settings
from meterhouse.server.throttle import read_rates
from meterhouse.service import rows
from meterhouse.service.catalog_file import check
from tests.document_blocks import EXECUTED, MARKS, ROOT, blocks_of
from tests.documents import code, tables_of
from tests.tidy.tables import ANYTHING, MAY_IMPORT
from tests.unit.marketplace import sources_at

DOCUMENTS: Final = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
SERVE: Final = tables_of("how-to/serve.md")
CATALOG: Final = tables_of("how-to/catalog.md")
CATALOG_TABLES: Final[dict[str, type[Struct]]] = {
    "`[[products]]`": rows.ProductRow,
    "`[[products.dimensions]]`": rows.DimensionRow,
    "`[[agreements]]`": rows.AgreementRow,
    "`[[accounts]]`": rows.AccountRow,
    "`[[registration_tokens]]`": rows.TokenRow,
    "`[[credentials]]`": rows.CredentialTable,
    "`[credentials.workload]`": rows.NestedWorkloadTable,
    "`[open]`": rows.OpenRow,
}
NO_DEFAULT: Final = {"catalog": "none", "region": "every Region"}
"""What the document says of settings whose default is the absence of one."""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """What a document links to within the repository is there, and so is the heading."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        place = (ROOT / document).parent / path if path else ROOT / document
        assert place.exists(), target
        assert not heading or heading in set(_anchors(place)), target


def _anchors(document: Path) -> Iterator[str]:
    """What a heading is called in a link: small letters, hyphens for blanks, no other signs."""
    for heading in re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_setting_is_documented() -> None:
    """The table of settings has each flag of `meterhouse serve`, in order, with its variable and its default."""
    documented = [(code(flag), code(variable), default.strip("`")) for flag, variable, default, _ in SERVE["Settings"]]
    assert documented == [
        (f"--{name.replace('_', '-')}", f"METERHOUSE_{name.upper()}", NO_DEFAULT.get(name) or _written(one.default))
        for name, one in inspect.signature(serve).parameters.items()
    ]


def _written(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return str(default.value) if isinstance(default, Enum) else str(default)


def test_every_secret_of_the_environment_is_documented() -> None:
    """What the settings read from the environment beside the flags has its row."""
    read = set(re.findall(r"environ\.get\(\"(METERHOUSE_\w+)\"\)", inspect.getsource(settings)))
    assert {code(variable) for variable, _ in SERVE["Secrets"]} == read


def test_the_profiles_are_documented() -> None:
    """Each profile has its row, newest first, with its two windows."""
    assert [(code(name), windows) for name, windows, _ in SERVE["Profiles"]] == [
        (
            name,
            ", ".join(
                f"{seconds // HOUR_SECONDS} h" for seconds in (one.batch_window_seconds, one.meter_window_seconds)
            ),
        )
        for name, one in PROFILES.items()
    ]


def test_the_example_of_rates_can_be_read(tmp_path: Path) -> None:
    """The file for --throttle in the document is one."""
    (example,) = [block for block in blocks_of("docs/how-to/serve.md") if block.mark == "throttle"]
    rates = tmp_path / "rates.toml"
    rates.write_text(example.text)
    assert read_rates(rates)["BatchMeterUsage"] == (2.5, 10)


def test_the_verifier_in_the_document_is_the_example() -> None:
    """What a seller copies from the page is the file that the tests run."""
    (block,) = [block for block in blocks_of("docs/how-to/verify-a-registration.md") if block.language == "python"]
    assert block.text == (ROOT / "examples/container/verify.py").read_text(encoding="utf-8")


def test_every_table_of_the_catalog_is_documented() -> None:
    """The reference has the tables of the catalog file, and no others."""
    assert list(CATALOG) == list(CATALOG_TABLES)


@pytest.mark.parametrize("table", CATALOG_TABLES)
def test_every_member_of_the_catalog_is_documented(table: str) -> None:
    """A table's members are documented in their order, and those are required that have no default."""
    documented = [(code(member), default == "required") for member, default, _ in CATALOG[table]]
    members = [(field.name, field.required) for field in structs.fields(CATALOG_TABLES[table])]
    assert sorted(documented) == sorted(members)


def test_the_example_of_a_catalog_can_be_loaded() -> None:
    """The whole catalog file in the reference is one, and has a row of each table."""
    (example,) = [block for block in blocks_of("docs/how-to/catalog.md") if block.mark == "load"]
    environment = {"SELLER_SECRET": "one", "TASK_SECRET": "another"}
    loaded = check(example.text, "catalog.toml", environment, sources_at())
    assert set(loaded.changed) == {"products", "agreements", "accounts", "registration_tokens", "credentials", "open"}
    assert set(tomllib.loads(example.text)) == set(loaded.changed)


@pytest.mark.parametrize("document", EXECUTED)
def test_every_example_has_a_mark(document: str) -> None:
    """No block of the README or of a how-to is left out of the tests that run them."""
    assert [block for block in blocks_of(document) if block.mark not in MARKS] == []


def test_the_house_is_documented_as_it_is() -> None:
    """Each folder of the package has its row in the architecture, with the imports that the tidy test allows it."""
    house = {code(folder): arrows for folder, _, arrows in tables_of("architecture.md")["The house"]}
    folders = {path.parent.name for path in (ROOT / "src/meterhouse").glob("*/__init__.py")}
    assert house == {folder: _arrows(folder) for folder in folders}


def _arrows(folder: str) -> str:
    allowed = MAY_IMPORT[folder]
    if allowed is ANYTHING:
        return "anything"
    return ", ".join(f"`{one}`" for one in allowed) or "nothing of ours"
