"""Requests that are answered without a task of their own: a task and ASGI's messages cost more than such an answer.

An application that has `begin` is asked first, with a request that has come whole; until then it is held back. What the
application leaves is given its task. Under proxies that are trusted the scope is first made what Uvicorn's own
middleware makes of it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import lru_cache, partial
from typing import ClassVar, TypeAlias, cast

from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.web.replies import Tell, lines_of

Begin: TypeAlias = Callable[[Scope, bytes, Callable[[], bool], Tell], bool]
"""Begins to answer a request; see `RequestLog.begin`."""

SMALL_BODY_BYTES = 64 * 1024
"""A body of so many is waited for before a request is given a task."""


class AtOnce(HttpToolsProtocol):
    """Uvicorn's protocol, which offers each request to the application before it gives it a task."""

    without_task: ClassVar[set[RequestResponseCycle]] = set()
    """Requests under way that have none."""

    _begin: Begin | None = None
    _fresh = False
    _held: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # noqa: D102
        super().connection_made(transport)
        self._begin = beginning_of(self.config)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        super().connection_lost(exc)
        self._start_held()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        try:
            super().data_received(data)
        finally:
            if self._held is not None and not self._awaits_small_body():
                self._start_held()

    def on_headers_complete(self) -> None:  # noqa: D102
        self._fresh = True
        super().on_headers_complete()
        self._fresh = False

    def on_message_complete(self) -> None:  # noqa: D102
        super().on_message_complete()
        self._begin_held()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._fresh and app is self.app and self._may_begin(cycle):
            self._held = cycle  # for its body may have come with its head
        else:
            super()._start_asgi_task(cycle, app)

    def _may_begin(self, cycle: RequestResponseCycle) -> bool:
        return self._begin is not None and not self.flow.write_paused and not cycle.waiting_for_100_continue

    def _begin_held(self) -> None:
        """Answer at once a request that has come whole, where the application can."""
        cycle, begin = self._held, self._begin
        if cycle is None or begin is None:
            return
        self.without_task.add(cycle)
        gone, tell = partial(getattr, cycle, "disconnected"), partial(self._tell, cycle)
        try:
            begun = begin(cast("Scope", cycle.scope), bytes(cycle.body), gone, tell)
        except Exception:  # noqa: BLE001  (the parser would take it for a fault of the client; its task tells it)
            begun = False
        if begun:
            self._held = None
        else:
            self.without_task.discard(cycle)
            self._start_held()

    def _awaits_small_body(self) -> bool:
        """Tell whether what is held lacks a body that many clients send right behind the head."""
        cycle = self._held
        if cycle is None:
            return False
        length = next((value for name, value in cycle.scope["headers"] if name == b"content-length"), b"")
        return length.isdigit() and int(length) <= SMALL_BODY_BYTES

    def _start_held(self) -> None:
        """Give a task to a request that cannot be answered at once."""
        cycle, self._held = self._held, None
        if cycle is not None:
            super()._start_asgi_task(cycle, self.app)

    def _tell(self, cycle: RequestResponseCycle, body: bytes, status: int, lines: bytes) -> None:
        """Send the reply to a request that has no task; `lines` are of its head."""
        self.without_task.discard(cycle)
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        own = [(b"content-length", b"%d" % len(body))]
        if not cycle.keep_alive:
            own.append((b"connection", b"close"))
        head = lines_of([*self.server_state.default_headers, *own])
        self.transport.write(b"%b%b%b\r\n%b" % (STATUS_LINE[status], head, lines, body))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


@lru_cache(maxsize=1)
def beginning_of(config: Config) -> Begin | None:
    """Return how the application of a server begins to answer at once; None: it does not."""
    app = config.loaded_app
    if not isinstance(app, ProxyHeadersMiddleware):
        return cast("Begin | None", getattr(app, "begin", None))
    begin: Begin | None = getattr(app.app, "begin", None)
    if begin is None:
        return None
    forwarded = ProxyHeadersMiddleware(_nothing, config.forwarded_allow_ips or [])

    def begin_forwarded(scope: Scope, body: bytes, gone: Callable[[], bool], tell: Tell) -> bool:
        seen = dict(scope)
        _run(forwarded(seen, None, None))  # type: ignore[arg-type]  # nothing is received, and nothing sent
        return begin(seen, body, gone, tell)

    return begin_forwarded


async def _nothing(*_: object) -> None:
    """Answer nothing."""


def _run(waits_for_nothing: Coroutine[object, None, None]) -> None:
    with contextlib.suppress(StopIteration):
        waits_for_nothing.send(None)
