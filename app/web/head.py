"""HEAD wherever GET is: the same status and headers, and no body (RFC 9110, section 9.3.2)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """ASGI middleware: answers HEAD as the application answers GET, and leaves the body out.

    A stream of events, which ends when what it tells of does, ends with its first piece: the server then tells the
    application that the client has gone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        endless = ended = False

        async def send_no_body(message: Message) -> None:
            nonlocal endless, ended
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"")
                endless = kind.startswith(b"text/event-stream")
            elif ended:
                return
            elif message["type"] == "http.response.body":
                ended = endless
                message = {
                    **message,
                    "body": b"",
                    "more_body": not endless and message.get("more_body", False),
                }
            await send(message)

        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, send_no_body)
        finally:
            if "route" in as_get:
                scope["route"] = as_get["route"]  # for the request log
