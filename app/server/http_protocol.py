"""Uvicorn's protocol with bounds: on what a request's head may be, on how long its parts may take, on connections.

Uvicorn bounds neither the head of a request nor the time for it. The parser's callbacks count here, and one round a
second over all connections looks at the times, so that a request costs no timer of its own.
Head and body of a response are sent in one call to the system instead of two.
"""

import asyncio
import resource
import time
from collections import Counter
from functools import cache
from typing import Any, ClassVar
from weakref import WeakSet

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import _TrustedHosts
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from app.platform.batching import TURNED_AWAY
from app.platform.metrics import observe_request
from app.platform.settings import get_settings
from app.platform.stopping import stopping
from app.server.admission import Admission
from app.server.at_once import AtOnce
from app.server.parser import Parser
from app.server.refusals import (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    OVERLOADED,
    STOPPING,
    TARGET_TOO_LONG,
    TOO_MANY_CONNECTIONS,
    TOO_SLOW,
    Refusal,
)

MAX_HEAD_BYTES = 64 * 1024
MAX_HEAD_LINES = 100
MAX_TARGET_BYTES = 8 * 1024

HEAD_SECONDS = 10.0
"""From the first byte of a connection or request to the end of its head."""

BODY_IDLE_SECONDS = 20.0
"""Longest silence in the middle of a body."""

BODY_SECONDS = 60.0
BODY_BYTES_PER_SECOND = 8 * 1024
"""A body may take so long, and longer by what has come of it at this rate: slow lines may upload large files."""

SEND_SECONDS = 30.0
"""How long a client may take nothing of a reply that waits for it."""

STOP_IDLE_SECONDS = 0.7
STOP_BODY_SECONDS = 5.0
"""The longest silence of a connection while the process stops, and how long a request may go on to come in."""

SWEEP_SECONDS = 0.5
TURNS = 4
"""Turns of the event loop by which it is judged how long one takes."""

ALWAYS = ("/health", "/metrics")
"""What those ask who watch the process: it is answered however much is under way."""

RESERVED_FILES = 128
"""Files and sockets that a process needs beside its connections."""


class Protocol(AtOnce):
    """As Uvicorn's, on a transport that gathers what is written in one turn of the event loop, and with bounds."""

    _by_address: ClassVar[Counter[str]] = Counter()
    _swept: ClassVar[WeakSet[ServerState]] = WeakSet()
    admission: ClassVar[Admission] = Admission()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser: Parser = Parser(self)
        self.url = b""
        self._refusal: Refusal | None = None
        self._address: str | None = None
        self._in_head = True
        self._moved = False
        self._unparsed = 0
        self._received = 0
        self._since_message = 0
        self._head_since: float | None = self.loop.time()
        self._idle_since: float | None = None
        self._body_since: float | None = None
        self._body_bytes = 0
        self._data_at = 0.0
        self._stuck_since: float | None = None
        self._closing_since: float | None = None
        self._stop_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # noqa: D102
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]
        self._watch()
        address = self.client[0] if self.client else "local"
        settings = get_settings()
        most = min(settings.max_connections, _files() - RESERVED_FILES)
        from_address = settings.max_connections_per_address
        trusted = address in _trusted(settings.trusted_proxies)
        if len(self.connections) > most or (not trusted and self._by_address[address] >= from_address):
            self._refuse(TOO_MANY_CONNECTIONS)
            return
        self._address = address
        self._by_address[address] += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        super().connection_lost(exc)
        if self._address is not None:
            self._by_address[self._address] -= 1
            if self._by_address[self._address] <= 0:
                del self._by_address[self._address]
            self._address = None

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self._closing_since is not None:
            return
        self._data_at = self.loop.time()
        if self._in_head and self._head_since is None:
            self._head_since = self._data_at
        self._moved = False
        self._received = len(data)
        self._since_message += self._received
        super().data_received(data)
        # What the parser keeps of a line without end is seen by nobody else.
        self._unparsed = 0 if self._moved else self._unparsed + self._received
        if self._unparsed > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(HEAD_TOO_LARGE)

    def on_url(self, url: bytes) -> None:  # noqa: D102
        self.url += url
        if len(self.url) > MAX_TARGET_BYTES:
            self._stop(TARGET_TOO_LONG)

    def on_headers_complete(self) -> None:  # noqa: D102
        asks_for_another = self.parser.should_upgrade()
        if asks_for_another and self.parser.leaves_out():
            return
        if len(self.headers) > MAX_HEAD_LINES or (
            self._since_message > MAX_HEAD_BYTES  # no head in it is longer
            and sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES
        ):
            self._stop(HEAD_TOO_LARGE)
        self._in_head, self._moved = False, True
        self._head_since, self._body_since, self._body_bytes = None, self._data_at, 0
        super().on_headers_complete()
        self.headers = []  # what comes after the body, a trailer, is no header of the request
        if stopping.leaving or asks_for_another:  # behind CONNECT comes no request
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if len(self.tasks) + len(self.without_task) >= self.admission.most and self._may_refuse(cycle):
            self._refuse_one(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _may_refuse(self, cycle: RequestResponseCycle) -> bool:
        return (
            not self.pipeline  # each of them would begin the next one from within itself
            and cycle.scope["method"] != "HEAD"
            and not cycle.scope["path"].startswith(ALWAYS)
        )

    def _refuse_one(self, cycle: RequestResponseCycle) -> None:
        """Answer a request that it is one too many; the connection stays, for a new one would cost more."""
        self.admission.refused += 1
        observe_request(cycle.scope["method"], None, OVERLOADED.status, 0.0)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(OVERLOADED.raw(cycle.scope["path"], stays=cycle.keep_alive))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_body(self, body: bytes) -> None:  # noqa: D102
        self._moved = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:  # noqa: D102
        if self.parser.left_out is not None:
            return
        self._in_head, self._moved = True, True
        self._since_message = self._received
        self._body_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what waits on the connection. That it is idle too long is seen by the rounds, without a timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()

    def pause_writing(self) -> None:  # noqa: D102
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:  # noqa: D102
        self._stuck_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002, D102  (Uvicorn's name; says what is in English)
        self._refuse(self._refusal or BAD_REQUEST)

    def shutdown(self) -> None:
        """Close the connection after its next reply, or soon where nothing comes on it.

        What is silent is not closed at once: its client may be sending a request, and would be cut off.
        """
        self._stop_since = self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def tell_stop(self) -> None:
        """Answer what still waits that the process stops."""
        cycle = self.cycle
        if self._head_has_begun() or (cycle is not None and not cycle.response_started):
            self._refuse(STOPPING, running=True)
        elif cycle is None or cycle.response_complete:
            self.transport.close()

    def _head_has_begun(self) -> bool:
        return self._in_head and self._head_since is not None and bool(self._data_at)

    def _stop(self, refusal: Refusal) -> None:
        """Leave the parser, which then calls `send_400_response`."""
        self._refusal = refusal
        raise RefusedError

    def _refuse(self, refusal: Refusal, *, running: bool = False) -> None:
        """Answer with a refusal, where no other answer is on its way, and close.

        With `running` it is about the request that is being answered, too.
        """
        if self._closing_since is not None:
            return
        self._closing_since = self.loop.time()
        cycle = self.cycle
        under_way = cycle is not None and not cycle.response_complete
        if under_way:
            cycle.disconnected = True  # its application hears of it, and what it sends goes nowhere
            cycle.message_event.set()
        ours = running or not self._in_head  # the request whose body it is about has no answer yet
        if not under_way or (ours and not cycle.response_started and not self.pipeline):
            path = cycle.scope["path"] if under_way else self.url.decode("latin-1")
            self.transport.write(refusal.raw(path))
        self.transport.close()

    def _watch(self) -> None:
        """See to it that the rounds over all connections go on while there are any."""
        if self.server_state not in self._swept:
            self._swept.add(self.server_state)
            self.loop.call_later(SWEEP_SECONDS, _sweep, self.loop, self.server_state)

    @classmethod
    def look(cls, state: ServerState, *, turn: float, now: float) -> None:
        """Judge anew how many requests to let in."""
        under_way = [*state.tasks, *cls.without_task]
        cls.admission.look(under_way, state.total_requests, TURNED_AWAY.n, turn=turn, now=now)

    @classmethod
    def stop_sweeping(cls, state: ServerState) -> None:
        """Note that no rounds go on for a server; its next connection begins them again."""
        cls._swept.discard(state)

    def check_times(self, now: float) -> None:
        """Close the connection where a time has run out."""
        if self.transport.is_closing() and self._closing_since is None:
            self._closing_since = now
        if self._closing_since is not None:
            if now - self._closing_since > SEND_SECONDS:
                self.transport.abort()  # closing waits for the client to take what was written
        elif self._stuck_since is not None and now - self._stuck_since > SEND_SECONDS:
            self.transport.abort()
        elif self._stop_since is not None and self._awaits_client():
            if now - max(self._data_at, self._stop_since) > STOP_IDLE_SECONDS:
                self.tell_stop()
            elif now - self._stop_since > STOP_BODY_SECONDS:
                self._refuse(STOPPING)
        else:
            self._check_what_comes_in(now)

    def _check_what_comes_in(self, now: float) -> None:
        if self._head_since is not None and not self._data_at:
            if now - self._head_since > HEAD_SECONDS:
                self.transport.close()  # it never said anything, and is told nothing
        elif self._is_idle():
            if self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
                self.transport.close()
        elif not self.flow.read_paused and (self._head_is_late(now) or self._body_is_late(now)):
            self._refuse(TOO_SLOW)

    def _awaits_client(self) -> bool:
        """Tell whether nothing is done here until the client sends on: the rest of a request, or a new one."""
        idle = self.cycle is None or self.cycle.response_complete
        return not self.flow.read_paused and (idle or self._body_since is not None)

    def _is_idle(self) -> bool:
        """Tell whether all that came was answered, and nothing of a next request has come."""
        return self._in_head and self._head_since is None and self.cycle.response_complete

    def _head_is_late(self, now: float) -> bool:
        return self._head_since is not None and now - self._head_since > HEAD_SECONDS

    def _body_is_late(self, now: float) -> bool:
        if self._body_since is None:
            return False
        allowed = BODY_SECONDS + self._body_bytes / BODY_BYTES_PER_SECOND
        return now - self._data_at > BODY_IDLE_SECONDS or now - self._body_since > allowed


class RefusedError(Exception):
    """A request is not read on."""


def _sweep(loop: asyncio.AbstractEventLoop, state: ServerState) -> None:
    """Look at the times of all connections, and again as long as there are any."""
    for connection in tuple(state.connections):
        if isinstance(connection, Protocol):
            connection.check_times(loop.time())
    _look(loop, state, TURNS, time.monotonic())
    if state.connections:
        loop.call_later(SWEEP_SECONDS, _sweep, loop, state)
    else:
        Protocol.stop_sweeping(state)


def _look(loop: asyncio.AbstractEventLoop, state: ServerState, turns: int, began: float) -> None:
    """Judge after some turns of the event loop how many requests to let in."""
    if turns:
        loop.call_soon(_look, loop, state, turns - 1, began)
        return
    now = time.monotonic()
    turn = (now - began) / TURNS
    Protocol.look(state, turn=turn, now=now)


@cache
def _trusted(proxies: tuple[str, ...]) -> _TrustedHosts:
    """Return the proxies as Uvicorn finds an address among them, by itself or in a network."""
    return _TrustedHosts(list(proxies))


def _files() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


class _Gathering:
    """A transport whose writes leave together, when the event loop comes round."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []
        self.is_closing = transport.is_closing  # asked for each request

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._written and not self.is_closing():
            self._transport.write(b"".join(self._written))
        self._written.clear()

    def __getattr__(self, name: str) -> Any:  # type: ignore[explicit-any]  # what the transport has
        return getattr(self._transport, name)
