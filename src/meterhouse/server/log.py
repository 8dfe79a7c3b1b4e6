"""Structured logs on standard error: one JSON object a line, or coloured text where a person watches.

What is logged never holds a secret, a session token, a registration token or a body.
"""

import logging
import sys
from contextlib import suppress
from enum import StrEnum
from typing import Any

import structlog


class LogLevel(StrEnum):
    """How much is logged: `info` has every refusal and change, `debug` every request."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logs(level: LogLevel) -> None:
    """Sets up structlog, and sends the standard library's warnings (uvicorn's, asyncio's) the same way."""
    number = logging.getLevelNamesMapping()[level.upper()]
    person = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = structlog.dev.ConsoleRenderer() if person else structlog.processors.JSONRenderer()
    tracebacks: list[Any] = [] if person else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, *tracebacks, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _SteadyLogger(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = _ToStructlog(max(number, logging.WARNING))
    logging.basicConfig(handlers=[handler], level=handler.level, force=True)


class _SteadyLogger(structlog.PrintLogger):
    """Loses what cannot be written: a full disk, or a reader of the log that has died, must not cost a request."""

    def msg(self, message: str) -> None:
        with suppress(OSError):
            self._file.write(f"{message}\n")  # in one piece: several processes may write to one log
            self._file.flush()

    log = debug = info = warning = error = critical = exception = msg


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger("meterhouse")
        logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
