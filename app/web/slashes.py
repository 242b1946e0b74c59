"""Ids with a slash in them, in paths: a caller writes `%2F`, and the id is found whole.

A server decodes the path before it is routed, and an encoded slash is then one like the others. Here it is kept apart
until the route has been found.
"""

from urllib.parse import unquote_to_bytes

from starlette.convertors import PathConvertor, StringConvertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

STAND_IN = "\ufdd0"
"""A noncharacter, which no text contains (Unicode, section 23.7)."""


def whole(part: str) -> str:
    """Return a part of a path with the slashes that were encoded in it."""
    return part.replace(STAND_IN, "/")


class EncodedSlashes:
    """ASGI middleware: keeps slashes that were encoded apart from those that part the path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        if scope["type"] == "http" and b"%2f" in scope.get("raw_path", b"").lower():
            parts = [
                unquote_to_bytes(part).decode("utf-8", "replace") for part in scope["raw_path"].split(b"/")
            ]
            scope = {**scope, "path": "/".join(part.replace("/", STAND_IN) for part in parts)}
        await self._app(scope, receive, send)


class IdConvertor(StringConvertor):
    """A part of a path that is an id: `{customer_id:id}`."""

    def convert(self, value: str) -> str:  # noqa: D102  (Starlette)
        return whole(value)


class CodeConvertor(PathConvertor):
    """A code in a path: `{code:code}`. It may have slashes, encoded or not."""

    def convert(self, value: str) -> str:  # noqa: D102  (Starlette)
        return whole(value)


register_url_convertor("id", IdConvertor())
register_url_convertor("code", CodeConvertor())
