"""The process that answers HTTP."""

import asyncio
import ctypes
import signal
import socket
import time
from functools import partial
from types import FrameType

import uvicorn

from app.platform.settings import get_settings
from app.platform.stopping import stopping
from app.server import collector
from app.server.adoption import Adoption
from app.server.http_protocol import Protocol
from app.server.roles import REPLACED

BACKLOG = 2048
LAST_WORDS = 1.0
"""Seconds before the end of the grace at which those that still wait are answered that the process stops."""


class Server(uvicorn.Server):
    """Uvicorn's server, which gives signs of life, and stops in stages.

    Told to stop, it first goes on for a while, so that proxies learn that it is not ready any more; it closes each
    connection after the next reply. Where another process has taken its place, it stops listening at once.
    """

    def __init__(
        self, config: uvicorn.Config, beat: ctypes.c_double, adoption: Adoption, drain: float
    ) -> None:
        super().__init__(config)
        self._beat = beat
        self._adoption = adoption
        self._drain = drain
        self._leave_at: float | None = None
        self._replaced = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave (SIGTERM), or end at once (SIGINT, or a second signal)."""
        if sig != signal.SIGTERM or self._leave_at is not None:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self._begin_to_leave(ready=False)

    def replaced(self, *_: object) -> None:
        """Leave the work to the process that has taken this one's place."""
        if self._leave_at is None:
            self._replaced = True
            self._begin_to_leave(ready=True)

    def _begin_to_leave(self, *, ready: bool) -> None:
        stopping.leave(ready=ready)
        self._leave_at = time.monotonic() + self._drain

    async def on_tick(self, counter: int) -> bool:
        """Tell the supervisor, ten times a second, that the event loop turns; return whether to end."""
        self._beat.value = now = time.monotonic()
        if self._leave_at is None:
            await self._adoption.look(now, self._serve_too)
        else:
            self._adoption.end()
            if self._replaced:
                for server in self.servers:
                    server.close()
            done = self._replaced and not self.server_state.connections
            if done or now >= self._leave_at:
                self.should_exit = True
        return await super().on_tick(counter)

    async def _serve_too(self, adopted: socket.socket) -> asyncio.AbstractServer:
        """Serve one more socket, as Uvicorn serves its own."""
        answer = partial(Protocol, self.config, self.server_state, self.lifespan.state)
        return await asyncio.get_running_loop().create_server(answer, sock=adopted, backlog=BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new work; let what was begun end within the grace, or tell it."""
        stopping.end()
        self._adoption.end()
        grace = self.config.timeout_graceful_shutdown or LAST_WORDS
        asyncio.get_running_loop().call_later(max(0.0, grace - LAST_WORDS), self._tell_the_rest)
        await super().shutdown(sockets)

    def _tell_the_rest(self) -> None:
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, Protocol):
                connection.tell_stop()


def serve_web(
    beat: ctypes.c_double, own: int, held: list[socket.socket], beats: ctypes.Array[ctypes.c_double]
) -> None:
    """Answer HTTP in this process, on its own of the sockets."""
    settings = get_settings()
    proxies = settings.trusted_proxies
    config = uvicorn.Config(
        "app.server.application:create_asgi",
        factory=True,
        http=Protocol,
        ws="none",  # whatever is installed: such a connection would be out of reach of the protocol's bounds
        access_log=False,  # it would show codes in paths; request_log.py logs requests
        log_config=None,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(2, int(settings.stop_seconds) - 5),
    )
    config.load()
    collector.collect_rarely()
    server = Server(config, beat, Adoption(own, held, beats), settings.drain_seconds)
    signal.signal(REPLACED, server.replaced)
    server.run(sockets=[held[own]])
