"""A line in the log for each request."""

import itertools
import logging
import time
import uuid
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform import logs
from app.platform.logs import RequestLines, log
from app.platform.metrics import observe_request
from app.web.dependencies import PLACE
from app.web.replies import Tell

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
        self._begin = getattr(app, "begin", None)

    def begin(self, scope: Scope, body: bytes, gone: Callable[[], bool], send: Tell) -> bool:
        """Begin to answer a request that has come whole, as `HotPath.begin` does; False where `__call__` shall do it.

        `send` gets the reply with the request's id, in this call or later. `gone` tells whether nobody waits for it.
        """
        if self._begin is None:
            return False
        given = _given_id(scope)
        if given is not None and not given.isprintable():
            return False
        request_id = given or _new_id()
        started = time.perf_counter()

        def tell(body: bytes, status: int, lines: bytes) -> None:
            send(body, status, b"%bx-request-id: %b\r\n" % (lines, request_id.encode("latin-1")))
            _, project = scope[PLACE]
            self._note(scope, status, time.perf_counter() - started, request_id, project)

        return bool(self._begin(scope, body, request_id, gone, tell))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or _new_id()
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
            self._note(scope, status, time.perf_counter() - started, request_id, logs.project_id.get())

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str, project: int | None) -> None:
        """Count the request, and log its line."""
        route = route_of(scope)
        observe_request(scope["method"], route, status, seconds)
        if self._lines is not None:
            self._lines.add(scope["method"], route, status, seconds, request_id, project)


def route_of(scope: Scope) -> str | None:
    """Return the template of the route that took a request: its path may hold a code."""
    route = scope.get("route")
    return route if isinstance(route, str) else getattr(route, "path", None)


def _new_id() -> str:
    return f"{_PROCESS}-{next(_numbers):x}"


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID_HEADER and len(value) <= _MAX_REQUEST_ID:
            return str(value.decode("latin-1"))
    return None
