"""OpenTelemetry spans, where the program uses OpenTelemetry; else nothing, at the cost of one look.

A span can only reach anybody where a tracer provider was set, and for that `opentelemetry.trace` must have been
imported. So where it has not been, there is nothing to do, and nothing is imported.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from meterhouse.client.errors import MeteringError

_NOTHING: AbstractContextManager[None] = nullcontext()


def span(operation: str, region: str, host: str) -> AbstractContextManager[None]:
    """A client span around one call, named and attributed as OpenTelemetry's conventions for AWS SDKs have it."""
    trace = sys.modules.get("opentelemetry.trace")
    return _NOTHING if trace is None else _span(trace, operation, region, host)


@contextmanager
def _span(trace: Any, operation: str, region: str, host: str) -> Iterator[None]:
    from meterhouse import __version__  # noqa: PLC0415 - only where there are spans

    attributes = {
        "rpc.system": "aws-api",
        "rpc.service": "Marketplace Metering",
        "rpc.method": operation,
        "cloud.region": region,
        "server.address": host,
    }
    with trace.get_tracer("meterhouse", __version__).start_as_current_span(
        f"Marketplace Metering.{operation}",
        kind=trace.SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
    ) as current:
        try:
            yield
        except MeteringError as error:
            current.set_attribute("error.type", error.code)
            if error.status is not None:
                current.set_attribute("http.response.status_code", error.status)
            if error.request_id is not None:
                current.set_attribute("aws.request_id", error.request_id)
            raise
