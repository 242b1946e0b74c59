"""Structured logs, one JSON object a line, each with the id of its request; never a code, a key or a raw path."""

import logging
import sys
from contextvars import ContextVar

import orjson
import structlog
from structlog.typing import EventDict

log = structlog.get_logger()
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the request that is being answered, for its log lines and its problem."""


def configure(level: str) -> None:
    """Send the logs of this process, the libraries' included, to standard error from `level` on."""
    structlog.configure(
        processors=[
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelNamesMapping()[level]), force=True)


def _add_request_id(_logger: object, _level: str, event: EventDict) -> EventDict:
    current = request_id.get()
    if current is not None:
        event["request_id"] = current
    return event
