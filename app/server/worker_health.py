"""What is asked of a worker that runs by itself: whether it lives, whether it does jobs, and what it has counted.

It is answered in a thread of its own, so that a worker whose event loop hangs is told from one that works.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.database import transaction
from app.platform.errors import DomainError
from app.platform.projects import everywhere
from app.server.roles import JOBS_SILENCE_SECONDS
from app.server.sockets import hold
from app.web.problem_document import MEDIA_TYPE, members

AWAY_SECONDS = 10.0
"""A worker whose database is silent for so long does no jobs."""
ASK_SECONDS = 2.0
CLIENT_SECONDS = 5.0
"""Longest wait for a client."""

Tell = Callable[[str | None, str], bytes]
"""Takes the header `Authorization` and the address of who asks; returns figures, or raises a `DomainError`."""


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


def serve_health(pulse: Pulse, tell: Tell, host: str, port: int) -> ThreadingHTTPServer:
    """Answer `/health/live`, `/health/ready` and `/metrics` in threads until the process ends; return the server.

    Raises:
        PortTakenError: the address cannot be had.
    """
    server = _Server(pulse, tell, host, port)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, pulse: Pulse, tell: Tell, host: str, port: int) -> None:
        (held,) = hold(host, port, 1)
        super().__init__((host, port), _Handler, bind_and_activate=False)
        self.pulse, self.tell = pulse, tell
        self.socket.close()
        self.socket = held
        self.server_address = held.getsockname()
        self.server_activate()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._tell()
        elif path not in {"/health/live", "/health/ready"}:
            self._answer(HTTPStatus.NOT_FOUND, "not found")
        elif fault := self.server.pulse.fault(path):
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", fault)
        else:
            self._answer(HTTPStatus.OK, "ok")

    do_HEAD = do_GET  # noqa: N815  (as the library calls it)

    def _tell(self) -> None:
        try:
            raw = self.server.tell(self.headers.get("authorization"), self.client_address[0])
        except DomainError as error:
            problem = members(error.name, error.title, error.status, error.detail)
            self._send(error.status, MEDIA_TYPE, orjson.dumps(problem), error.headers)
        else:
            self._send(HTTPStatus.OK, CONTENT_TYPE_LATEST, raw, {})

    def _answer(self, status: HTTPStatus, said: str, *warnings: str) -> None:
        raw = orjson.dumps({"status": said, "warnings": warnings})
        more = {"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        self._send(status, "application/json", raw, more)

    def _send(self, status: int, kind: str, raw: bytes, more: Mapping[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.send_header("cache-control", "no-store")
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Log nothing: probes come all the time."""
