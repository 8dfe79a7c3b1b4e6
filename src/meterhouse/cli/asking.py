"""What the verbs share: where they ask, how they tell what was answered, and lists in parts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from msgspec import Raw, Struct

from meterhouse.cli.calling import Caller
from meterhouse.cli.telling import Column, Listing, note, print_bytes
from meterhouse.cli.waiting import waiting

MOST: Final = 1000
"""The most that the API answers at a time."""

Tell = Callable[[Any], None]
"""Tells people a decoded answer."""
Members = Mapping[str, Any]


class _Page(Struct):
    """A part of a list, its rows as they came."""

    items: list[Raw]
    next: str | None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Part:
    """Which part of a list."""

    after: Annotated[str | None, Parameter(help="Go on behind this: the `next` of the part before.")] = None
    limit: Annotated[int | None, Parameter(help="How many at a time: 100, at most 1000.")] = None
    all: Annotated[bool, Parameter(negative=(), help="All of it.")] = False


FIRST_PART: Final = Part()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Server:
    """The server that is asked, and the form in which its answer is told."""

    url: Annotated[str, Parameter(env_var="METERHOUSE_URL", help="Where the server is.")] = "http://127.0.0.1:8750"
    json: Annotated[bool, Parameter(negative=(), help="Print what the API answers, as JSON.")] = False

    def tell(
        self, tell: Tell, method: str, path: str, *, query: Members | None = None, body: Members | None = None
    ) -> None:
        """Asks, and tells what is answered."""
        with waiting(f"{self.url} is asked"):
            answer = Caller(self.url).call(method, path, query, body)
        if not self.json:
            tell(msgspec.json.decode(answer) if answer else None)
        elif answer:
            print_bytes(answer + b"\n")

    def do(self, sentence: str, method: str, path: str, *, body: Members | None = None) -> None:
        """Asks for what is answered with nothing, and says that it is done."""
        self.tell(lambda _nothing: print(sentence), method, path, body=body)

    def tell_list(
        self, columns: Sequence[Column], path: str, none: str, part: Part, query: Members | None = None
    ) -> None:
        """Asks for a list, and tells it: a part of it, or all, part by part."""
        if self.json:
            self._print_list(path, part, query or {})
            return
        listing, told, following = Listing(columns), 0, None
        for page in self.pages(path, part, query or {}):
            listing.tell([msgspec.json.decode(row) for row in page.items])
            told += len(page.items)
            following = page.next
        if not told:
            print(none)
        elif following is not None:
            note(f"There is more: --all shows it, --after {following} the next part.")

    def _print_list(self, path: str, part: Part, query: Members) -> None:
        """One list, however many parts it came in."""
        following: str | None = None
        separator = b'{"items":['
        for page in self.pages(path, part, query):
            for row in page.items:
                print_bytes(separator + bytes(row))
                separator = b","
            following = page.next
        opened = b"" if separator == b"," else separator
        print_bytes(opened + b'],"next":' + msgspec.json.encode(following) + b"}\n")

    def pages(self, path: str, part: Part, query: Members) -> Iterator[_Page]:
        """The parts that are wanted, as they come."""
        caller, after, count = Caller(self.url), part.after, 0
        limit = MOST if part.limit is None and part.all else part.limit
        with waiting(f"{self.url} is read") as bar:
            while True:
                answer = caller.call("GET", path, {**query, "after": after, "limit": limit})
                page = msgspec.json.decode(answer, type=_Page)
                count += len(page.items)
                bar.advance(count)
                with bar.hidden():
                    yield page
                after = page.next
                if after is None or not part.all:
                    return

    def pass_on(self, path: str, query: Members) -> None:
        """Asks for what is streamed, and passes it on as it is."""
        count = 0
        with waiting(f"{self.url} is read") as bar:
            for piece in Caller(self.url).stream(path, query):
                count += len(piece)
                bar.advance(count)
                with bar.hidden():
                    print_bytes(piece)


HERE: Final = Server()
"""Where nothing else is said."""
