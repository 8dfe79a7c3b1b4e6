"""Make the calls of a plan with boto3, of whatever age, or with aiobotocore, and print what came of each.

Runs in a stranger's environment and uses whichever SDK is there; tests/e2e/strangers.py says what a plan is.
"""

import asyncio
import inspect
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

try:
    # Found in the environment of one stranger alone.
    from aiobotocore.session import get_session  # type: ignore[import-not-found]
except ImportError:
    import boto3

    SDK = "boto3"
else:
    SDK = "aiobotocore"


async def client_of(stack: AsyncExitStack, call: dict[str, Any], endpoint: str | None) -> Any:
    """Return a client that signs with the call's keys, its headers changed on the way out where the call says so."""
    settings = {"region_name": call["region"], "endpoint_url": endpoint, **call["keys"]}
    if SDK == "boto3":
        client = boto3.client("meteringmarketplace", **settings)
    else:
        client = await stack.enter_async_context(get_session().create_client("meteringmarketplace", **settings))

    def change(request: Any, **_: Any) -> None:
        for name, value in call["headers"].items():
            del request.headers[name]
            if value is not None:
                request.headers[name] = value

    client.meta.events.register("before-send", change)
    return client


async def outcome_of(client: Any, call: dict[str, Any]) -> dict[str, Any]:
    """Make a call; return its answer, or how the SDK said no."""
    try:
        answer = getattr(client, call["method"])(**call["request"])
        if inspect.isawaitable(answer):
            answer = await answer
    except ClientError as refused:
        return refusal(refused)
    except BotoCoreError as unsaid:
        return {"unsaid": type(unsaid).__name__}
    request_id = answer.pop("ResponseMetadata")["RequestId"]
    return {"answer": answer, "request_id": request_id}


def refusal(refused: ClientError) -> dict[str, Any]:
    """Return what a program that catches the error can see of it."""
    about = refused.response["ResponseMetadata"]
    return {
        "code": refused.response["Error"]["Code"],
        "message": refused.response["Error"]["Message"],
        "class": type(refused).__name__,
        "status": about["HTTPStatusCode"],
        "request_id": about.get("RequestId"),
    }


async def outcomes_of(plan: dict[str, Any]) -> dict[str, Any]:
    """Make the calls of a plan in order; return what came of each, by its name."""
    clients: dict[str, Any] = {}
    outcomes = {}
    async with AsyncExitStack() as stack:
        for call in plan["calls"]:
            kind = json.dumps([call["keys"], call["region"], call["headers"]])
            if kind not in clients:
                clients[kind] = await client_of(stack, call, plan["endpoint"])
            outcomes[call["name"]] = await outcome_of(clients[kind], call)
    return outcomes


found = asyncio.run(outcomes_of(json.loads(Path(sys.argv[1]).read_text())))
json.dump(found, sys.stdout, default=lambda moment: moment.timestamp())
