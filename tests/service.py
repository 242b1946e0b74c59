"""The service as a user starts it: `vouchers serve`, in processes of its own, on a database of its own."""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.engines import create_engine
from app.platform.postgres.server import LocalPostgres
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings
from tests.factories import KEY


class Service:
    """A home, and a `vouchers serve` on it that can be stopped, killed and started again."""

    def __init__(
        self,
        workers: int = 2,
        folder: Path | None = None,
        disk: Path | None = None,
        arguments: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.arguments = arguments
        self.folder = folder
        self.home = Path(tempfile.mkdtemp(prefix="vp-", dir=disk))
        self.workers = workers
        self.log = self.home / "service.log"
        self.environment = {
            **os.environ,
            "VOUCHERS_HOME": str(self.home),
            "TMPDIR": str(self.home),  # what a killed service leaves behind goes with the home
            "VOUCHERS_BOOTSTRAP_KEY": KEY,
            "VOUCHERS_LOG_LEVEL": "WARNING",
            "VOUCHERS_DRAIN_SECONDS": "0",
            **environment,
        }
        if "DATABASE_URL" not in environment:
            self.environment.pop("DATABASE_URL", None)
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.seconds_to_ready = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if "DATABASE_URL" not in self.environment:
            with LocalPostgres(self.home):
                pass  # the last to leave stops the server
        shutil.rmtree(self.home)

    def start(self) -> None:
        command = [sys.executable, "-m", "app.cli", "serve", "--port", "0", "--workers", str(self.workers)]
        command += self.arguments
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.url, self.seconds_to_ready = self._ready(deadline=time.monotonic() + 60)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same home."""
        command = [sys.executable, "-m", "app.cli", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def client(self, **options: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30, **options)

    @property
    def database_url(self) -> str:
        return self.environment.get("DATABASE_URL") or LocalPostgres(self.home).url

    def engine(self) -> AsyncEngine:
        return of_project(create_engine(Settings(DATABASE_URL=self.database_url)), DEFAULT)

    def web(self) -> list[psutil.Process]:
        """The processes that answer HTTP."""
        return self._children(listening=True)

    def jobs(self) -> list[psutil.Process]:
        """The process that does the jobs, and web processes that do not listen yet or any more."""
        return self._children(listening=False)

    def _children(self, *, listening: bool) -> list[psutil.Process]:
        assert self.process is not None
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(child.cmdline()) and _listens(child) == listening:
                    found.append(child)
        return found

    def stop(self) -> int:
        """SIGTERM, as an operator would; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL to the service and to PostgreSQL, all at once, as when the power goes."""
        assert self.process is not None
        tree: list[psutil.Process | subprocess.Popen[str]] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            tree += [*psutil.Process(self.process.pid).children(recursive=True), self.process]
        tree += self.postgres()
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate(timeout=30)

    def postgres(self) -> list[psutil.Process]:
        """The postmaster of the home, and its children."""
        return postgres_of(self.home)

    def suspend_postgres(self) -> list[psutil.Process]:
        """Stop PostgreSQL in the middle."""
        return suspend_postgres_of(self.home)

    def _ready(self, deadline: float) -> tuple[str, float]:
        assert self.process is not None
        assert self.process.stdout is not None
        said = ""
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                line = self.process.stdout.readline()
                said += line
                found = re.search(r"Ready after ([\d.]+) s: (http://\S+)/docs", line)
                if found:
                    return found[2], float(found[1])
                if not line:
                    break
        raise AssertionError(f"the service did not get ready: {said}")


def postgres_of(home: Path) -> list[psutil.Process]:
    """The postmaster of a home, and its children."""
    pid_file = home / "data" / "postmaster.pid"
    if not pid_file.exists():
        return []
    try:
        postmaster = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        if str(home) not in " ".join(postmaster.cmdline()):
            return []
        return [postmaster, *postmaster.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def suspend_postgres_of(home: Path) -> list[psutil.Process]:
    """Stop a PostgreSQL in the middle, the postmaster first: it could make another backend meanwhile."""
    postmaster = postgres_of(home)[0]
    postmaster.suspend()
    stopped = [postmaster, *postmaster.children(recursive=True)]
    for process in stopped[1:]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    return stopped


def _listens(process: psutil.Process) -> bool:
    return any(connection.status == psutil.CONN_LISTEN for connection in process.net_connections("tcp"))
