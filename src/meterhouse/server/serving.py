"""From settings to a running server: opens what it needs, in the order in which failing is cheapest, and closes it all.

Socket, ledger, master key, catalog file, ready. Whatever cannot be opened ends the start with one sentence.
"""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop

from meterhouse import __version__
from meterhouse.core.call import Attestation
from meterhouse.core.shapes import RegisterUsageResult
from meterhouse.ledger.memory import open_memory
from meterhouse.ledger.protocol import Busy, CannotOpen, Ledger, LedgerFailure
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.server.app import App, real_now_micros
from meterhouse.server.buckets import SharedBuckets
from meterhouse.server.chance import RandomIds
from meterhouse.server.control.parts import InstanceMetadataServices
from meterhouse.server.exchange import Application, Receive, Scope, Send
from meterhouse.server.fresh import Fresh
from meterhouse.server.gates import Edge
from meterhouse.server.log import LogLevel, configure_logs
from meterhouse.server.metrics import Metrics
from meterhouse.server.run import CannotListen, Listening, listen, serve
from meterhouse.server.settings import (
    MEMORY,
    POSTGRES_SCHEMES,
    Auth,
    ClockMode,
    Settings,
    admin_token,
    environment,
    master_key,
)
from meterhouse.server.throttle import Throttle
from meterhouse.server.workers import CannotServe, Duty, Told, Workers, until_orphaned
from meterhouse.service.agreements import IssuedToken
from meterhouse.service.catalog_file import LOADED_KIND, Circumstances, Loaded, check, load
from meterhouse.service.clock import CLOCK_KIND, Clocks
from meterhouse.service.draft import Sources
from meterhouse.service.hand_out import HandOuts
from meterhouse.service.house import Attest, House
from meterhouse.service.market import Market
from meterhouse.service.master_key import KeySource, WrongKey, keys_from
from meterhouse.service.places import Source
from meterhouse.service.reading import WrittenCatalog, read_catalog
from meterhouse.service.refused import Refused
from meterhouse.service.signs_of_life import SignsOfLife
from meterhouse.service.striking import Striking
from meterhouse.wire.policy import parse_policy

KEY_SUFFIX: Final = ".key"
"""What a SQLite ledger's key file adds to its name."""

log = structlog.get_logger("meterhouse")

Say = Callable[[str], None]


def serve_until_stopped(settings: Settings, log_level: LogLevel, say: Say) -> None:
    """Serves until SIGTERM or SIGINT. `say` gets what belongs on standard output, line by line. Raises CannotServe."""
    configure_logs(log_level)
    try:
        listening = listen(settings.host, settings.port)
    except CannotListen as error:
        raise CannotServe(str(error)) from None
    try:
        if settings.workers == 1:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, listening, say, partial(_say_ready, say)))
        else:
            work = partial(_work, settings, listening, say, SharedBuckets() if settings.throttle else None)
            Workers(settings.workers, work, partial(_say_ready, say), listening.close).run()
    finally:
        listening.close()


def _room(settings: Settings, scope: Mapping[str, Any]) -> int:
    """The smallest body that is too large; imports the control API, so it is asked for large ones alone."""
    from meterhouse.server.control.room import Entry, room_of

    return room_of(scope, Entry(admin_token(), settings.needs_no_token))


def _say_ready(say: Say, url: str) -> None:
    say(f"Meterhouse is ready at {url}")


def _work(settings: Settings, listening: Listening, say: Say, buckets: SharedBuckets | None, duty: Duty) -> None:
    """One of several processes that serve."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listening, say, lambda url: duty.tell(Told(url)), duty, buckets))


async def _serve(
    settings: Settings,
    listening: Listening,
    say: Say,
    on_ready: Callable[[str], None],
    duty: Duty | None = None,
    buckets: SharedBuckets | None = None,
) -> None:
    stop = asyncio.Event()
    watching = None if duty is None else asyncio.ensure_future(until_orphaned(duty.lifeline, stop))
    loads = duty is None or duty.is_first
    async with opened(settings, say, loads=loads, buckets=buckets) as (application, load_again):
        collect_rarely()
        log.info("started", url=listening.url, data=settings.ledger_name, auth=str(settings.auth))
        room = partial(_room, settings)
        cut = await serve(application, listening, on_ready=on_ready, on_hangup=load_again, room=room, stop=stop)
        log.info("stopped", requests_cut_off=cut)
    if watching is not None:
        watching.cancel()


def collect_rarely() -> None:
    """What is alive now stays alive, so the collector need not look at it again.

    And a request makes a few thousand objects and no cycle, a refused one neither (`tests/parts/test_no_cycles.py`):
    looking for cycles less often saves a tenth. It is looked all the same, for what libraries may leave.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@asynccontextmanager
async def opened(
    settings: Settings, say: Say, *, loads: bool = True, buckets: SharedBuckets | None = None
) -> AsyncIterator[tuple[App, Callable[[], None]]]:
    """The application over its opened ledger, and what loads the catalog file again. Raises CannotServe.

    `loads`: the catalog file is loaded now. `buckets`: those that several processes share.
    """
    metrics = Metrics()
    try:
        written = (
            await asyncio.to_thread(_read, settings.catalog, settings.data) if settings.catalog and loads else None
        )
        if settings.on_postgres:
            _keys(settings)(first=False)  # a database whose secrets nobody could read is given no tables
        ledger = await _ledger(settings, metrics)
    except (CannotOpen, WrongKey) as error:
        raise CannotServe(str(error)) from None
    except Refused as error:
        raise CannotServe(str(error), 2) from None
    try:
        market = await Market.open(ledger, _keys(settings), os.urandom)
        composed = Composed(settings, ledger, market, metrics, buckets)
        if written is not None:
            _tell(await composed.load_catalog(written), say)
        if settings.auth is Auth.STRICT and not market.catalog.credentials:
            log.warning(
                "no_credentials",
                reason="nobody can sign a call yet, so each will be UnrecognizedClientException: load a catalog with "
                "--catalog or `meterhouse catalog load`, or serve with --auth open on this machine",
            )
        async with composed.instance_metadata():
            yield composed.application, composed.loader(say)
    except WrongKey as error:
        raise CannotServe(str(error)) from None
    except Refused as error:
        raise CannotServe(str(error), 2) from None
    except (Busy, LedgerFailure) as error:
        raise CannotServe(f"{settings.ledger_name}: {error}") from None
    finally:
        await ledger.close()


def _read(catalog: Path, ledger: str = "") -> WrittenCatalog:
    """The catalog file, read once: it may be a pipe. Raises Refused, and CannotServe.

    For a ledger that is not there yet it is judged whole, so that a wrong file leaves no new ledger behind.
    """
    try:
        text = catalog.read_bytes()
    except OSError as error:
        raise CannotServe(f"--catalog: {catalog} cannot be read: {error.strerror}.", 2) from None
    if ledger and not ledger.startswith(POSTGRES_SCHEMES) and not Path(ledger).exists():
        sources = Sources(lambda _account: real_now_micros(), os.urandom, lambda _place, _secret: b"", parse_policy)
        check(text, str(catalog), environment(), sources)
    return read_catalog(text, str(catalog))


async def _ledger(settings: Settings, metrics: Metrics) -> Ledger:
    if settings.data == MEMORY:
        return await open_memory(on_group=metrics.committed)
    if settings.on_postgres:
        return await _postgres(settings.data, metrics)
    return await open_sqlite(Path(settings.data), on_group=metrics.committed)


async def _postgres(url: str, metrics: Metrics) -> Ledger:
    try:
        from meterhouse.ledger.postgres import open_postgres
    except ModuleNotFoundError:
        sentence = "--data: PostgreSQL needs the extra `postgres`: pip install 'meterhouse[postgres]'."
        raise CannotServe(sentence, 2) from None
    return await open_postgres(url, on_group=metrics.committed)


def _keys(settings: Settings) -> KeySource:
    """The master key's source; a ledger in memory that is given none has one that is as short-lived as itself."""
    text = master_key()
    if settings.on_postgres or (settings.data == MEMORY and text is not None):
        return keys_from(text, None, os.urandom)
    if settings.data == MEMORY:
        throwaway = os.urandom(32)
        return lambda *, first: [throwaway]  # noqa: ARG005  # a key source is asked by this name
    return keys_from(text, Path(settings.data + KEY_SUFFIX), os.urandom)


class Late:
    """An application that is made when it is first asked, since making it costs what most servers never need."""

    def __init__(self, make: Callable[[], Application]) -> None:
        self._make = make
        self._application: Application | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if self._application is None:
            self._application = self._make()
        await self._application(scope, receive, send)


class Composed:
    """The parts of a server, joined."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        market: Market,
        metrics: Metrics,
        buckets: SharedBuckets | None = None,
    ) -> None:
        sandbox = settings.clock is ClockMode.TEST
        self._settings = settings
        self._ledger = ledger
        self._market = market
        self._metrics = metrics
        self._clocks = clocks = Clocks(market.settings(CLOCK_KIND) if sandbox else {}, real_now_micros)
        self._sources = Sources(clocks.now_micros, os.urandom, market.seal.seal, parse_policy)
        edge = Edge(
            market.catalog,
            market,
            settings.profile,
            frozenset(settings.regions) or None,
            next(iter(settings.regions), None),
            settings.auth is Auth.OPEN,
            Throttle(settings.throttle, buckets),
        )
        self._hand_outs = HandOuts(market, self._sources, real_now_micros)
        self._instance_metadata: InstanceMetadataServices | None = None
        self._attest_by_key: Attest | None = None
        fresh = Fresh(market, shared=settings.on_postgres, sandbox=sandbox)
        house = House(ledger, market.catalog, clocks, RandomIds(), self._attest, fresh.confirm)
        striking = Striking(market, enabled=sandbox)
        self.application = App(house, market, edge, Late(self._control), striking, SignsOfLife(market), metrics, fresh)

    def _control(self) -> Application:
        """The control API."""
        from meterhouse.server.control.application import control_application
        from meterhouse.server.control.parts import ControlParts

        settings = self._settings
        return control_application(
            ControlParts(
                ledger=self._ledger,
                market=self._market,
                clocks=self._clocks,
                sources=self._sources,
                metrics=self._metrics,
                profile=settings.profile,
                engine=settings.engine,
                version=__version__,
                sandbox=settings.clock is ClockMode.TEST,
                admin_token=admin_token(),
                open_on_loopback=settings.needs_no_token,
                real_now=real_now_micros,
                environment=environment(),
                hand_outs=self._hand_outs,
                instance_metadata=self._instance_metadata,
            )
        )

    @asynccontextmanager
    async def instance_metadata(self) -> AsyncIterator[None]:
        """Under `--imds`: the metadata services of instances are open meanwhile."""
        if not self._settings.imds:
            yield
            return
        from meterhouse.server.instance_metadata import InstanceMetadataServer

        services = InstanceMetadataServer(self._hand_outs, real_now_micros, os.urandom)
        self._instance_metadata = services
        try:
            await services.open_again()
            yield
        finally:
            await services.close()

    async def _attest(self, attestation: Attestation) -> RegisterUsageResult:
        if self._attest_by_key is None:
            from meterhouse.service.product_keys import Attestor

            self._attest_by_key = Attestor(self._market, self._sources).answer
        return await self._attest_by_key(attestation)

    async def load_catalog(self, written: WrittenCatalog) -> Loaded:
        """Loads a catalog file; only what changed in it since it was last loaded is applied. Raises Refused."""
        circumstances = Circumstances(
            Source.FILE, self._market.settings(LOADED_KIND), self._market.seal.fingerprint, environment()
        )
        return await self._market.change(
            lambda catalog: load(written, catalog, circumstances, self._sources), aside=True
        )

    def loader(self, say: Say) -> Callable[[], None]:
        """Loads the catalog file again, in the background: SIGHUP's answer."""
        running: set[asyncio.Task[None]] = set()

        async def load_again(path: Path) -> None:
            try:
                _tell(await self.load_catalog(await asyncio.to_thread(_read, path)), say)
            except (Refused, CannotServe, Busy, LedgerFailure) as error:
                log.warning("catalog_refused", reason=str(error))

        def on_hangup() -> None:
            if self._settings.catalog is None:
                log.warning("catalog_not_loaded", reason="the server was started without --catalog")
                return
            task = asyncio.ensure_future(load_again(self._settings.catalog))
            running.add(task)
            task.add_done_callback(running.discard)

        return on_hangup


def _tell(loaded: Loaded, say: Say) -> None:
    """Secrets and tokens that were made up are shown once, here."""
    log.info("catalog_loaded", **loaded.changed)
    for shown in loaded.shown_once:
        if isinstance(shown, IssuedToken):
            say(f"Registration token of {shown.agreement}, shown once: {shown.token}")
        else:
            token = "" if shown.session_token is None else f" session token {shown.session_token}"
            say(f"Secrets of {shown.access_key_id}, shown once: secret access key {shown.secret_access_key}{token}")
