"""A line in the log for each request."""

import itertools
import logging
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform import logs
from app.platform.logs import RequestLines, log
from app.platform.metrics import observe_request

_REQUEST_ID_HEADER = b"x-request-id"
_MAX_REQUEST_ID = 100
_PROCESS = uuid.uuid4().hex[:16]
_numbers = itertools.count(1)


class RequestLog:
    """ASGI middleware: gives each request an id, answers with it, and logs one line when it is done.

    The route's template stands for the path, because a path may hold a code.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._lines = RequestLines() if log.is_enabled_for(logging.INFO) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or f"{_PROCESS}-{next(_numbers):x}"
        logs.request_id.set(request_id)
        logs.project_id.set(None)
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((_REQUEST_ID_HEADER, request_id.encode("latin-1")))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route = route_of(scope)
            observe_request(scope["method"], route, status, seconds)
            if self._lines is not None:
                self._lines.add(scope["method"], route, status, seconds)


def route_of(scope: Scope) -> str | None:
    """Return the template of the route that took a request: its path may hold a code."""
    route = scope.get("route")
    return route if isinstance(route, str) else getattr(route, "path", None)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID_HEADER and len(value) <= _MAX_REQUEST_ID:
            return str(value.decode("latin-1"))
    return None
