"""The marketplace's own side: what the demo asks of the control API, and where a buyer's browser goes."""

import http.client
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

PREFIX: Final = "/_meterhouse/v1"
TOTALS: Final = f"{PREFIX}/records?totals=true"
_PATIENCE_SECONDS: Final = 30


class Unexpected(Exception):
    """The server did not answer as it should; one sentence says what it answered."""


class Page(NamedTuple):
    """What a browser was answered."""

    status: int
    text: str


class Control:
    """Calls the control API with its bearer token. Raises Unexpected for every refusal."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def set_clock(self, now: datetime) -> None:
        """Freezes the clock for all."""
        self._call("PUT", "/clock", {"now": now.isoformat()})

    def advance_clock(self, by: timedelta) -> None:
        """Moves the clock for all ahead."""
        self._call("PUT", "/clock", {"advance_seconds": int(by.total_seconds())})

    def end_clock(self) -> None:
        """From now on it is as late as it really is."""
        self._call("PUT", "/clock", {"real": True})

    def activate(self, agreement: str) -> None:
        """Accepts a pending agreement in its buyer's name."""
        self._call("PATCH", f"/agreements/{agreement}", {"status": "active"})

    def registration_token(self, agreement: str) -> str:
        """A new token, by which the buyer makes itself known to the seller."""
        issued = self._call("POST", "/registration-tokens", {"agreement": agreement})
        token: str = issued["token"]
        return token

    def record_count(self) -> int:
        """How many records are kept (at most a thousand are asked for; the demo keeps fewer)."""
        return len(self._call("GET", "/records?limit=1000")["items"])

    def totals(self, product: str) -> list[dict[str, str]]:
        """What was kept of a product: a sum per buyer, dimension and month."""
        sums: list[dict[str, str]] = self._call("GET", f"/records?totals=true&product={product}")["items"]
        return sums

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        sent = None if body is None else json.dumps(body)
        page = _ask(self._url, method, PREFIX + path, sent, self._headers)
        if page.status not in {200, 201}:
            raise Unexpected(f"{method} {PREFIX}{path} was answered with {page.status}: {page.text}")
        return json.loads(page.text)


def send_browser(url: str, form: Mapping[str, str]) -> Page:
    """Posts a form as a browser does."""
    scheme, host, path, *_ = urlsplit(url)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return _ask(f"{scheme}://{host}", "POST", path, urlencode(form), headers)


def _ask(url: str, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Page:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_PATIENCE_SECONDS)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Page(answer.status, answer.read().decode())
    except (OSError, http.client.HTTPException) as error:
        raise Unexpected(f"{method} {url}{path} was not answered: {error}") from None
    finally:
        connection.close()
