"""`meterhouse serve` from its command line to its last request: how it starts, is told things, and stops."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from threading import Event
from typing import Final

import pytest

from meterhouse.wire.keys import SigningCredentials
from meterhouse.wire.signature import SignedRequest, sha256_hex
from meterhouse.wire.sigv4 import presign, sign_in_amz_headers
from tests.e2e import killing
from tests.e2e.killing import Batch, Load, Truth, journal_of
from tests.e2e.market import (
    BATCH_ONLY_KEYS,
    CATALOG,
    CUSTOMER,
    KEYS,
    LEGACY,
    SELLER,
    TEMPORARY_KEYS,
    TOKEN,
    now_seconds,
)
from tests.e2e.raw import RESOLVE, answer_on, connect, exchange, request
from tests.e2e.seller import REGION, Seller
from tests.e2e.serving import MEMORY, Server, run_meterhouse

NOW: Final = now_seconds() - 5
USAGE: Final = [{"Timestamp": NOW, "CustomerIdentifier": CUSTOMER, "Dimension": "users", "Quantity": 5}]
RESOLVING: Final = b'{"RegistrationToken": "token-of-the-legacy-product"}'


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept_alive", [True, False], ids=["connections kept", "a connection a call"])
def test_a_stop_under_load_loses_nothing(tmp_path: Path, kept_alive: bool) -> None:
    """Told to stop under load, the server answers all that it began, and exits 0; whoever comes later is refused.

    What was kept was answered, and after a restart it is there, once.
    """
    load, truth = Load(Random(9)), Truth()
    batches = load.batches(2000)
    truth.expect(batches)
    server = Server(tmp_path, catalog=killing.catalog())
    enough = Event()
    waiting: SimpleQueue[Batch] = SimpleQueue()
    for batch in batches:
        waiting.put(batch)

    def client() -> None:
        seller = Seller(server.port, KEYS)
        with seller, suppress(OSError, HTTPException, Empty):  # the connection has ended, between two requests
            while True:
                batch = waiting.get_nowait()
                truth.hear(batch, seller.batch(killing.PRODUCT, batch.request()))
                if len(truth.acknowledged) >= 100:
                    enough.set()
                if not kept_alive:
                    seller.hang_up()

    with server:
        with ThreadPoolExecutor(max_workers=8) as pool:
            running = [pool.submit(client) for _ in range(8)]
            assert enough.wait(60)
            assert server.stop() == 0
            for one in running:
                one.result()
        last = server.logged()[-1]
        assert (last["event"], last["requests_cut_off"]) == ("stopped", 0)
        rows = asyncio.run(journal_of(server.ledger))
        truth.check(rows)
        assert 100 <= len(rows) == len(truth.acknowledged) < len(batches)
        server.start()
        killing.send(server, batches[:200], truth, None)


def test_a_stop_waits_for_what_has_begun(tmp_path: Path) -> None:
    """A request half sent when the server is told to stop is still answered; idle connections end at once."""
    whole = request(RESOLVING, [RESOLVE])
    with Server(tmp_path, "--auth", "open", catalog=OPEN, data=MEMORY) as server:
        with connect(server.port) as idle, connect(server.port) as begun:
            begun.sendall(whole[:-5])
            assert exchange(server.port, whole).status == 200  # so the server has read what was sent before
            server.process.terminate()
            assert idle.recv(1) == b""
            with pytest.raises(OSError, match="refused"):
                connect(server.port)
            begun.sendall(whole[-5:])
            answer = answer_on(begun)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert server.ended() == 0


def test_a_second_signal_cuts_short(tmp_path: Path) -> None:
    """Whoever will not wait for a client that dribbles says it twice."""
    with (
        Server(tmp_path, "--auth", "open", catalog=OPEN, data=MEMORY) as server,
        connect(server.port) as begun,
        connect(server.port) as idle,
    ):
        begun.sendall(b"POST / HTTP/1.1\r\nX: ")
        assert exchange(server.port, request(RESOLVING, [RESOLVE])).status == 200
        server.process.send_signal(signal.SIGINT)
        assert idle.recv(1) == b""
        assert server.stop(signal.SIGINT) == 0


# --- connections ------------------------------------------------------------------------------------------------------

OPEN: Final = f'{CATALOG}\n[open]\naccount = "{SELLER}"\n'


def test_connections_are_kept(tmp_path: Path) -> None:
    """A connection serves request after request, refused ones and pipelined ones too, until it asks to be closed."""
    whole = request(RESOLVING, [RESOLVE])
    with Server(tmp_path, "--auth", "open", catalog=OPEN, data=MEMORY) as server, connect(server.port) as connection:
        for _ in range(3):
            connection.sendall(whole)
            assert answer_on(connection).status == 200
            connection.sendall(request(b"nonsense", [RESOLVE]))
            assert answer_on(connection).status == 400
        connection.sendall(request(RESOLVING, [RESOLVE, ("Connection", "close")]))
        assert answer_on(connection).headers["connection"] == "close"
        assert connection.recv(1) == b""


def test_every_address_of_a_name_is_served(tmp_path: Path) -> None:
    """`--host localhost` answers under that name, at the port that is told; health needs no token."""
    with Server(tmp_path, "--host", "localhost", data=MEMORY) as server:
        assert server.url == f"http://localhost:{server.port}"
        connection = HTTPConnection("localhost", server.port, timeout=60)
        connection.request("GET", "/_meterhouse/health")
        assert connection.getresponse().status == 200
        connection.close()


# --- signatures -------------------------------------------------------------------------------------------------------


def signed_in_query(port: int, keys: SigningCredentials) -> tuple[list[tuple[str, str]], str]:
    """Headers and target of a presigned request."""
    host = ("Host", f"127.0.0.1:{port}")
    about = SignedRequest("POST", [_bytes(host), _bytes(RESOLVE)], sha256_hex(RESOLVING))
    query = presign(about, keys, REGION, time.time_ns() // 1000, expires_seconds=60)
    return [RESOLVE], f"/?{query.decode()}"


def signed_in_headers(port: int, keys: SigningCredentials) -> tuple[list[tuple[str, str]], str]:
    """Headers and target of a request that is signed in X-Amz headers, and names its operation by Action."""
    named = [("Action", "ResolveCustomer"), ("Version", "2016-01-14")]
    covered = [_bytes(("Host", f"127.0.0.1:{port}")), *map(_bytes, named)]
    added = sign_in_amz_headers(
        SignedRequest("POST", covered, sha256_hex(RESOLVING)), keys, REGION, time.time_ns() // 1000
    )
    return [*named, *((name.decode(), value.decode()) for name, value in added)], "/"


def _bytes(header: tuple[str, str]) -> tuple[bytes, bytes]:
    return header[0].lower().encode(), header[1].encode()


@pytest.mark.parametrize("keys", [KEYS, TEMPORARY_KEYS], ids=["long-lived", "temporary"])
@pytest.mark.parametrize("signed", [signed_in_query, signed_in_headers])
def test_other_places_of_a_signature(
    strict: Server,
    signed: Callable[[int, SigningCredentials], tuple[list[tuple[str, str]], str]],
    keys: SigningCredentials,
) -> None:
    """A signature in the query, or in X-Amz headers, is accepted; over another body, or beside a second, it is not."""
    headers, target = signed(strict.port, keys)
    host = f"127.0.0.1:{strict.port}"
    sent = request(RESOLVING, headers, target=target, host=host)
    assert exchange(strict.port, sent).status == 200
    assert exchange(strict.port, sent.replace(b"legacy", b"Legacy")).code == "InvalidSignatureException"
    twice = request(RESOLVING, [*headers, ("Authorization", "AWS4-HMAC-SHA256 a=b")], target=target, host=host)
    assert exchange(strict.port, twice).code == "IncompleteSignatureException"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that judges signatures."""
    with Server(tmp_path_factory.mktemp("strict"), catalog=CATALOG, data=MEMORY) as server:
        yield server


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    """METERHOUSE_… variables count as their flags do; a flag wins; several Regions are parted by commas."""
    (tmp_path / "market.toml").write_text(OPEN)
    variables = {
        "METERHOUSE_CATALOG": "market.toml",
        "METERHOUSE_REGION": "eu-west-1,eu-west-2",
        "METERHOUSE_AUTH": "strict",
        "METERHOUSE_HOST": "192.0.2.1",
        "METERHOUSE_LOG_LEVEL": "error",
    }
    with Server(tmp_path, "--auth", "open", "--host", "127.0.0.1", data=MEMORY, environment=variables) as server:
        for region, code in (("eu-west-1", None), ("eu-west-2", None), ("us-east-1", "DisabledApiException")):
            with Seller(server.port, KEYS, region) as seller:
                assert (seller.call("ResolveCustomer", RESOLVING).code or None) == code
        assert exchange(server.port, request(RESOLVING, [RESOLVE])).status == 200, "the first Region is the default"
        assert not server.logged()


def test_regions_are_given_one_by_one(tmp_path: Path) -> None:
    """`--region` may be repeated; without it every well-formed Region is served."""
    rows = [
        (["--region", "us-east-1", "--region", "eu-west-1"], {"us-east-1": "", "eu-west-1": "", "eu-west-3": DISABLED}),
        (["--region", "us-east-1"], {"us-east-1": "", "eu-west-1": DISABLED}),
        ([], {"us-east-1": "", "eu-west-3": "", "us-gov-west-1": "", "US-EAST-1": "InvalidSignatureException"}),
    ]
    for options, codes in rows:
        with Server(tmp_path, *options, catalog=CATALOG, data=MEMORY) as server:
            for region, code in codes.items():
                with Seller(server.port, KEYS, region) as seller:
                    assert seller.call("ResolveCustomer", RESOLVING).code == code


DISABLED: Final = "DisabledApiException"

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - it is refused, that is the point
BAD_COMMANDS: Final[list[tuple[list[str], dict[str, str], str]]] = [
    (["serve", "--nothing"], {}, "Unknown option: --nothing."),
    (["serve", "surplus"], {}, '"surplus" is more than this command takes'),
    (["serve", "--port"], {}, "--port"),
    (["serve", "--port", "x"], {}, 'Invalid value for --port: unable to convert "x" into int.'),
    (["serve", "--port", "65536"], {}, "--port: 65536 is no port; 0 to 65535 can be given."),
    (["serve", "--port", "-1"], {}, "--port"),
    (["serve", "--auth", "maybe"], {}, 'Invalid value "maybe" for --auth. Choose from: "strict", "open".'),
    (["serve", "--clock", "sand"], {}, 'Invalid value "sand" for --clock. Choose from: "real", "test".'),
    (["serve", "--log-level", "loud"], {}, "--log-level"),
    (["serve", "--region", "us_east"], {}, "--region: 'us_east' is not of the form of a Region, such as us-east-1."),
    (
        ["serve", "--auth", "open", "--host", EVERYWHERE],
        {},
        f"--auth open on {EVERYWHERE} would let anyone who reaches this machine meter usage; add --open-to-network",
    ),
    (["serve", "--data", "file:ledger.db?mode=ro"], {}, "is a URI; give the name of a SQLite file, or 'memory'."),
    (["serve", "--data", "mysql://h/d"], {}, "--data: no ledger can lie at mysql://…; give a SQLite file"),
    (["serve", "--throttle", "nonsense"], {}, "--throttle: 'nonsense' is neither off nor aws, nor a TOML file"),
    (["serve", "--catalog", "none.toml"], {}, "--catalog: none.toml cannot be read: No such file or directory."),
    (["serve", "--catalog", "."], {}, "--catalog: . cannot be read: Is a directory."),
    (
        ["serve"],
        {"METERHOUSE_PORT": "x"},
        'Invalid value for METERHOUSE_PORT from env: unable to convert "x" into int.',
    ),
    (["serve"], {"METERHOUSE_REGION": "us-east-1,us"}, "--region: 'us' is not of the form of a Region"),
    (["serve"], {"METERHOUSE_CATALOG": "none.toml"}, "--catalog: none.toml cannot be read"),
    (["nothing"], {}, 'Unknown command "nothing".'),
]


@pytest.mark.parametrize(("arguments", "environment", "sentence"), BAD_COMMANDS)
def test_a_bad_command_line_is_refused(
    tmp_path: Path, arguments: list[str], environment: Mapping[str, str], sentence: str
) -> None:
    """A wrong option, value or variable gets one sentence that names it, and exit code 2; nothing is made."""
    ended = run_meterhouse(*arguments, folder=tmp_path, environment=environment)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("meterhouse: ")
    assert ended.stderr.count("\n") == 1
    assert sentence in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_ledger_in_memory_takes_no_wrong_key(tmp_path: Path) -> None:
    """A master key that is none is refused with every ledger, also with one that would need none."""
    key = {"METERHOUSE_MASTER_KEY": "abc"}
    ended = run_meterhouse("serve", "--data", MEMORY, "--port", "0", folder=tmp_path, environment=key)
    assert ended.returncode == 1
    assert ended.stderr.endswith("METERHOUSE_MASTER_KEY is not base64: it must hold 32 random bytes in base64.\n")


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_who_closes_a_stream_is_served(tmp_path: Path, closed: str) -> None:
    """A server whose standard error was closed serves all the same, and its log goes nowhere."""
    before = ("sh", "-c", f'exec "$@" {closed}', "sh")
    with Server(tmp_path, catalog=CATALOG, before=before) as server, Seller(server.port, KEYS) as seller:
        assert seller.call("ResolveCustomer", RESOLVING).code == ""


def test_a_port_or_host_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    """A port in use, or a host unknown, ends the start with one sentence and exit code 1, before anything is made."""
    with Server(tmp_path, data=MEMORY) as server:
        rows = [
            ("127.0.0.1", server.port, "another program already uses that port."),
            ("no.such.host.invalid", 0, "the host's name is not known."),
            ("192.0.2.1", 0, "this machine has no such address."),
        ]
        for host, port, why in rows:
            ended = run_meterhouse("serve", "--host", host, "--port", str(port), folder=tmp_path)
            assert (ended.returncode, ended.stdout) == (1, "")
            assert ended.stderr == f"meterhouse: Cannot listen on {host}:{port}: {why}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["server.log"]


# --- catalog ----------------------------------------------------------------------------------------------------------

LINES: Final = CATALOG.count("\n")
BAD_CATALOGS: Final = [
    ('[[products]\ncode = "x"', ": not TOML: Expected ']]' at the end of an array declaration (at line 1"),
    (f'{CATALOG}[[product]]\ncode = "x"', f', line {LINES + 1}, product: unknown; did you mean "products"?'),
    (
        f'{CATALOG}[[agreements]]\nproduct = "no"\nbuyer = "444455556666"',
        f', line {LINES + 2}, [[agreements]] no. 10, product: no product has the code "no"',
    ),
    (
        f'{CATALOG}[[products]]\ncode = "{LEGACY}"\nname = "x"\nseller = "{SELLER}"\ntype = "saas"',
        f", line {LINES + 2}, [[products]] no. 5, code: the same as that of [[products]] no. 1",
    ),
    (
        CATALOG.replace('price = "0.25"', "price = 0.25", 1),
        ", line 11, [[products]] no. 1, [[products.dimensions]] no. 1, price: ",
    ),
    (CATALOG.replace("suspended = true", 'suspended = "yes"'), "[[accounts]] no. 1, suspended: "),
]


@pytest.mark.parametrize(("text", "sentence"), BAD_CATALOGS)
def test_a_bad_catalog_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """A wrong catalog gets one sentence with file, line, table and key, and exit code 2; no ledger is begun for it."""
    (tmp_path / "catalog.toml").write_text(text)
    ended = run_meterhouse("serve", "--port", "0", "--catalog", "catalog.toml", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("meterhouse: catalog.toml")
    assert ended.stderr.count("\n") == 1
    assert sentence in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.toml"]


def test_a_bad_catalog_leaves_a_ledger_as_it_was(tmp_path: Path) -> None:
    """A server that was served, and now is given a wrong catalog, does not start; given the right one it goes on."""
    with Server(tmp_path, catalog=CATALOG) as server:
        with Seller(server.port, KEYS) as seller:
            first = seller.batch(LEGACY, USAGE).body
        server.stop()
        server.catalog.write_text(CATALOG.replace('unit = "GB"', 'unit = ""'))
        with pytest.raises(AssertionError, match="exit code 2"):
            server.start()
        server.catalog.write_text(CATALOG)
        server.start()
        with Seller(server.port, KEYS) as seller:
            assert seller.batch(LEGACY, USAGE).body == first


def test_the_catalog_is_read_again_on_sighup(tmp_path: Path) -> None:
    """SIGHUP loads what changed in the file; a wrong file is refused in the log, and nothing of it is applied."""
    more = CATALOG.replace(
        'price = "0.001"', 'price = "0.001"\n[[products.dimensions]]\nkey = "seats"\nunit = "S"\nprice = "1"'
    )
    seats = [{**USAGE[0], "Dimension": "seats"}]
    token = '\n[[registration_tokens]]\nagreement = "agmt-legacy"\n'
    with Server(tmp_path, catalog=CATALOG) as server, Seller(server.port, KEYS) as seller:
        assert seller.batch(LEGACY, seats).code == "InvalidUsageDimensionException"
        server.catalog.write_text(more + token)
        server.hang_up()
        shown = server.next_line()  # so it is loaded
        assert seller.batch(LEGACY, seats).status == 200
        made = shown.removeprefix("Registration token of agmt-legacy, shown once: ")
        assert seller.call("ResolveCustomer", {"RegistrationToken": made}).body["ProductCode"] == LEGACY
        server.catalog.write_text(more.replace('key = "seats"', 'key = "chairs"') + token + "\n[[nothing]]\n" + token)
        server.hang_up()
        while server.logged()[-1]["event"] != "catalog_refused":
            assert seller.batch(LEGACY, seats).status == 200
        assert "catalog.toml" in server.logged()[-1]["reason"]
        server.catalog.write_text(more + token + token)
        server.hang_up()
        assert server.next_line() != shown
        assert seller.batch(LEGACY, seats).status == 200
        assert server.stop() == 0
        assert made not in (tmp_path / "server.log").read_text()


def test_what_is_made_up_is_shown_once(tmp_path: Path) -> None:
    """A token and a secret that the file leaves open are printed at the first start, work, and are not shown again."""
    text = CATALOG + (
        '\n[[registration_tokens]]\nagreement = "agmt-legacy"\n'
        f'\n[[credentials]]\naccess_key_id = "AKIDMADEUP"\naccount = "{SELLER}"\n'
    )
    with Server(tmp_path, catalog=text) as server:
        token = server.said[0].removeprefix("Registration token of agmt-legacy, shown once: ")
        secret = server.said[1].removeprefix("Secrets of AKIDMADEUP, shown once: secret access key ")
        with Seller(server.port, SigningCredentials("AKIDMADEUP", secret)) as seller:
            assert seller.call("ResolveCustomer", {"RegistrationToken": token}).status == 200
        server.stop()
        server.start()
        assert not server.said
        with Seller(server.port, SigningCredentials("AKIDMADEUP", secret)) as seller:
            assert seller.call("ResolveCustomer", {"RegistrationToken": token}).status == 200
        server.stop()
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert token.encode() not in kept
        assert secret.encode() not in kept


def test_logs_tell_no_secret(tmp_path: Path) -> None:
    """Whatever is called, however it is refused, the log has its request id, and no secret, token or signature."""
    with Server(tmp_path, "--log-level", "debug", catalog=CATALOG, data=MEMORY) as server:
        ids = set()
        for keys in (KEYS, TEMPORARY_KEYS, BATCH_ONLY_KEYS, SigningCredentials(KEYS.access_key_id, "wrong-secret")):
            with Seller(server.port, keys) as seller:
                for call in (
                    RESOLVING,
                    b'{"RegistrationToken": "a-token-unknown"}',
                    b"{}",
                    b'{"RegistrationToken": 5}',
                ):
                    ids.add(seller.call("ResolveCustomer", call).headers["x-amzn-requestid"])
        server.stop()
        log = (tmp_path / "server.log").read_text()
        assert {line["request_id"] for line in server.logged() if "request_id" in line} <= ids
        assert [line for line in server.logged() if line["event"] == "refused"]
        for secret in (KEYS.secret_access_key, "wrong-secret", TEMPORARY_KEYS.session_token, TOKEN, "a-token-unknown"):
            assert secret is not None
            assert secret not in log
        assert "Signature=" not in log
