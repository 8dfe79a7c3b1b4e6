"""The documents as tests read them: the tables under their headings."""

from pathlib import Path
from typing import Final

DOCUMENTS: Final = Path(__file__).parent.parent / "docs"


def tables_of(document: str) -> dict[str, list[tuple[str, ...]]]:
    """The rows of each table of a document under `docs/`, by the heading it stands under; without its head."""
    tables: dict[str, list[tuple[str, ...]]] = {}
    heading = ""
    for line in (DOCUMENTS / document).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            tables.setdefault(heading, []).append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    for heading, rows in tables.items():
        assert set("".join(rows[1])) <= set("-: "), f"the table under {heading!r} has no head"
        assert {len(row) for row in rows} == {len(rows[0])}, f"a row under {heading!r} has cells too many or too few"
    return {heading: rows[2:] for heading, rows in tables.items()}


def code(cell: str) -> str:
    """What stands between backquotes in a cell; all of it must."""
    assert len(cell) > 2, cell
    assert cell[0] == cell[-1] == "`", cell
    return cell[1:-1]
