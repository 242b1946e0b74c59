"""Requests whose client has hung up, as our server tells of them."""

import orjson
from starlette.types import ASGIApp, Message

from tests.factories import KEY


class HungUp:
    """The server's record of such a request."""

    disconnected = True

    def __init__(self, body: bytes) -> None:
        self._messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive(self) -> Message:
        """ASGI's."""
        return self._messages.pop() if self._messages else {"type": "http.disconnect"}


async def post(app: ASGIApp, path: str, body: object, content_type: str = "application/json") -> int:
    """Status of the answer that nobody waits for."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {"authorization": f"Bearer {KEY}", "content-type": content_type}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    await app(scope, HungUp(orjson.dumps(body)).receive, send)
    return int(sent[0]["status"])
