"""The fenced blocks of the documents, and what their marks say is to be done with them.

The first word after the fence is the language; the second, which readers do not see, is the mark:

    sh run        is run to its end and must succeed; what it exports, later blocks have
    sh fails      is run to its end and must fail
    sh serve      is started, and goes on beside the later blocks
    text stop     is what is typed to end that
    python run    is run to its end and must succeed
    js run        the same, by Node.js with the JavaScript SDK beside it
    … file N      is written to the file N
    … answer      is what the block before it prints, but for ids and times
    toml load     is a catalog file that can be loaded
    toml throttle is a file for --throttle
    … shown       is not tried: it needs what the tests have not, and the document says so
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
EXECUTED: Final = ("README.md", *(f"docs/how-to/{path.name}" for path in sorted(ROOT.glob("docs/how-to/*.md"))))
"""The documents whose every block has a mark."""
MARKS: Final = frozenset({"run", "fails", "serve", "stop", "file", "answer", "load", "throttle", "shown"})

_BLOCK: Final = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block."""

    line: int
    language: str
    mark: str
    name: str
    text: str


def blocks_of(document: str) -> list[Block]:
    """The blocks of a document, named by its path from the root."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = []
    for found in _BLOCK.finditer(text):
        words: list[str] = found["info"].split()
        language, mark, name, *_ = [*words, "", "", ""]
        blocks.append(Block(text.count("\n", 0, found.start()) + 1, language, mark, name, found["text"]))
    return blocks
