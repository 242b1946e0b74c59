"""A span for each request, around everything; it is there only where traces are asked for."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform import logs
from app.platform.tracing import Traces
from app.server.request_log import route_of

_CONTEXT = {b"traceparent", b"tracestate"}


class TracedRequests:
    """ASGI middleware: each request is a span, and the log's lines of it name its trace."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self.app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  (ASGI)
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        headers = {
            name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CONTEXT
        }
        with self._traces.request(headers, scope["method"]) as span:
            named = logs.trace_id.set(f"{span.get_span_context().trace_id:032x}")
            try:
                await self.app(scope, receive, send_on)
            finally:
                self._traces.answered(span, scope["method"], route_of(scope), status)
                logs.trace_id.reset(named)
