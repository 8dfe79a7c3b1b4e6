"""botocore as the judge of the client: a client of its own that calls nobody, and its parser."""

from functools import cache
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.parsers import create_parser

from meterhouse.client.transport import HttpAnswer

URL: Final = "http://metering.test:8750"


@cache
def _session() -> Any:
    session = botocore.session.Session()
    session.set_config_variable("config_file", "/nonexistent")
    session.set_config_variable("credentials_file", "/nonexistent")
    return session


@cache
def botocore_client(session_token: str | None = None) -> Any:
    """A client with the keys that ours has in the tests, perhaps temporary ones."""
    return _session().create_client(
        "meteringmarketplace",
        region_name="us-east-1",
        endpoint_url=URL,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="a secret that signs",
        aws_session_token=session_token,
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )


@cache
def model_of(operation: str) -> Any:
    """An operation as the API's model has it."""
    return botocore_client().meta.service_model.operation_model(operation)


def parsed_by_botocore(operation: str, given: HttpAnswer) -> Any:
    """What botocore's parser makes of the same bytes."""
    parser = create_parser("json")
    shape = model_of(operation).output_shape
    return parser.parse(
        {"status_code": given.status, "headers": dict(given.headers), "body": given.body, "context": {}}, shape
    )
