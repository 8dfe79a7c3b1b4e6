"""Bad input of every kind over real sockets: each gets its 4xx at once, and the server stays as it was."""

import json
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from tests.e2e.market import CATALOG, CUSTOMER, KEYS, LEGACY, SELLER, TOKEN, now_seconds
from tests.e2e.raw import BATCH, RESOLVE, Headers, RawAnswer, answer_on, connect, exchange, request
from tests.e2e.seller import Seller
from tests.e2e.serving import MEMORY, Server

OPEN: Final = f'{CATALOG}\n[open]\naccount = "{SELLER}"\n'
NOW: Final = now_seconds() - 5
SERIALIZATION: Final = "SerializationException"
VALIDATION: Final = "ValidationException"
UNKNOWN: Final = "UnknownOperationException"

Send = Callable[..., RawAnswer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for no signature, so that what is sent need not be right in any way."""
    folder = tmp_path_factory.mktemp("open")
    with Server(folder, "--auth", "open", catalog=OPEN, data=MEMORY) as running:
        yield running
        assert not [line for line in running.logged() if line["event"] == "bug" or line["level"] == "error"]


def batch(**members: Any) -> bytes:
    """A batch of one record, right but for these members of the record."""
    record = {"Timestamp": NOW, "CustomerIdentifier": CUSTOMER, "Dimension": "users", "Quantity": 5, **members}
    return json.dumps({"ProductCode": LEGACY, "UsageRecords": [record]}).encode()


def with_text(member: str, text: str | bytes) -> bytes:
    """The same with a member's value as it is written here, JSON or not."""
    written = text if isinstance(text, bytes) else text.encode()
    return batch(**{member: "@@"}).replace(b'"@@"', written)


def beside(text: str | bytes) -> bytes:
    """The same with a member that no operation knows."""
    return with_text("Nobody", text)


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    """Lists or objects within one another."""
    return opening * depth + "0" + closing * depth


def of_size(byte_count: int) -> bytes:
    """A right batch of exactly so many bytes."""
    right = beside('"@@@"')
    return right.replace(b"@@@", b"x" * (byte_count - len(right) + 3))


GOOD: Final = [
    ("as it should be", batch()),
    ("an unknown member", beside('{"a": [1.5, null, {"b": "c"}]}')),
    ("a null member", batch(LicenseArn=None)),
    ("an empty name beside another", batch(CustomerIdentifier="", CustomerAWSAccountId="444455556666")),
    ("a member twice: the last counts", with_text("Quantity", '"x", "Quantity": 5')),
    ("64 levels", beside(nested(61))),
    ("64 levels of objects", beside(nested(61, '{"a":', "}"))),
    ("a number of 20,000 digits that nobody knows", beside("9" * 20_000)),
    ("an exponent that nobody knows", beside("1e99999")),
    ("brackets in a string", beside(json.dumps("[" * 100_000 + '"\\' + "{" * 100_000))),
    ("a timestamp with decimals", with_text("Timestamp", f"{NOW}.0")),
    ("a timestamp with an exponent", with_text("Timestamp", f"{NOW / 10}e1")),
    ("one byte less than a mebibyte", of_size(1_048_575)),
    ("white space", b" \r\n\t" + batch() + b"\n" * 1000),
    ("escapes", batch().replace(b"users", b"\\u0075sers").replace(b"Dimension", b"Dim\\u0065nsion")),
]

BAD: Final = [
    ("nothing", b"", VALIDATION),
    ("white space alone", b"  ", SERIALIZATION),
    ("null", b"null", SERIALIZATION),
    ("a list", b"[]", SERIALIZATION),
    ("a string", b'"UsageRecords"', SERIALIZATION),
    ("a number", b"5", SERIALIZATION),
    ("an object cut off", batch()[:-2], SERIALIZATION),
    ("two objects", batch() * 2, SERIALIZATION),
    ("a comma too many", batch()[:-1] + b",}", SERIALIZATION),
    ("single quotes", batch().replace(b'"', b"'"), SERIALIZATION),
    ("a comment", b"/* */" + batch(), SERIALIZATION),
    ("a line break in a string", batch().replace(b"users", b"us\ners"), SERIALIZATION),
    ("NUL in a string", batch().replace(b"users", b"us\0ers"), SERIALIZATION),
    ("a bad escape", batch().replace(b"users", b"us\\xers"), SERIALIZATION),
    ("a byte order mark", b"\xef\xbb\xbf" + batch(), SERIALIZATION),
    ("UTF-16", batch().decode().encode("utf-16"), SERIALIZATION),
    ("a form", b"Action=BatchMeterUsage&Version=2016-01-14", SERIALIZATION),
    ("bytes that are no text", bytes(range(256)), SERIALIZATION),
    ("half a character", batch().replace(b"users", b"us\xc3ers"), SERIALIZATION),
    ("an overlong character", batch().replace(b"users", b"us\xc0\xafers"), SERIALIZATION),
    ("half a character that nobody knows", beside(b'"\xff"'), SERIALIZATION),
    ("a lone surrogate", batch().replace(b"users", b"us\\ud800ers"), SERIALIZATION),
    ("a lone surrogate that nobody knows", beside('"\\udc00"'), SERIALIZATION),
    ("a surrogate in UTF-8", batch().replace(b"users", b"us\xed\xa0\x80ers"), SERIALIZATION),
    ("65 levels", beside(nested(62)), SERIALIZATION),
    ("100,000 levels", beside(nested(100_000)), SERIALIZATION),
    ("100,000 levels of objects", beside(nested(100_000, '{"a":', "}")), SERIALIZATION),
    ("100,000 levels of a known member", with_text("Quantity", nested(100_000)), SERIALIZATION),
    ("100,000 levels that never close", b"[" * 100_000, SERIALIZATION),
    ("100,000 levels cut off", b'{"a":' * 100_000, SERIALIZATION),
    ("NaN", with_text("Quantity", "NaN"), SERIALIZATION),
    ("Infinity", with_text("Timestamp", "Infinity"), SERIALIZATION),
    ("-Infinity that nobody knows", beside("[-Infinity]"), SERIALIZATION),
    ("2^63", batch(Quantity=2**63), SERIALIZATION),
    ("-2^63 - 1", batch(Quantity=-(2**63) - 1), SERIALIZATION),
    ("20,000 digits", with_text("Quantity", "9" * 20_000), SERIALIZATION),
    ("a timestamp of 20,000 digits", with_text("Timestamp", "9" * 20_000), SERIALIZATION),
    ("a timestamp of 10^99999", with_text("Timestamp", "1e99999"), SERIALIZATION),
    ("a timestamp after the year 9999", with_text("Timestamp", "253402300800"), SERIALIZATION),
    ("a timestamp before the year 1", with_text("Timestamp", "-62135596801"), SERIALIZATION),
    ("a timestamp in words", batch(Timestamp="yesterday"), SERIALIZATION),
    ("a number with a leading zero", with_text("Quantity", "05"), SERIALIZATION),
    ("5.0", with_text("Quantity", "5.0"), SERIALIZATION),
    ("5e0", with_text("Quantity", "5e0"), SERIALIZATION),
    ("a quantity as a string", batch(Quantity="5"), SERIALIZATION),
    ("a quantity as a truth value", batch(Quantity=True), SERIALIZATION),
    ("a decimal as a number", batch(Quantity=None, QuantityAsDecimal=5), SERIALIZATION),
    ("a dimension as a number", batch(Dimension=5), SERIALIZATION),
    ("a customer as an object", batch(CustomerIdentifier={"a": 1}), SERIALIZATION),
    ("allocations as an object", batch(UsageAllocations={}), SERIALIZATION),
    ("a record as a string", b'{"ProductCode": "x", "UsageRecords": ["x"]}', SERIALIZATION),
    ("records as an object", b'{"ProductCode": "x", "UsageRecords": {}}', SERIALIZATION),
    ("a product as a list", b'{"ProductCode": ["x"], "UsageRecords": []}', SERIALIZATION),
    ("a null in the list", b'{"ProductCode": "x", "UsageRecords": [null]}', VALIDATION),
    ("100,000 records", b'{"ProductCode": "x", "UsageRecords": [' + b"{}," * 99_999 + b"{}]}", VALIDATION),
    ("2^63 - 1", batch(Quantity=2**63 - 1), VALIDATION),
    ("a product code of 256 characters", batch().replace(LEGACY.encode(), b"x" * 256), VALIDATION),
    ("a mebibyte", of_size(1_048_576), "RequestEntityTooLargeException"),
    ("one byte more than a mebibyte", of_size(1_048_577), "RequestEntityTooLargeException"),
    ("9 mebibytes that are no JSON", b"x" * 9_437_184, "RequestEntityTooLargeException"),
]


def check_form(answer: RawAnswer) -> None:
    """What every answer to `POST /` has, errors too."""
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert len(answer.headers["x-amzn-requestid"]) == 36
    assert answer.headers.get("x-amzn-errortype") == answer.code
    if answer.code is not None:
        assert set(answer.said()) == {"__type", "message"}


@pytest.mark.parametrize("body", [row[1] for row in GOOD], ids=[row[0] for row in GOOD])
def test_what_only_looks_bad_is_accepted(server: Server, body: bytes) -> None:
    """Whatever a client may send is accepted, however strange it looks."""
    answer = exchange(server.port, request(body))
    assert answer.status == 200, answer.body
    check_form(answer)
    results = answer.said()["Results"]
    assert isinstance(results, list)
    assert results[0]["Status"] == "Success"


@pytest.mark.parametrize(("body", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_body_is_refused(server: Server, body: bytes, code: str) -> None:
    """Each bad body gets its own error, in the form that every SDK reads, short whatever was sent."""
    answer = exchange(server.port, request(body))
    assert (answer.status, answer.code) == (413 if code.startswith("RequestEntity") else 400, code)
    check_form(answer)
    assert len(answer.body) < 1_100_000


def test_every_breach_is_listed(server: Server) -> None:
    """All constraint breaches of a request are told in one message, in Coral's form."""
    body = {"ProductCode": "ä", "UsageRecords": [{"Dimension": "", "Quantity": -1, "CustomerAWSAccountId": "x"}, None]}
    answer = exchange(server.port, request(json.dumps(body).encode()))
    assert answer.code == VALIDATION
    message = answer.said()["message"]
    assert isinstance(message, str)
    breaches = [
        ("Value null at 'usageRecords.1.member.timestamp'", "Member must not be null"),
        ("Value '' at 'usageRecords.1.member.dimension'", "Member must have length greater than or equal to 1"),
        ("Value '' at 'usageRecords.1.member.dimension'", r"Member must satisfy regular expression pattern: [\s\S]+"),
        ("Value '-1' at 'usageRecords.1.member.quantity'", "Member must have value greater than or equal to 0"),
        (
            "Value 'x' at 'usageRecords.1.member.customerAWSAccountId'",
            "Member must satisfy regular expression pattern: ^[0-9]+$",
        ),
        ("Value null at 'usageRecords.2.member'", "Member must not be null"),
        ("Value 'ä' at 'productCode'", "Member must satisfy regular expression pattern: ^[-a-zA-Z0-9/=:_.@]*$"),
    ]
    count, _, told = message.partition(" validation errors detected: ")
    assert int(count) == len(breaches)
    listed = [f"{value} failed to satisfy constraint: {constraint}" for value, constraint in breaches]
    assert sorted(told.split("; ")) == sorted(listed)


VERSION: Final = ("Version", "2016-01-14")
NAMED: Final[list[tuple[str, Headers, str, str | None]]] = [
    ("by target", [RESOLVE], "/", None),
    ("by target in any case", [("x-AMZ-target", RESOLVE[1])], "/", None),
    ("by headers", [("Action", "ResolveCustomer"), VERSION], "/", None),
    ("by the query", [], "/?Action=ResolveCustomer&Version=2016-01-14", None),
    ("by one of each", [VERSION], "/?Action=ResolveCustomer", None),
    ("the target wins", [RESOLVE, ("Action", "BatchMeterUsage"), VERSION], "/", None),
    ("as a form", [RESOLVE, ("Content-Type", "application/x-www-form-urlencoded")], "/", None),
    ("as text in another charset", [RESOLVE, ("Content-Type", 'text/plain; charset="koi8-r"')], "/", None),
    ("by an absolute target", [RESOLVE], "http://example.org/", None),
    ("with a query beside it", [RESOLVE], "/?a=b&%ff", None),
    ("by nothing", [], "/", UNKNOWN),
    ("by an action without a version", [("Action", "ResolveCustomer")], "/", UNKNOWN),
    ("by another version", [("Action", "ResolveCustomer"), ("Version", "2017-01-14")], "/", UNKNOWN),
    ("by another service's target", [("X-Amz-Target", "AWSMPEntitlementService.ResolveCustomer")], "/", UNKNOWN),
    ("without the service", [("X-Amz-Target", "ResolveCustomer")], "/", UNKNOWN),
    ("in lower case", [("X-Amz-Target", "AWSMPMeteringService.resolvecustomer")], "/", UNKNOWN),
    ("by an empty target", [("X-Amz-Target", ""), ("Action", "ResolveCustomer"), VERSION], "/", UNKNOWN),
    ("by a target of 60,000 letters", [("X-Amz-Target", "A" * 60_000)], "/", UNKNOWN),
]


@pytest.mark.parametrize(("headers", "target", "code"), [row[1:] for row in NAMED], ids=[row[0] for row in NAMED])
def test_an_operation_is_named(server: Server, headers: Headers, target: str, code: str | None) -> None:
    """An operation is named by its target or by Action and Version; anything else is an unknown operation."""
    body = json.dumps({"RegistrationToken": TOKEN}).encode()
    answer = exchange(server.port, request(body, headers, target=target))
    assert answer.code == code
    check_form(answer)


ELSEWHERE: Final = [
    *((method, "/", 405) for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO", "X-y")),
    *((method, "/metering", 404) for method in ("GET", "POST", "DELETE", "FOO")),
    ("POST", "//", 404),
    ("POST", "/%2e%2e/etc/passwd", 404),
    ("POST", "/" + "a" * 60_000, 404),
    ("GET", "/_meterhouse", 404),
]


@pytest.mark.parametrize(("method", "target", "status"), ELSEWHERE, ids=[f"{row[0]} {row[1][:9]}" for row in ELSEWHERE])
def test_nothing_is_elsewhere(server: Server, method: str, target: str, status: int) -> None:
    """Another method is 405 and says which is allowed, another path 404; both in a few words of JSON."""
    answer = exchange(server.port, request(batch(), method=method, target=target), method)
    assert answer.status == status
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)
    assert answer.headers["content-type"] == "application/json"
    assert method == "HEAD" or answer.said()["message"]


NO_HTTP: Final = [
    ("a handshake of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("words", b"hello, is anybody there?\r\n\r\n", 400),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400),
    ("HTTP/3.0", b"POST / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
    ("a header without a colon", b"POST / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n", 400),
    ("a header with NUL", b"POST / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
    ("two hosts", b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n", 400),
    ("a length that is no number", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: two\r\n\r\n{}", 400),
    ("a negative length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -2\r\n\r\n{}", 400),
    ("a length of 30 digits", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n{}", 400),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400),
    (
        "a length and chunks",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("a chunk that is no number", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ("a tunnel", b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", 400),
    ("one long header", b"POST / HTTP/1.1\r\nX: " + b"a" * 1_000_000, 431),
    ("100,000 headers", b"POST / HTTP/1.1\r\n" + b"X: a\r\n" * 100_000, 431),
    ("one long target", b"POST /" + b"a" * 1_000_000, 431),
    ("one long method", b"A" * 1_000_000, 400),
]


@pytest.mark.parametrize(("sent", "status"), [row[1:] for row in NO_HTTP], ids=[row[0] for row in NO_HTTP])
def test_what_is_no_http_is_refused(server: Server, sent: bytes, status: int) -> None:
    """What cannot be read as a request is told so, in a few words of JSON, and the connection ends."""
    answer = exchange(server.port, sent)
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.said()["message"]


def test_a_refusal_leaves_the_connection_usable(server: Server) -> None:
    """After a refused request the same connection goes on, request after request."""
    bad = [body for _, body, code in BAD if code in (SERIALIZATION, VALIDATION)]
    with connect(server.port) as connection:
        for body in bad:
            connection.sendall(request(body))
            assert answer_on(connection).status == 400
            connection.sendall(request(batch()))
            assert answer_on(connection).status == 200


def test_slow_clients_stop_nobody(server: Server) -> None:
    """While hundreds of connections dribble heads and bodies, a seller is served as ever."""
    starts = [b"P", b"POST / HTTP/1.1\r\nX-Slow: a", b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{", b""]
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(server.port)) for _ in range(400)]
        for number, connection in enumerate(slow):
            connection.sendall(starts[number % len(starts)])
        with Seller(server.port, KEYS) as seller:
            for turn in range(20):
                for number, connection in enumerate(slow):
                    connection.sendall(b"a" if (number + turn) % 2 and number % len(starts) in (1, 2) else b"")
                assert seller.call("BatchMeterUsage", batch()).status == 200


def test_a_large_bad_body_stops_nobody(server: Server) -> None:
    """While one client's body of nothing but breaches is judged, another is served, request after request."""
    breaches = b'{"UsageRecords": [{"UsageAllocations": [{"Tags": [' + b"{}," * 299_999 + b"{}]}]}]}"
    with connect(server.port) as large, connect(server.port) as small:
        large.sendall(request(breaches))
        served = 0
        while not select.select([large], [], [], 0)[0]:
            small.sendall(request(batch()))
            assert answer_on(small).status == 200
            served += 1
        assert answer_on(large).code == VALIDATION
    assert served > 20


def test_bad_input_leaves_nothing_behind(server: Server) -> None:
    """However often bad input comes, the server's memory stays within a few megabytes of what it was."""

    def all_of_it() -> None:
        for _, body, _ in BAD:
            exchange(server.port, request(body))
        for _, sent, _ in NO_HTTP:
            exchange(server.port, sent)

    all_of_it()
    before = server.resident_bytes()
    for _ in range(3):
        all_of_it()
    assert server.resident_bytes() - before < 16_000_000
    assert exchange(server.port, request(batch())).status == 200


def test_strange_names_leave_nothing_behind(server: Server) -> None:
    """Names made up anew in every request are not remembered."""

    def refused(number: int) -> None:
        name = f"{number:08}" * 30
        record = {"Timestamp": NOW, "CustomerIdentifier": name, "Dimension": name, "Quantity": 5}
        with_names = json.dumps({"ProductCode": LEGACY, "UsageRecords": [record] * 25}).encode()
        connection.sendall(
            request(with_names, [BATCH, ("Authorization", f"AWS4-HMAC-SHA256 Credential={name}/a/b/c/d")])
        )
        assert answer_on(connection).status == 400

    with connect(server.port) as connection:
        for number in range(500):
            refused(number)
        before = server.resident_bytes()
        for number in range(500, 3000):
            refused(number)
    assert server.resident_bytes() - before < 8_000_000
