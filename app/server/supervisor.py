"""Runs the service's processes: N that answer HTTP and one that does the jobs; starts again what dies.

Each HTTP process listens on a socket of its own for the same port (SO_REUSEPORT): the kernel spreads connections over
them, and none can take them all. The supervisor holds the port for them and keeps the embedded PostgreSQL alive.
"""

import asyncio
import ctypes
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

SILENCE_SECONDS = 10.0
"""A web process silent for so long hangs, and is replaced."""

MOST_PAUSE = 5.0
"""Longest pause between two tries to start the embedded database."""

JOBS_SILENCE_SECONDS = 30.0
"""The same for the process that does the jobs, whose loop an import may hold up."""

FIRST_SECONDS = 60.0
"""How long a process may take to start before it must give signs of life."""

BACKLOG = 2048
_SPAWN = multiprocessing.get_context("spawn")
log = structlog.get_logger()


@dataclass(slots=True)
class _Role:
    """A process to keep alive."""

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]
    silence: float = SILENCE_SECONDS
    process: SpawnProcess | None = None
    beat: Any = None
    """When the process last gave a sign of life, by the monotonic clock; shared with it."""
    suspected: bool = False

    def start(self) -> None:
        self.beat = _SPAWN.RawValue(ctypes.c_double, time.monotonic() + FIRST_SECONDS)
        self.suspected = False
        self.process = _SPAWN.Process(target=self.run, args=(self.beat, *self.arguments), name=self.name)
        self.process.start()

    def hangs(self) -> bool:
        """Tell whether the process was silent at two looks: one alone may be our own pause."""
        silent = time.monotonic() - self.beat.value > self.silence
        was_silent, self.suspected = self.suspected, silent
        return silent and was_silent


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
        self._keeper = threading.Thread(target=self._keep_database, daemon=True)
        self._grace = get_settings().stop_seconds
        web = (host, self.port)
        self._roles = [_Role(f"web-{n}", serve_web, web) for n in range(workers)]
        if with_jobs:
            self._roles.append(_Role("jobs", serve_jobs, (), JOBS_SILENCE_SECONDS))

    def run(self, on_ready: Callable[[], None]) -> None:
        """Keep everything running until SIGTERM or SIGINT; call `on_ready` once requests are answered."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        metrics = tempfile.TemporaryDirectory(prefix="vouchers-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics.name
        try:
            for role in self._roles:
                role.start()
            self._keeper.start()
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
        """Start again what has died, and replace what hangs."""
        for role in self._roles:
            if role.process is None:
                continue
            if not role.process.is_alive():
                log.warning("process died, starting it again", role=role.name, exit=role.process.exitcode)
                role.start()
            elif role.hangs():
                log.warning("process hangs, replacing it", role=role.name)
                role.process.kill()
                role.process.join()
                role.start()

    def _keep_database(self) -> None:
        """Start the embedded database again whenever it is gone, and try until it starts.

        It may fail to start for a while, as with a full disk: requests are answered 503 meanwhile.
        """
        pause = 1.0
        while self._postgres is not None and not self._stop.wait(pause):
            try:
                if self._postgres.ensure_running():
                    log.warning("the database had gone and was started again")
                pause = 1.0
            except (CommandError, OSError) as error:
                pause = min(2 * pause, MOST_PAUSE)
                log.error("the database does not start; trying again", error=str(error), seconds=pause)  # noqa: TRY400

    def _end(self) -> None:
        """Let every process finish, and end by force the one that does not."""
        processes = [role.process for role in self._roles if role.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + self._grace
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                log.warning("process did not end in time, and was killed", role=process.name)
                process.kill()
                process.join()
        if self._keeper.is_alive():
            self._keeper.join()
        self._held.close()


class _Server(uvicorn.Server):
    """Uvicorn's server, which gives signs of life."""

    def __init__(self, config: uvicorn.Config, beat: Any) -> None:
        super().__init__(config)
        self._beat = beat

    async def on_tick(self, counter: int) -> bool:
        """Tell the supervisor, ten times a second, that the event loop turns."""
        self._beat.value = time.monotonic()
        return await super().on_tick(counter)


def serve_web(beat: Any, host: str, port: int) -> None:
    """Answer HTTP in this process."""
    _end_with_parent()
    settings = get_settings()
    proxies = settings.trusted_proxies
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
        timeout_graceful_shutdown=max(1, int(settings.stop_seconds) - 5),
    )
    config.load()
    # What is loaded by now stays: leave it out of the collector's rounds, and make those rarer.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    _Server(config, beat).run(sockets=[_socket(host, port, shared=True)])


def serve_jobs(beat: Any) -> None:
    """Do the jobs in this process."""
    _end_with_parent()
    settings = get_settings()
    logs.configure(settings.log_level)

    def alive() -> None:
        beat.value = time.monotonic()

    asyncio.run(worker.work(settings, alive))


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
