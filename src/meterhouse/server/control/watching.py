"""How the server is watched: its health, open to all, and its metrics, for who has the token."""

from typing import Final

from meterhouse.ledger.protocol import Busy, LedgerFailure
from meterhouse.server.control.answers import HealthAnswer
from meterhouse.server.control.parts import Answered, ControlParts
from meterhouse.server.exposition import exposition

HEALTH_PATH: Final = "/_meterhouse/health"
METRICS_PATH: Final = "/_meterhouse/metrics"


async def health(parts: ControlParts) -> Answered:
    """200 while the ledger can be read, else 503."""
    status, word = 200, "ok"
    try:
        await parts.ledger.size()
    except (Busy, LedgerFailure):
        status, word = 503, "unavailable"
    return Answered(HealthAnswer(status=word, version=parts.version, engine=parts.engine), status)


async def show_metrics(parts: ControlParts, accept: str) -> Answered:
    """What Prometheus reads."""
    body, content_type = exposition(parts.metrics, await parts.ledger.size(), parts.version, accept)
    return Answered(body, content_type=content_type)
