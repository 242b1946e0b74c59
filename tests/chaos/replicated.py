"""A PostgreSQL and its standby, made and promoted with the server's own programs; on loopback, for a test."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil
import psycopg

from app.platform.postgres.server import find_programs
from app.platform.postgres.settings import tunable
from app.platform.postgres.user import ServerUser
from app.platform.row_security import STATEMENTS
from tests.chaos.between import Network

_TEXT = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync")


class Node:
    """One server, and the folder that it lives in."""

    def __init__(self, folder: Path, user: ServerUser, prefix: tuple[str, ...]) -> None:
        self.data = folder / "data"
        self._folder = folder
        self._user = user
        self._prefix = prefix
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.network: Network | None = None
        """What stands between the service and this server, if anything does."""

    @property
    def front(self) -> int:
        """The port at which the service reaches it."""
        return self.port if self.network is None else self.network.port

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def initialise(self) -> None:
        chosen = {**tunable(self.data.parent), "shared_buffers": "128MB"}
        settings = [f"--set={name}={chosen[name]}" for name in chosen if not name.startswith("log")]
        self._run("initdb", f"--pgdata={self.data}", "--username=postgres", "--auth=trust", *_TEXT, *settings)

    def copy_of(self, primary: "Node") -> None:
        """Become a standby of another server."""
        shutil.rmtree(self.data, ignore_errors=True)
        self._run(
            "pg_basebackup",
            f"--pgdata={self.data}",
            f"--dbname={primary.conninfo}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
        }
        command = [*self._prefix, str(find_programs() / "postgres"), "-D", str(self.data)]
        command += [f"--{name}={value}" for name, value in options.items()]
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        self._process = subprocess.Popen(command, cwd="/", env=environment, stderr=log, stdout=log)
        log.close()
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.conninfo, connect_timeout=5).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError(self.log) from None
                time.sleep(0.05)
            else:
                return

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-4000:]

    def execute(self, statement: str) -> list[tuple]:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def wait_for_standby(self) -> None:
        """Let every commit wait for the standby from now on."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 30
        while self.execute("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def promote(self) -> None:
        """Make a standby the primary; when this returns, it takes writes."""
        self._run("pg_ctl", "promote", f"--pgdata={self.data}", "--wait")

    def processes(self) -> list[psutil.Process]:
        """The postmaster first, then its children."""
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n")[0]))
            return [postmaster, *postmaster.children(recursive=True)]
        return []

    def suspend(self) -> None:
        """Stop it in the middle, the postmaster first: it could make another backend meanwhile."""
        postmaster = self.processes()[0]
        postmaster.suspend()
        for process in postmaster.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def kill(self) -> None:
        """End all of it at once, as when its machine is gone."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._prefix, str(find_programs() / program), *arguments],
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


class Pair:
    """A primary and a synchronous standby."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vp-", dir=in_memory()))
        self.folder.chmod(0o711)
        user = ServerUser.of(self.folder)
        prefix = user.prefix(find_programs() / "initdb", self.folder)
        self.nodes = []
        for name in ("a", "b"):
            (self.folder / name).mkdir(mode=0o711)
            user.owns(self.folder / name)
            self.nodes.append(Node(self.folder / name, user, prefix))

    def __enter__(self) -> Self:
        first, second = self.nodes
        try:
            first.initialise()
            first.start()
            first.execute("CREATE ROLE vouchers LOGIN CREATEDB")
            for statement in STATEMENTS:  # an administrator's part, for the role may make none
                first.execute(statement.format(owner="vouchers"))
            first.execute("CREATE DATABASE vouchers OWNER vouchers")
            self.follow(second, first)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder)

    def follow(self, standby: Node, primary: Node) -> None:
        """Make one the standby of the other, from which on every commit waits for it."""
        standby.copy_of(primary)
        standby.start()
        primary.wait_for_standby()

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{node.front}" for node in self.nodes)
        return f"postgresql://vouchers@{places}/vouchers"

    @property
    def other_spellings(self) -> list[str]:
        """The same in other words."""
        ports = [str(node.front) for node in self.nodes]
        repeated = "&".join(f"host=127.0.0.1:{port}" for port in ports)
        return [
            f"postgresql+psycopg://vouchers@/vouchers?{repeated}",
            f"postgres://vouchers@/vouchers?host=127.0.0.1,localhost&port={','.join(ports)}",
            f"host=127.0.0.1,127.0.0.1 port={','.join(ports)} user=vouchers dbname=vouchers",
        ]


def in_memory() -> str | None:
    """Return where files are in memory, if there is room: processes are killed here, and the kernel keeps files."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > 4 * 1024**3:
            return "/dev/shm"
    return None
