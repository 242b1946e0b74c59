"""Structured logs, one JSON object a line, each with the id of its request; never a code, a key or a raw path."""

import itertools
import logging
import sys
import time
import uuid

import orjson
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()
_REQUEST_ID_HEADER = b"x-request-id"
_MAX_REQUEST_ID = 100
_PROCESS = uuid.uuid4().hex[:16]
_numbers = itertools.count(1)


def configure(level: str) -> None:
    """Send the logs of this process, the libraries' included, to standard error from `level` on."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
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


class RequestLog:
    """ASGI middleware: gives each request an id, answers with it, and logs one line when it is done.

    The route's template stands for the path, because a path may hold a code.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or f"{_PROCESS}-{next(_numbers):x}"
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (_REQUEST_ID_HEADER, request_id.encode("latin-1"))]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            log.info(
                "request",
                method=scope["method"],
                route=_template(scope),
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1000, 2),
            )


def _template(scope: Scope) -> str | None:
    route = scope.get("route")
    return route if isinstance(route, str) else getattr(route, "path", None)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID_HEADER and len(value) <= _MAX_REQUEST_ID:
            return str(value.decode("latin-1"))
    return None
