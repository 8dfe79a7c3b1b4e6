"""Make the calls of a plan with boto3 as software on a workload does: it is told no keys, and finds them by itself.

Runs in a stranger's environment; tests/e2e/workloads.py says what a plan is. Prints what came of each call, and by
which of its providers the SDK found its credentials.
"""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

plan: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
session = boto3.Session()
if plan["metadata"] is not None:
    # This SDK is older than the variable that names a metadata service: it is told where one is by hand.
    provider = session._session.get_component("credential_provider").get_provider("iam-role")
    provider._role_fetcher._base_url = plan["metadata"] + "/"


def outcome_of(call: dict[str, Any]) -> dict[str, Any]:
    """Make a call; return its answer, or how the service or the SDK said no."""
    settings = {"region_name": plan["region"], "endpoint_url": plan["endpoint"]}
    try:
        client = session.client("meteringmarketplace", **settings, config=Config(retries={"max_attempts": 0}))
        answer: dict[str, Any] = getattr(client, call["method"])(**call["request"])
    except ClientError as refused:
        return {"code": refused.response["Error"]["Code"], "class": type(refused).__name__}
    except BotoCoreError as unsaid:
        return {"unsaid": type(unsaid).__name__}
    del answer["ResponseMetadata"]
    return answer


outcomes = [outcome_of(call) for call in plan["calls"]]
found_by = None if "unsaid" in outcomes[0] else session.get_credentials().method
found = {"found_by": found_by, "outcomes": outcomes}
json.dump(found, sys.stdout, default=lambda moment: moment.timestamp())
