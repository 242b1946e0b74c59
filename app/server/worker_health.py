"""What is asked of a worker that runs by itself: whether it lives, and whether it does jobs.

It is answered in a thread of its own, so that a worker whose event loop hangs is told from one that works.
"""

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.database import transaction
from app.platform.projects import everywhere
from app.server.roles import JOBS_SILENCE_SECONDS
from app.server.sockets import hold

AWAY_SECONDS = 10.0
"""A worker whose database is silent for so long does no jobs."""
ASK_SECONDS = 2.0
CLIENT_SECONDS = 5.0
"""Longest wait for a client."""


@dataclass(slots=True)
class Pulse:
    """When a worker last gave a sign of life, and when its database did: by the monotonic clock."""

    beaten: float = float("inf")
    """Never, while it starts: it may wait for its database and for migrations."""
    answered: float = float("-inf")

    def beat(self) -> None:
        """Tell that the event loop turns."""
        self.beaten = time.monotonic()

    async def follow(self, engine: AsyncEngine) -> None:
        """Ask the database for a sign of life again and again, until this is cancelled: while jobs are done."""
        while True:
            with suppress(SQLAlchemyError, OSError):
                async with transaction(everywhere(engine)) as connection:
                    await connection.execute(text("SELECT FROM procrastinate_workers LIMIT 1"))
                self.answered = time.monotonic()
            await asyncio.sleep(ASK_SECONDS)

    def fault(self, path: str) -> str | None:
        """Return what is wrong, if anything is."""
        now = time.monotonic()
        if now - self.beaten > JOBS_SILENCE_SECONDS:
            return "The worker hangs."
        if path == "/health/ready" and now - self.answered > AWAY_SECONDS:
            return "The worker does no jobs: its database does not answer."
        return None


def serve_health(pulse: Pulse, host: str, port: int) -> ThreadingHTTPServer:
    """Answer `/health/live` and `/health/ready` in threads until the process ends; return the server.

    Raises:
        PortTakenError: the address cannot be had.
    """
    (held,) = hold(host, port, 1)
    server = ThreadingHTTPServer((host, port), _handler(pulse), bind_and_activate=False)
    server.socket.close()
    server.socket = held
    server.server_address = held.getsockname()
    server.server_activate()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def _handler(pulse: Pulse) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path not in {"/health/live", "/health/ready"}:
                self._answer(HTTPStatus.NOT_FOUND, "not found")
            elif fault := pulse.fault(path):
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", fault)
            else:
                self._answer(HTTPStatus.OK, "ok")

        do_HEAD = do_GET  # noqa: N815  (as the library calls it)

        def _answer(self, status: HTTPStatus, said: str, *warnings: str) -> None:
            raw = orjson.dumps({"status": said, "warnings": warnings})
            self.send_response_only(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.send_header("cache-control", "no-store")
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                self.send_header("retry-after", "1")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Log nothing: probes come all the time."""

    return Handler
