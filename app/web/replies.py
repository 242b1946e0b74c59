"""Headers that every reply bears: none is stored on its way, guessed at, framed or told to others."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Tell: TypeAlias = Callable[[bytes, int, bytes], None]
"""Takes body, status and lines of the head of a reply."""

_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_NO_STORE = (b"cache-control", b"no-store")
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def own(scheme: str) -> list[tuple[bytes, bytes]]:
    """Return the headers for a reply that has none of them, over `scheme`."""
    return [*_ALWAYS, _NO_STORE, _HSTS] if scheme == "https" else [*_ALWAYS, _NO_STORE]


def raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI has them."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as they stand in the head of a reply."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)


class ReplyHeaders:
    """ASGI middleware: adds the headers, and makes redirects relative, for the `Host` of a request is the caller's."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        secure = scope["scheme"] == "https"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                names = {name.lower() for name, _ in headers}
                headers += [header for header in _ALWAYS if header[0] not in names]
                if _NO_STORE[0] not in names:
                    headers.append(_NO_STORE)
                if secure:
                    headers.append(_HSTS)
                if b"location" in names:
                    headers = [_relative(name, value) for name, value in headers]
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _relative(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    if name.lower() == b"location" and not value.startswith(b"/") and b"://" in value:
        _, _, rest = value.partition(b"://")
        _, slash, path = rest.partition(b"/")
        return name, b"/" + path.lstrip(b"/") if slash else b"/"
    return name, value
