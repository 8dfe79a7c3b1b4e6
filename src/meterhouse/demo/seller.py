"""The seller's own software, as a seller would write it: a web page for new buyers, and stock boto3.

Nothing here knows that it does not talk to AWS: the endpoint and the keys are in the environment.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from meterhouse.demo.day import Record

TOKEN_FIELD: Final = "x-amzn-marketplace-token"
"""What AWS Marketplace calls the registration token in the form it sends."""

Answer = dict[str, Any]
Refusal = ClientError
NoAnswer = BotoCoreError


class Seller:
    """Calls the two operations that a SaaS seller needs. The client is made when it is first used."""

    def __init__(self) -> None:
        self.customers: list[Answer] = []
        """Who has registered, as ResolveCustomer described them."""
        self._client: Any = None

    def connect(self) -> None:
        """Makes the client, by what the environment says."""
        self._client = boto3.client("meteringmarketplace")

    def welcome(self, token: str) -> Answer:
        """Finds out who a new buyer is."""
        customer: Answer = self._client.resolve_customer(RegistrationToken=token)
        del customer["ResponseMetadata"]
        self.customers.append(customer)
        return customer

    def meter(self, records: Sequence[Record], product_code: str | None = None) -> list[Answer]:
        """Sends a batch; the results in the order of the records. Raises Refusal where the whole batch is refused."""
        product = {} if product_code is None else {"ProductCode": product_code}
        answer = self._client.batch_meter_usage(UsageRecords=list(records), **product)
        results: list[Answer] = answer["Results"]
        return results


@contextmanager
def registration_page(seller: Seller) -> Iterator[str]:
    """The address of the seller's page for new buyers, for as long as it is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _registration(seller.welcome)) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/register"
        server.shutdown()


def _registration(welcome: Callable[[str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Registration(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            form = parse_qs(self.rfile.read(length).decode())
            try:
                customer = welcome(form.get(TOKEN_FIELD, [""])[0])
            except (Refusal, NoAnswer) as error:
                self._answer(400, f"You could not be registered: {error}")
            else:
                self._answer(200, f"Welcome, customer {customer['CustomerIdentifier']}!")

        def _answer(self, status: int, text: str) -> None:
            page = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            """Says nothing: the demo tells what happens."""

    return Registration
