"""How large a request's body may be: what is beyond it is refused where it is read, as a problem like any other."""

import tempfile

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform import disk
from app.platform.errors import PayloadTooLargeError

_LIMIT = "vouchers.body_limit"


class BodyLimit:
    """ASGI middleware: bounds the bodies of all requests; a route may allow more.

    The framework's own `max_body_size` answers in plain text, and knows no settings.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        if scope["type"] == "http":
            scope[_LIMIT] = self.limit
            receive = _bounded(scope, receive)
        await self.app(scope, receive, send)


def allow(request: Request, limit: int) -> None:
    """Let the body of a request have so many bytes, before it is read."""
    request.scope[_LIMIT] = limit


def bound(request: Request, limit: int | None) -> None:
    """Let the body have no more bytes than `limit`, which only makes the bound of all requests smaller."""
    if limit is not None:
        request.scope[_LIMIT] = min(limit, request.scope.get(_LIMIT, limit))


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Receive up to the limit; an announced length is refused before it is read."""
    announced = dict(scope["headers"]).get(b"content-length", b"")
    expected = int(announced) if announced.isdigit() else 0
    received = looked = 0

    def check(size: int) -> None:
        limit = scope[_LIMIT]
        if size > limit:
            raise PayloadTooLargeError(f"The body may have {limit} bytes at most.", limit=limit)

    async def bounded() -> Message:
        nonlocal received, looked
        check(expected)
        message = await receive()
        received += len(message.get("body", b""))
        check(received)
        if received - looked >= disk.LOOK_BYTES:  # only what lies on the disk is so large
            looked = received
            disk.check_room(tempfile.gettempdir())
        return message

    return bounded
