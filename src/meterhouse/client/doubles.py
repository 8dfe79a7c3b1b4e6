"""For tests of programs that meter: a service within the process, answers written down before, a clock without waits.

Each serves `MeteringClient` and `AsyncMeteringClient` alike. Meterhouse's own application in an `ASGITransport` is the
whole service without a socket; a `RecordedTransport` says exactly what a test wants said.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import msgspec

from meterhouse.client.errors import AnswerTimeoutError, ConnectionLostError, TransportError
from meterhouse.client.flow import Instant
from meterhouse.client.signing import CONTENT_TYPE
from meterhouse.client.transport import HttpAnswer, HttpRequest
from meterhouse.core.moment import SECOND

Message = MutableMapping[str, Any]
ASGIApplication = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class ManualClock:
    """A clock that stands still, and where waiting takes no time: it jumps to the end of each wait."""

    def __init__(self, wall_micros: int = 1_795_219_200 * SECOND, seconds: float = 0.0) -> None:
        self.wall_micros = wall_micros
        """Microseconds since the epoch."""
        self.seconds = seconds
        """Monotonic."""
        self._lock = threading.Lock()

    def now(self) -> Instant:
        """The present instant."""
        return Instant(self.wall_micros, self.seconds)

    def advance(self, seconds: float) -> None:
        """Moves both clocks on."""
        with self._lock:
            self.seconds += seconds
            self.wall_micros += round(seconds * SECOND)

    def sleep(self, until: float) -> None:
        """Moves both clocks to a monotonic instant, if it lies ahead."""
        self.advance(max(0.0, until - self.seconds))

    async def sleep_async(self, until: float) -> None:
        """As `sleep`; other tasks get their turn."""
        self.sleep(until)
        await asyncio.sleep(0)


def answer(
    said: Mapping[str, Any] | bytes, status: int = 200, *, request_id: str = "recorded", **headers: str
) -> HttpAnswer:
    """An answer as the service gives it; of headers, `x_amz_retry_after` is `x-amz-retry-after`."""
    body = said if isinstance(said, bytes) else msgspec.json.encode(said)
    named = {name.replace("_", "-").lower(): text for name, text in headers.items()}
    return HttpAnswer(status, {"content-type": CONTENT_TYPE.decode(), "x-amzn-requestid": request_id, **named}, body)


def error_answer(code: str, message: str = "", status: int = 400, **headers: str) -> HttpAnswer:
    """An error as the service gives it."""
    return answer({"__type": code, "message": message}, status, **headers)


class RecordedTransport:
    """Gives answers that were written down, in their order, or those that a function makes of each request.

    `requests` are all that were sent. A `TransportError` among the answers is raised in the place of an answer. When
    there are no answers left, AssertionError.
    """

    def __init__(
        self, answers: Iterable[HttpAnswer | TransportError] | Callable[[HttpRequest], HttpAnswer | TransportError]
    ) -> None:
        self._make = answers if callable(answers) else None
        self._left = deque(() if callable(answers) else answers)
        self._lock = threading.Lock()
        self.requests: list[HttpRequest] = []

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """The next answer."""
        del timeout_seconds
        with self._lock:
            self.requests.append(request)
            if self._make is not None:
                given = self._make(request)
            else:
                assert self._left, f"no answer is left for request {len(self.requests)}: {request.body[:200]!r}"
                given = self._left.popleft()
        if isinstance(given, TransportError):
            raise given
        return given

    async def send_async(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """The next answer."""
        await asyncio.sleep(0)
        return self.send(request, timeout_seconds)

    def close(self) -> None:
        """Nothing is held open."""

    async def close_async(self) -> None:
        """Nothing is held open."""


class ASGITransport:
    """Calls an ASGI application within the process. Its lifespan begins with the first request and ends on closing.

    For `MeteringClient` the application runs on an event loop in a thread of its own; for `AsyncMeteringClient` on the
    loop that calls.
    """

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application
        self._lifespan: _Lifespan | None = None
        self._thread: _LoopThread | None = None
        self._lock = threading.Lock()

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """The application's answer."""
        with self._lock:
            if self._thread is None:
                self._thread = _LoopThread()
        given: HttpAnswer = self._thread.result_of(self.send_async(request, timeout_seconds))
        return given

    async def send_async(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """The application's answer."""
        if self._lifespan is None:
            self._lifespan = _Lifespan(self._application)
        await self._lifespan.begun()
        exchange = _Exchange(request)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._application(exchange.scope(), exchange.receive, exchange.send)
        except TimeoutError:
            raise AnswerTimeoutError("no whole answer came in time") from None
        return exchange.answer()

    def close(self) -> None:
        """Ends the application's lifespan."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            thread.result_of(self.close_async())
            thread.end()

    async def close_async(self) -> None:
        """Ends the application's lifespan."""
        if self._lifespan is not None:
            lifespan, self._lifespan = self._lifespan, None
            await lifespan.end()


class _LoopThread:
    """An event loop that runs in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="meterhouse-asgi", daemon=True)
        self._thread.start()

    def result_of(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Lifespan:
    """An application's lifespan protocol; one that does not speak it is left in peace."""

    def __init__(self, application: ASGIApplication) -> None:
        self._to_application: asyncio.Queue[Message] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._said: set[str] = set()
        self._application = application
        self._to_application.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.create_task(self._run())

    async def begun(self) -> None:
        await self._until("startup")

    async def end(self) -> None:
        self._to_application.put_nowait({"type": "lifespan.shutdown"})
        await self._until("shutdown")
        await asyncio.wait([self._task])

    async def _until(self, phase: str) -> None:
        while not self._task.done() and not self._said & {f"lifespan.{phase}.complete", f"lifespan.{phase}.failed"}:
            self._changed.clear()
            await self._changed.wait()
        if f"lifespan.{phase}.failed" in self._said:
            raise RuntimeError(f"the application's {phase} failed")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        try:
            await self._application(scope, self._to_application.get, self._send)
        except Exception:  # noqa: BLE001, S110 - ASGI: what an application raises here says that it has no lifespan
            pass
        finally:
            self._changed.set()

    async def _send(self, message: Message) -> None:
        self._said.add(message["type"])
        self._changed.set()


class _Exchange:
    """One request and its answer, in ASGI's words."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._is_said = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._is_whole = False

    def scope(self) -> MutableMapping[str, Any]:
        request = self._request
        path, _, query = request.target.partition(b"?")
        headers = [(b"host", request.address.authority), (b"content-length", str(len(request.body)).encode())]
        headers += [(name.lower(), value) for name, value in request.headers]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method.decode(),
            "scheme": request.address.scheme,
            "path": path.decode(),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": (request.address.host, request.address.port),
        }

    async def receive(self) -> Message:
        if self._is_said:
            return {"type": "http.disconnect"}
        self._is_said = True
        return {"type": "http.request", "body": self._request.body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {
                bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1")
                for name, value in message.get("headers", ())
            }
        elif message["type"] == "http.response.body":
            self._body.append(bytes(message.get("body", b"")))
            self._is_whole = not message.get("more_body", False)

    def answer(self) -> HttpAnswer:
        if not self._is_whole:
            raise ConnectionLostError("the application ended without an answer")
        return HttpAnswer(self._status, self._headers, b"".join(self._body))
