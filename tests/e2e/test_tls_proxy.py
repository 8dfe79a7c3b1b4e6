"""Behind a reverse proxy that speaks TLS: what docs/how-to/tls.md says must be so, is so."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.control import TOKEN
from tests.e2e.market import CATALOG, CUSTOMER, KEYS, LEGACY, now_seconds
from tests.e2e.serving import PATIENCE_SECONDS, Server, run_meterhouse

NAME: Final = "127.0.0.1"


def make_certificate(folder: Path) -> Path:
    """A certificate of its own authority for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(NAME))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "proxy.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return pem


class Proxy:
    """Ends TLS and passes on, byte for byte, but for what it adds to or changes in a request's head."""

    def __init__(self, port: int, pem: Path, *, keeps_host: bool) -> None:
        self._port = port
        self._keeps_host = keeps_host
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(pem)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its address."""
        self._thread.start()
        self._ready.wait(PATIENCE_SECONDS)
        try:
            yield self.url
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._pass_on, NAME, 0, ssl=self._tls)
        self.url = f"https://{NAME}:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        async with server:
            await self._stop.wait()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request; then the connection is closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head[1:-2])
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        kept = [line for line in head[1:-2] if self._keeps_host or not line.lower().startswith(b"host:")]
        added = [b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https", b"Via: 1.1 proxy", b"Connection: close"]
        if not self._keeps_host:
            added.append(b"Host: upstream")
        beyond, behind = await asyncio.open_connection(NAME, self._port)
        kept = [line for line in kept if not line.lower().startswith(b"connection:")]
        behind.write(b"\r\n".join([head[0], *kept, *added]) + b"\r\n\r\n" + body)
        writer.write(await beyond.read())
        for one in (behind, writer):
            await one.drain()
            one.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that verifies signatures, and needs the admin token."""
    folder = tmp_path_factory.mktemp("proxied")
    with Server(folder, catalog=CATALOG, environment={"METERHOUSE_ADMIN_TOKEN": TOKEN}) as started:
        yield started


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The proxy's certificate and key."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def meter(url: str, pem: Path) -> Any:
    """One call of boto3's."""
    client = boto3.client(
        "meteringmarketplace",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEYS.access_key_id,
        aws_secret_access_key=KEYS.secret_access_key,
        verify=str(pem),
        config=Config(retries={"total_max_attempts": 1}),
    )
    record = {"Timestamp": now_seconds(), "CustomerIdentifier": CUSTOMER, "Dimension": "users", "Quantity": 3}
    return client.batch_meter_usage(ProductCode=LEGACY, UsageRecords=[record])


def test_a_proxy_that_keeps_the_host_is_not_noticed(server: Server, pem: Path) -> None:
    """Signatures hold and the command line works through TLS, whatever headers the proxy adds."""
    with Proxy(server.port, pem, keeps_host=True).running() as url:
        assert meter(url, pem)["Results"][0]["Status"] == "Success"
        environment = {"METERHOUSE_URL": url, "METERHOUSE_ADMIN_TOKEN": TOKEN, "SSL_CERT_FILE": str(pem)}
        done = run_meterhouse("record", "totals", folder=server.folder, environment=environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert "users" in done.stdout


def test_a_proxy_that_changes_the_host_breaks_signatures(server: Server, pem: Path) -> None:
    """Under another Host no signature is what it was, and the client is told so."""
    with Proxy(server.port, pem, keeps_host=False).running() as url:
        with pytest.raises(ClientError) as refused:
            meter(url, pem)
        assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_an_unknown_certificate_is_one_sentence(server: Server, pem: Path) -> None:
    """The command line trusts no certificate that nobody vouches for."""
    with Proxy(server.port, pem, keeps_host=True).running() as url:
        environment = {"METERHOUSE_URL": url, "METERHOUSE_ADMIN_TOKEN": TOKEN}
        done = run_meterhouse("record", "totals", folder=server.folder, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"meterhouse: {url} cannot be reached: ")
    assert "certificate" in done.stderr
    assert done.stderr.count("\n") == 1
