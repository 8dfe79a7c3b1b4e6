"""The stage budget: where the processor time of a 25-record request goes, in one process and without a network.

Each stage runs by itself over the same few hundred requests of new records, all stages in turn, round after round, so
that a machine which is busy for a while is busy for all of them. A figure is processor time of the whole process, with
all its threads, per request; `whole` is the application as it is served, over a ledger on disk, with 64 requests under
way; what it takes beyond the stages is `the rest` (ids, metrics, logging calls, answers' headers, joining the parts).

Shares of the whole are compared, never microseconds: those belong to one machine and one hour.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import uvloop

from benchmarks import load
from benchmarks.fake_transport import Connections
from benchmarks.filling import fill
from benchmarks.load import PRODUCT, REGION
from benchmarks.measuring import CONNECTIONS, Bench
from benchmarks.results import Medians, Run
from benchmarks.server import Joined, joined
from meterhouse.core.call import Call, Following, Plan
from meterhouse.core.decide.batch_meter_usage import plan_batch_meter_usage
from meterhouse.core.profile import NEWEST
from meterhouse.core.shapes import BatchMeterUsageRequest
from meterhouse.core.usage import Partition
from meterhouse.ledger.judge import Sight
from meterhouse.ledger.protocol import Decision, Header, Keys, View
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.server.app import real_now_micros
from meterhouse.server.chance import RandomIds
from meterhouse.server.exchange import Message, Receive, Scope, Send
from meterhouse.server.gates import GATES, Arrival, Edge, authenticate_signer
from meterhouse.server.log import LogLevel, configure_logs
from meterhouse.server.metrics import Metrics
from meterhouse.server.serving import collect_rarely
from meterhouse.server.throttle import Throttle
from meterhouse.wire.codec import decode, encode

REQUESTS: Final = 320
"""Of a stage in a round: 8,000 records."""
STAGES: Final = ("HTTP", "other gates", "SigV4", "decode", "plan", "follow", "ledger", "encode")
WHOLE: Final = "whole"
MEASURED: Final = (*STAGES, WHOLE)
REST: Final = "the rest"

_PARTITION: Final = Partition(REGION, PRODUCT)
asked_type = TypeVar("asked_type")
answer_type = TypeVar("answer_type")

_OTHER_GATES: Final = tuple(gate for gate in GATES if gate is not authenticate_signer)


class Meter:
    """Measures what is done between `begin` and `end`: processor microseconds per request, of the whole process."""

    _begun = 0.0

    def begin(self) -> None:
        """From here on."""
        self._begun = time.process_time()

    def end(self) -> float:
        """To here."""
        return (time.process_time() - self._begun) / REQUESTS * 1e6


def stages(bench: Bench) -> Iterator[Run]:
    """Processor microseconds per request of each stage, by itself, and of the whole."""
    configure_logs(LogLevel.WARNING)
    with bench.place() as folder:
        rounds = budget(folder, bench.sizes.stage_rounds + 1, Meter())
    for spent in rounds[1:]:  # the first one warms up
        for stage, micros in spent.items():
            yield Run(stage, {"cpu_micros": micros})


def shares(medians: Medians, figure: str = "cpu_micros") -> dict[str, float]:
    """Each stage's share of the whole, and that of the rest."""
    whole = medians[WHOLE][figure]
    found = {stage: medians[stage][figure] / whole for stage in STAGES}
    return found | {REST: 1 - sum(found.values())}


def grown(now: Mapping[str, float], recorded: Mapping[str, float]) -> Sequence[str]:
    """A sentence for each stage whose share of the whole has grown by half or more against the one recorded."""
    return [
        f"{stage} takes {now[stage]:.1%} of the whole; recorded are {share:.1%}"
        for stage, share in recorded.items()
        if stage != REST and now[stage] >= 1.5 * share
    ]


def budget(folder: Path, rounds: int, meter: Meter) -> Sequence[Mapping[str, float]]:
    """What the meter says of each stage (in the order of `MEASURED`), round by round.

    Logs must have been configured: each request has a line at `debug`.
    """
    return uvloop.run(_rounds(folder, rounds, meter))


async def _rounds(folder: Path, count: int, meter: Meter) -> Sequence[Mapping[str, float]]:
    async with _rig(folder, count) as rig:
        gc.collect()
        thresholds = gc.get_threshold()
        collect_rarely()  # as a server does after its start
        try:
            return [await _round(rig, meter) for _ in range(count)]
        finally:
            gc.unfreeze()
            gc.set_threshold(*thresholds)


class _Rig(NamedTuple):
    parts: Joined
    other: Joined
    """Where the stage `ledger` keeps its records, for the whole is to keep them too."""
    edge: Edge
    bodies: Iterator[bytes]
    constant: Connections
    whole: Connections


@asynccontextmanager
async def _rig(folder: Path, rounds: int) -> AsyncIterator[_Rig]:
    """A server's parts over a ledger that knows the series, and the records to come."""
    usage = load.slice_for(REQUESTS * rounds, load.open_hours(real_now_micros()))
    async with _filled(folder / "ledger.db", usage) as parts, _filled(folder / "other.db", usage) as other:
        edge = Edge(parts.market.catalog, parts.market, NEWEST, None, None, False, Throttle({}))
        bodies = load.batches(load.new_records(usage), REQUESTS * rounds)
        constant = Connections(_constant, CONNECTIONS)
        whole = Connections(parts.composed.application, CONNECTIONS)
        yield _Rig(parts, other, edge, iter(bodies), constant, whole)
        constant.close()
        whole.close()


@asynccontextmanager
async def _filled(path: Path, usage: load.Slice) -> AsyncIterator[Joined]:
    async with joined(await open_sqlite(path), path, load.catalog_text(len(usage.customers)), Metrics()) as parts:
        await fill(parts, usage._replace(hours=[usage.hours[0] - 1]))
        yield parts


_ANSWER: Final = b'{"Results":[' + b" " * 5000 + b"]}"
"""About as long as the answer to 25 records."""


async def _constant(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    headers: Sequence[tuple[bytes, bytes]] = (
        (b"content-type", b"application/x-amz-json-1.1"),
        (b"content-length", b"%d" % len(_ANSWER)),
        (b"x-amzn-RequestId", b"7d6c1c0e-1f0b-4f7e-9a55-0a4f6a1b2c3d"),
    )
    start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": _ANSWER})


async def _round(rig: _Rig, meter: Meter) -> Mapping[str, float]:
    """Each stage once, each fed with what the one before it makes of the requests."""
    signer = load.Signer("127.0.0.1:8750", real_now_micros())
    bodies = list(islice(rig.bodies, REQUESTS))
    requests = [signer.batch(body) for body in bodies]
    catalog, record_ids = rig.parts.market.catalog, RandomIds()
    spent: dict[str, float] = {}

    def work(stage: str, does: Callable[[asked_type], answer_type], asked: Sequence[asked_type]) -> list[answer_type]:
        meter.begin()
        answers = [does(one) for one in asked]
        spent[stage] = meter.end()
        return answers

    async def wait(stage: str, until: Awaitable[None]) -> None:
        meter.begin()
        await until
        spent[stage] = meter.end()

    await wait("HTTP", rig.constant.send(requests))
    arrivals = [_arrival(request, body) for request, body in zip(requests, bodies, strict=True)]
    work("other gates", lambda arrival: [gate(rig.edge, arrival) for gate in _OTHER_GATES], arrivals)
    work("SigV4", lambda arrival: authenticate_signer(rig.edge, arrival), arrivals)
    said = work("decode", lambda body: decode(body, BatchMeterUsageRequest), bodies)
    calls = [Call(one, arrivals[0].signer, REGION, NEWEST, None) for one in said]
    now_micros = real_now_micros()
    plans = work("plan", lambda call: plan_batch_meter_usage(call, catalog, now_micros), calls)
    sight = Sight(0, {}, {}, both_forms=False)
    followings = work("follow", lambda one: one.follow(sight, record_ids), plans)
    turns = [_turn(one, following, now_micros) for one, following in zip(plans, followings, strict=True)]
    await wait("ledger", _keep(rig.other, iter(turns)))
    work("encode", lambda one: encode(one.answer), followings)
    await wait(WHOLE, rig.whole.send(requests))
    if not all(answer.startswith(b"HTTP/1.1 200") and answer.count(b'"Success"') == 25 for answer in rig.whole.answers):
        raise SystemExit(f"the whole answered {rig.whole.answers[0][:300]!r}")
    return spent


def _arrival(request: bytes, body: bytes) -> Arrival:
    """What the connection makes of a request."""
    lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    arrival = Arrival(headers, b"", "7d6c1c0e-1f0b-4f7e-9a55-0a4f6a1b2c3d", real_now_micros())
    arrival.body = body
    return arrival


Turn = tuple[Keys, Callable[[View], Decision]]


def _turn(plan: Plan, following: Following, now_micros: int) -> Turn:
    """A turn whose rule has been asked already."""
    header = Header(
        "7d6c1c0e-1f0b-4f7e-9a55-0a4f6a1b2c3d",
        "BatchMeterUsage",
        f"arn:aws:iam::{load.SELLER}:root",
        load.SELLER,
        now_micros,
        now_micros,
        NEWEST.name,
    )
    decision = Decision(None, following.entries, (), header)
    return Keys(plan.records, plan.claims, (), plan.forms), lambda _view: decision


async def _keep(parts: Joined, turns: Iterator[Turn]) -> None:
    """Has turns kept, as many at a time as there are connections."""
    revision = parts.market.catalog.revision

    async def caller() -> None:
        for keys, decide in turns:
            await parts.ledger.turn(_PARTITION, keys, decide, revision=revision)

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
