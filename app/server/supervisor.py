"""Runs the service's processes: N that answer HTTP and one that does the jobs; starts again what dies.

Each HTTP process listens on a socket of its own for the same port (SO_REUSEPORT): the kernel spreads connections over
them, and none can take them all. The supervisor holds the port for them and keeps the embedded PostgreSQL alive.
"""

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog
import uvicorn

from app.platform import logs
from app.platform.errors import CommandError
from app.platform.postgres.server import LocalPostgres
from app.platform.settings import get_settings
from app.server import worker
from app.server.http_protocol import Protocol

GRACE_SECONDS = 15
"""How long processes may take to finish what they have begun."""

BACKLOG = 2048
_SPAWN = multiprocessing.get_context("spawn")
log = structlog.get_logger()


@dataclass(slots=True)
class _Role:
    """A process to keep alive."""

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]
    process: SpawnProcess | None = None

    def start(self) -> None:
        self.process = _SPAWN.Process(target=self.run, args=self.arguments, name=self.name)
        self.process.start()


class Supervisor:
    """The processes of `vouchers serve`."""

    def __init__(
        self, host: str, port: int, workers: int, *, with_jobs: bool, postgres: LocalPostgres | None
    ) -> None:
        self._held = _hold(host, port)
        self._host = host
        self.port: int = self._held.getsockname()[1]
        self._postgres = postgres
        self._stop = threading.Event()
        web = (host, self.port)
        self._roles = [_Role(f"web-{n}", serve_web, web) for n in range(workers)]
        if with_jobs:
            self._roles.append(_Role("jobs", serve_jobs, ()))

    def run(self, on_ready: Callable[[], None]) -> None:
        """Keep everything running until SIGTERM or SIGINT; call `on_ready` once requests are answered."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        metrics = tempfile.TemporaryDirectory(prefix="vouchers-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics.name
        try:
            for role in self._roles:
                role.start()
            while not self._ready() and not self._stop.wait(0.05):
                self._revive()
            if not self._stop.is_set():
                on_ready()
            while not self._stop.wait(1):
                self._revive()
        finally:
            self._end()
            metrics.cleanup()

    def _ready(self) -> bool:
        host = "127.0.0.1" if self._host in {"0.0.0.0", "::"} else self._host  # noqa: S104  (compared, not bound)
        try:
            with urllib.request.urlopen(f"http://{host}:{self.port}/health/ready", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _revive(self) -> None:
        """Start again what has died: the database first, for the others need it."""
        if self._postgres is not None and self._postgres.ensure_running():
            log.warning("the database had gone and was started again")
        for role in self._roles:
            if role.process is not None and not role.process.is_alive():
                log.warning("process died, starting it again", role=role.name, exit=role.process.exitcode)
                role.start()

    def _end(self) -> None:
        """Let every process finish, and end by force the one that does not."""
        processes = [role.process for role in self._roles if role.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._held.close()


def serve_web(host: str, port: int) -> None:
    """One HTTP process."""
    _end_with_parent()
    proxies = get_settings().trusted_proxies
    config = uvicorn.Config(
        "app.server.application:create_asgi",
        factory=True,
        http=Protocol,
        access_log=False,  # it would show codes in paths; request_log.py logs requests
        log_config=None,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS - 5,
    )
    config.load()
    # What is loaded by now stays: leave it out of the collector's rounds, and make those rarer.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    uvicorn.Server(config).run(sockets=[_socket(host, port, shared=True)])


def serve_jobs() -> None:
    """The process that does the jobs."""
    _end_with_parent()
    settings = get_settings()
    logs.configure(settings.log_level)
    asyncio.run(worker.work(settings))


def _end_with_parent() -> None:
    """Have this process end when the supervisor is gone, even by SIGKILL: nobody would look after it."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _hold(host: str, port: int) -> socket.socket:
    """Take the port, so that nobody else can, for the sockets that will listen on it."""
    try:
        _socket(host, port, shared=False).close()  # fails where another service shares the port
        return _socket(host, port, shared=True)
    except OSError as error:
        raise PortTakenError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error


def _socket(host: str, port: int, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(address)
    return held


class PortTakenError(CommandError):
    """The address to listen on is not free, or not ours."""
