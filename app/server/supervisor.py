"""Runs the service's processes: N that answer HTTP and one that does the jobs; starts again what dies.

It holds the sockets for them, keeps the embedded PostgreSQL alive, and on SIGHUP replaces each process by a new one.
"""

import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress

import structlog

from app.platform.errors import CommandError
from app.platform.metrics import counting_together
from app.platform.postgres.server import LocalPostgres
from app.platform.settings import get_settings
from app.server.backups import DailyBackups
from app.server.roles import JOBS_SILENCE_SECONDS, REPLACED, SPARE_SECONDS, Leaving, Role, shared_times
from app.server.sockets import hold
from app.server.spawned import begin_jobs, begin_web

SILENCE_SECONDS = 10.0
"""A web process silent for so long hangs, and is replaced."""

LOOK_SECONDS = 0.2
"""Between two looks at the processes."""
FIRST_LOOK_SECONDS = 0.05
"""The same until requests are answered."""

MOST_PAUSE = 5.0
"""Longest pause between two tries to start the embedded database."""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks the service itself, whatever proxy the environment names for others."""

log = structlog.get_logger()


class Supervisor:
    """The processes of `vouchers serve`."""

    def __init__(
        self, host: str, port: int, workers: int, *, with_jobs: bool, postgres: LocalPostgres | None
    ) -> None:
        self._held = hold(host, port, workers)
        self._host = host
        self.port: int = self._held[0].getsockname()[1]
        self._postgres = postgres
        self._stop = threading.Event()
        self._replace = threading.Event()
        self._keeper = threading.Thread(target=self._keep_database, daemon=True)
        settings = get_settings()
        self._grace = settings.drain_seconds + settings.stop_seconds
        self._backups = settings.backups
        self._leaving = Leaving()
        beats = shared_times(workers)
        self._roles = [
            Role(f"web-{n}", begin_web, (n, self._held, beats), SILENCE_SECONDS, REPLACED)
            for n in range(workers)
        ]
        if with_jobs:
            self._roles.append(Role("jobs", begin_jobs, (), JOBS_SILENCE_SECONDS, signal.SIGTERM))

    @counting_together()
    def run(self, on_ready: Callable[[], None]) -> None:
        """Keep everything running until SIGTERM or SIGINT; call `on_ready` once requests are answered."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            told = self._stop if _on_terminal() else self._replace
            signal.signal(signal.SIGHUP, lambda *_: told.set())
        try:
            for role in self._roles:
                role.start()
            self._keeper.start()
            if self._postgres is not None:
                folder = self._postgres.home / "backups"
                DailyBackups(self._postgres.url, folder, self._backups, self._stop).start()
            self._keep_processes(on_ready)
        finally:
            self._end()

    def _keep_processes(self, on_ready: Callable[[], None]) -> None:
        is_ready = False
        while not self._stop.wait(LOOK_SECONDS if is_ready else FIRST_LOOK_SECONDS):
            self._revive()
            if self._replace.is_set():
                self._replace.clear()
                self._replace_all()
            if not is_ready and self._ready():
                is_ready = True
                on_ready()

    def _ready(self) -> bool:
        host = "127.0.0.1" if self._host in {"0.0.0.0", "::"} else self._host  # noqa: S104  (compared, not bound)
        try:
            with _OPENER.open(f"http://{host}:{self.port}/health/ready", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _revive(self) -> None:
        """Start again what has died, and replace what hangs."""
        for role in self._roles:
            now = role.now
            if now is None:
                role.start()
            elif not now.alive:
                log.warning("process died, starting it again", role=role.name, exit=now.process.exitcode)
                now.forget()
                role.start()
            elif now.hangs(role.silence):
                log.warning("process hangs, replacing it", role=role.name)
                now.kill()
                now.forget()
                role.start()
        self._leaving.look()

    def _replace_all(self) -> None:
        """Put a new process in the place of each, one after another; the new one serves before the old one leaves."""
        log.warning("replacing every process by a new one")
        for role in self._roles:
            if not self._replace_one(role):
                log.error("the new process did not start; the old ones go on", role=role.name)
                return
        log.warning("every process was replaced by a new one")

    def _replace_one(self, role: Role) -> bool:
        new = role.spawn()
        if new is None:
            return False
        while not new.started:
            if self._stop.wait(LOOK_SECONDS) or not new.alive or new.hangs(role.silence):
                new.kill()
                return self._stop.is_set()
            self._revive()
        old, role.now = role.now, new
        if old is not None:
            old.signal(role.leave)
            self._leaving.add(old, self._grace + SPARE_SECONDS)
        return True

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
        self._stop.set()  # for the threads, where an error ends this
        running = [role.now for role in self._roles if role.now is not None]
        for each in running:
            each.signal(signal.SIGTERM)
        running += self._leaving.all()
        deadline = time.monotonic() + self._grace
        for each in running:
            each.process.join(max(0.0, deadline - time.monotonic()))
            if each.alive:
                log.warning("process did not end in time, and was killed", role=each.process.name)
                each.kill()
        if self._keeper.is_alive():
            self._keeper.join(max(SPARE_SECONDS, deadline - time.monotonic()))
            if self._keeper.is_alive():
                log.warning("the start of the database did not end in time, and is left to itself")
        for held in self._held:
            held.close()


def _on_terminal() -> bool:
    """Tell whether a person started this in a terminal, whose closing is to end it."""
    with suppress(OSError, ValueError):
        return sys.stdin is not None and sys.stdin.isatty()
    return False
