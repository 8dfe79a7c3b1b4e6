"""What a call costs whoever makes it: processor time and wall time per BatchMeterUsage of 25 records, beside peers.

    python -m benchmarks.client [--rounds 5] [--calls 2000] [--only NAME] [--write-docs]

One connection, kept alive, to a server in another process that reads the request and answers a constant. Every client
runs in a process and an environment of its own, all of them in turn, round after round, so that a machine that is busy
for a while is busy for all; a figure is the least of its rounds, since whatever else runs on a machine only adds to
it. Processor time is utime + stime of the client's process. The first call is that of a fresh process (import, client,
one call), less what Python itself takes; with compiled bytecode.

Instructions are counted by Valgrind's callgrind (`--write-docs`): those of the client's process outside the kernel, the
same on a busy machine as on a quiet one. A call's are the difference between a long run and a short one.

Few calls a round would measure something else: the interpreter's full garbage collections after the imports, some
milliseconds each, fall into the first thousand.

Ratios count; absolute figures belong to one machine and one hour.
"""

import argparse
import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import client_page
from benchmarks.client_page import Measured
from benchmarks.machine import Others
from tests.strangers.environments import python_of

ROOT = Path(__file__).resolve().parent.parent

RESULT = (
    '{"UsageRecord":{"Timestamp":1795219200,"Dimension":"users","CustomerIdentifier":"X01EXAMPLE%02d","Quantity":7},'
    '"Status":"Success","MeteringRecordId":"11111111-2222-4333-8444-5555555555%02d"}'
)
ANSWER = ('{"Results":[' + ",".join(RESULT % (n, n) for n in range(25)) + '],"UnprocessedRecords":[]}').encode()

MEASURE = """
import json, resource, sys, time
URL, CALLS = sys.argv[1], int(sys.argv[2])
from datetime import UTC, datetime
WHEN = datetime(2026, 11, 21, tzinfo=UTC)

def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

def report(began, started):
    cpu, wall = spent() - began, time.perf_counter() - started
    print(json.dumps({"cpu": cpu / CALLS * 1e6, "wall": wall / CALLS * 1e6}))

def measure(call):
    if CALLS == 0:
        call()
        return
    for _ in range(CALLS // 4):
        call()
    began, started = spent(), time.perf_counter()
    for _ in range(CALLS):
        call()
    report(began, started)

async def measure_async(call):
    if CALLS == 0:
        await call()
        return
    for _ in range(CALLS // 4):
        await call()
    began, started = spent(), time.perf_counter()
    for _ in range(CALLS):
        await call()
    report(began, started)
"""

OURS = """
from meterhouse import AsyncMeteringClient, ClientOptions, Credentials, MeteringClient, UsageRecord
RECORDS = [
    UsageRecord(timestamp=WHEN, dimension="users", customer_identifier=f"X01EXAMPLE{n:02}", quantity=7)
    for n in range(25)
]
SETTINGS = dict(region="us-east-1", endpoint_url=URL, credentials=Credentials("AKIDEXAMPLE", "x" * 40),
                options=ClientOptions(requests_per_second=None))
"""
OURS_SYNC = "\nclient = MeteringClient(**SETTINGS)\nmeasure(lambda: client.METHOD(RECORDS, product_code='a' * 25))\n"
OURS_ASYNC = """
import asyncio
async def main():
    async with AsyncMeteringClient(**SETTINGS) as client:
        await measure_async(lambda: client.METHOD(RECORDS, product_code="a" * 25))
LOOP
"""
BOTO = """
RECORDS = [
    {"Timestamp": WHEN, "Dimension": "users", "CustomerIdentifier": f"X01EXAMPLE{n:02}", "Quantity": 7}
    for n in range(25)
]
SETTINGS = dict(region_name="us-east-1", endpoint_url=URL, aws_access_key_id="AKIDEXAMPLE",
                aws_secret_access_key="x" * 40)
"""
BOTO3 = """
import boto3
client = boto3.client("meteringmarketplace", **SETTINGS)
measure(lambda: client.batch_meter_usage(ProductCode="a" * 25, UsageRecords=RECORDS))
"""
AIOBOTOCORE = """
import asyncio
from aiobotocore.session import get_session
async def main():
    async with get_session().create_client("meteringmarketplace", **SETTINGS) as client:
        await measure_async(lambda: client.batch_meter_usage(ProductCode="a" * 25, UsageRecords=RECORDS))
LOOP
"""
CAPO = """
import os
os.environ.update(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="x" * 40)
from capo_marketplace_metering import AsyncMarketplaceMeteringClient, MarketplaceMeteringClient
RECORDS = [
    {"timestamp": WHEN, "dimension": "users", "customer_identifier": f"X01EXAMPLE{n:02}", "quantity": 7}
    for n in range(25)
]
SETTINGS = dict(endpoint=URL, region="us-east-1")
"""
CAPO_SYNC = """
with MarketplaceMeteringClient(**SETTINGS) as client:
    measure(lambda: client.batch_meter_usage(product_code="a" * 25, usage_records=RECORDS))
"""
CAPO_ASYNC = """
import asyncio
async def main():
    async with AsyncMarketplaceMeteringClient(**SETTINGS) as client:
        await measure_async(lambda: client.batch_meter_usage(product_code="a" * 25, usage_records=RECORDS))
LOOP
"""
EXCHANGE = """
BODY = b"x" * 2500
HEADERS = [("content-type", "application/x-amz-json-1.1"), ("authorization", "a" * 250)]
"""
SOCKETS = """
from meterhouse.client.socket_transport import SocketTransport
from meterhouse.client.transport import HttpRequest, split_url
request = HttpRequest(split_url(URL)[0], [(name.encode(), value.encode()) for name, value in HEADERS], BODY)
transport = SocketTransport()
measure(lambda: transport.send(request, 60.0))
"""
ASYNC_SOCKETS = """
import asyncio
from meterhouse.client.asyncio_transport import AsyncSocketTransport
from meterhouse.client.transport import HttpRequest, split_url
request = HttpRequest(split_url(URL)[0], [(name.encode(), value.encode()) for name, value in HEADERS], BODY)
async def main():
    transport = AsyncSocketTransport()
    await measure_async(lambda: transport.send_async(request, 60.0))
    await transport.close_async()
LOOP
"""
PYREQWEST = """
from pyreqwest.client import SyncClientBuilder
client = SyncClientBuilder().follow_redirects(False).http1_only().build()
def call():
    answer = client.post(URL).headers(HEADERS).body_bytes(BODY).build().send()
    return answer.status, answer.bytes().to_bytes(), answer.get_header("x-amzn-requestid")
measure(call)
"""
ASYNC_PYREQWEST = """
import asyncio
from pyreqwest.client import ClientBuilder
async def main():
    client = ClientBuilder().follow_redirects(False).http1_only().build()
    async def call():
        answer = await client.post(URL).headers(HEADERS).body_bytes(BODY).build().send()
        return answer.status, (await answer.bytes()).to_bytes(), answer.get_header("x-amzn-requestid")
    await measure_async(call)
    await client.close()
LOOP
"""
AT_ONCE = """
# pyreqwest 0.15 aborts one process in four as the interpreter ends; so it does not end here.
import os
sys.stdout.flush()
os._exit(0)
"""
PLAIN_LOOP = "asyncio.run(main())"
UVLOOP = "import uvloop\nuvloop.run(main())"


class Contender(NamedTuple):
    """A client: where it runs, and what it runs."""

    environment: str
    script: str


def _contenders() -> dict[str, Contender]:
    people, once = "batch_meter_usage", "batch_meter_usage_once"
    return {
        "boto3": Contender("boto3-newest", BOTO + BOTO3),
        "aiobotocore": Contender("aiobotocore", BOTO + AIOBOTOCORE.replace("LOOP", PLAIN_LOOP)),
        "capo": Contender("peers", CAPO + CAPO_SYNC),
        "capo, async": Contender("peers", CAPO + CAPO_ASYNC.replace("LOOP", PLAIN_LOOP)),
        "ours": Contender("", OURS + OURS_SYNC.replace("METHOD", people)),
        "ours, one to one": Contender("", OURS + OURS_SYNC.replace("METHOD", once)),
        "ours, async": Contender("", OURS + OURS_ASYNC.replace("METHOD", people).replace("LOOP", PLAIN_LOOP)),
        "ours, async, one to one": Contender("", OURS + OURS_ASYNC.replace("METHOD", once).replace("LOOP", PLAIN_LOOP)),
        "ours, async, uvloop": Contender("", OURS + OURS_ASYNC.replace("METHOD", people).replace("LOOP", UVLOOP)),
        "exchange alone: sockets": Contender("", EXCHANGE + SOCKETS),
        "exchange alone: pyreqwest": Contender("peers", EXCHANGE + PYREQWEST + AT_ONCE),
        "exchange alone: asyncio": Contender("", EXCHANGE + ASYNC_SOCKETS.replace("LOOP", PLAIN_LOOP)),
        "exchange alone: pyreqwest, async": Contender(
            "peers", EXCHANGE + ASYNC_PYREQWEST.replace("LOOP", PLAIN_LOOP) + AT_ONCE
        ),
    }


FIRST_CALLS = ("boto3", "aiobotocore", "capo", "ours", "ours, async")


class _Constant(asyncio.Protocol):
    """Reads requests, and answers each with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._heard = b""

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while (end := self._heard.find(b"\r\n\r\n")) >= 0:
            head = self._heard[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n")[0]) if place >= 0 else 0
            if len(self._heard) < end + 4 + length:
                return
            self._heard = self._heard[end + 4 + length :]
            self._transport.write(  # type: ignore[attr-defined]  # a stream's transport
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nx-amzn-RequestId: "
                b"11111111-2222-4333-8444-555555555555\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
            )


def serve() -> None:
    """The server's process: prints its port, and answers until it is ended."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(_Constant, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    import uvloop  # noqa: PLC0415 - only here

    uvloop.run(forever())


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.client", "--serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


def _python(environment: str) -> str:
    return str(python_of(environment)) if environment else sys.executable


def _variables(bytecode: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "PYTHONPYCACHEPREFIX": bytecode}


def _command(contender: Contender, url: str, calls: int) -> list[str]:
    return [_python(contender.environment), "-c", MEASURE + contender.script, url, str(calls)]


def _calls(contender: Contender, url: str, calls: int, bytecode: str) -> dict[str, float]:
    command = _command(contender, url, calls)
    printed = subprocess.run(command, env=_variables(bytecode), capture_output=True, text=True, check=True).stdout
    measured: dict[str, float] = json.loads(printed)
    return measured


def _first_call(command: list[str], bytecode: str) -> float:
    """Processor milliseconds of a fresh process."""
    before = _children()
    subprocess.run(command, env=_variables(bytecode), check=True)
    return (_children() - before) * 1e3


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _instructions(command: list[str], bytecode: str) -> int:
    """Instructions of a process outside the kernel."""
    counting = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}", *command]
    variables = {**_variables(bytecode), "PYTHONHASHSEED": "0"}
    told = subprocess.run(counting, env=variables, capture_output=True, text=True, check=True).stderr
    found = _COLLECTED.search(told)
    assert found is not None, told
    return int(found[1])


_COLLECTED = re.compile(r"Collected : ([0-9]+)")
_SHORT, _LONG = 40, 360
"""Calls of a short run and of a long one; either makes a quarter more, to warm up."""


def main() -> None:
    """Measures all contenders in turn and prints two tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--only", default="")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    chosen = {name: one for name, one in _contenders().items() if name.startswith(options.only)}
    others = Others()
    with _server() as url, tempfile.TemporaryDirectory() as bytecode:
        calls = measure_calls(chosen, url, options.rounds, options.calls, bytecode)
        print(table_of_calls(calls))
        first = measure_first_calls(chosen, url, options.rounds, bytecode)
        print(f"\n{table_of_first_calls(first)}")
        counted = count_instructions(chosen, url, bytecode) if options.write_docs else ({}, {})
    if options.write_docs:
        client_page.write(Measured(calls, first, *counted), options.rounds, options.calls, others.share(), ROOT)


def measure_calls(
    chosen: Mapping[str, Contender], url: str, rounds: int, calls: int, bytecode: str
) -> dict[str, dict[str, float]]:
    """Processor and wall microseconds a call, by contender."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, contender in chosen.items():
            # capo's synchronous client waits 40 ms in each call, which makes its rounds long and changes nothing.
            measured[name].append(_calls(contender, url, max(1, calls // 20) if name == "capo" else calls, bytecode))
    return {
        name: {what: min(one[what] for one in found) for what in ("cpu", "wall")} for name, found in measured.items()
    }


def table_of_calls(calls: Mapping[str, Mapping[str, float]]) -> str:
    """For a terminal; `benchmarks/clients.py` reads it."""
    lines = [f"{'a call of 25 records':34}{'CPU us':>9}{'wall us':>9}{'boto3 is':>10}{'capo async is':>15}"]
    for name, one in calls.items():
        ratios = [
            f"{calls[peer]['cpu'] / one['cpu']:.1f}x" if peer in calls else "" for peer in ("boto3", "capo, async")
        ]
        lines.append(f"{name:34}{one['cpu']:9.0f}{one['wall']:9.0f}{ratios[0]:>10}{ratios[1]:>15}")
    return "\n".join(lines)


def measure_first_calls(chosen: Mapping[str, Contender], url: str, rounds: int, bytecode: str) -> dict[str, float]:
    """Processor milliseconds of import, client and first call, by contender."""
    found: dict[str, float] = {}
    for name in filter(chosen.__contains__, FIRST_CALLS):
        nothing = [_python(chosen[name].environment), "-c", "pass"]
        command = _command(chosen[name], url, 0)
        without = min(_first_call(nothing, bytecode) for _ in range(rounds))
        found[name] = min(_first_call(command, bytecode) for _ in range(2 * rounds)) - without
    return found


def table_of_first_calls(found: Mapping[str, float]) -> str:
    """For a terminal."""
    lines = [f"{'import, client, first call':34}{'CPU ms':>9}{'of boto3':>9}"]
    for name, milliseconds in found.items():
        share = f"{milliseconds / found['boto3']:.2f}" if "boto3" in found else ""
        lines.append(f"{name:34}{milliseconds:9.0f}{share:>9}")
    return "\n".join(lines)


def count_instructions(
    chosen: Mapping[str, Contender], url: str, bytecode: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Thousands of instructions a call, and millions of the first call, by contender."""
    calls: dict[str, float] = {}
    first: dict[str, float] = {}
    for name, contender in chosen.items():
        if name in FIRST_CALLS:
            nothing = _instructions([_python(contender.environment), "-c", "pass"], bytecode)
            first[name] = (_instructions(_command(contender, url, 0), bytecode) - nothing) / 1e6
        if name != "capo":
            short, long = (_instructions(_command(contender, url, count), bytecode) for count in (_SHORT, _LONG))
            calls[name] = (long - short) / ((_LONG - _SHORT) * 1.25) / 1000
    return calls, first


if __name__ == "__main__":
    main()
