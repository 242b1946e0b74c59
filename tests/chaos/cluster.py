"""Two PostgreSQL that Patroni keeps, and their etcd, as `deploy/patroni` says it; on loopback, for a test.

Whatever a node is reached by (PostgreSQL's port, Patroni's, and its own way to etcd) leads through networks that the
test can cut, so that a node is cut off as it would be on a machine of its own.
"""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import httpx
import psutil
import psycopg

from app.platform.postgres.server import find_programs
from app.platform.postgres.user import ServerUser
from app.platform.row_security import STATEMENTS
from tests.chaos.replicated import in_memory
from tests.chaos.wires import Wires

PROJECT = Path(__file__).parent.parent.parent
CONFIGURATION = PROJECT / "deploy" / "patroni" / "patroni.yaml"
ENVIRONMENT = PROJECT / "deploy" / "patroni" / "node.env"
_PASSWORD = "only-on-loopback"
_PATIENCE = 60.0
"""Seconds in which a cluster gets whole; a machine on which other things run takes its time."""


def free_port() -> int:
    """Return a port that stays free until it is used, seconds later: none that the system gives to who connects."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Member:
    """A node: Patroni, the PostgreSQL that it keeps, and the wires between them and all others."""

    def __init__(self, name: str, folder: Path, prefix: tuple[str, ...]) -> None:
        self.name = name
        self.data = folder / "data"
        self.port, self.rest, self.etcd = free_port(), free_port(), free_port()
        self.log = folder / "log"
        self._folder = folder
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._configuration = folder.parent / CONFIGURATION.name
        self._suspended: list[psutil.Process] = []
        self.peer: Member | None = None
        self.wires: Wires | None = None
        """What all ways into this node and out of it lead through."""

    @property
    def conninfo(self) -> str:
        """How a test looks at the server, past the network."""
        return f"host=127.0.0.1 port={self.port} user=postgres password={_PASSWORD} connect_timeout=2"

    @property
    def front(self) -> str:
        """Where everybody else reaches the server."""
        return f"127.0.0.1:{self.wires.ports[self.port]}"

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        self._process = self._run("patroni")

    def hand_over(self) -> None:
        """Switch over to the other node, as an operator would for the maintenance of this one."""
        assert self.peer is not None
        wanted = ("--leader", self.name, "--candidate", self.peer.name, "--force")
        self._helpers.append(self._run("patronictl", "-c", str(self._configuration), "switchover", *wanted))

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        given = {
            "NAME": self.name,
            "ETCD_HOSTS": f"127.0.0.1:{self.wires.ports[self.etcd]}",
            "ETCD_USE_PROXIES": "true",  # what etcd says of itself would lead past the network
            "RESTAPI_LISTEN": f"127.0.0.1:{self.rest}",
            "RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{self.wires.ports[self.rest]}",
            "POSTGRESQL_LISTEN": f"127.0.0.1:{self.port}",
            "POSTGRESQL_CONNECT_ADDRESS": self.front,
            "POSTGRESQL_DATA_DIR": str(self.data),
            "POSTGRESQL_BIN_DIR": str(find_programs()),
            "POSTGRESQL_PGPASS": str(self._folder / "pgpass"),
            **{f"{who}_PASSWORD": _PASSWORD for who in ("SUPERUSER", "REPLICATION", "REWIND")},
        }
        environment = {**_as_shipped(), **{f"PATRONI_{name}": value for name, value in given.items()}}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self._prefix, f"/usr/bin/{program}", *(arguments or [str(self._configuration)])],
                cwd="/",
                env={**environment, "PATH": os.defpath, "LC_ALL": "C"},
                stdout=log,
                stderr=log,
            )

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        with psycopg.connect(self.conninfo, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def takes_writes(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            return self.execute("SELECT pg_is_in_recovery()") == [(False,)]
        return False

    def server(self) -> list[psutil.Process]:
        """PostgreSQL: the postmaster first, then its children."""
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n")[0]))
            if str(self.data) in " ".join(postmaster.cmdline()):
                return [postmaster, *postmaster.children(recursive=True)]
        return []

    def replaying(self) -> psutil.Process:
        """The process of a standby that makes what it has got visible."""
        return next(
            process for process in self.server() if "startup recovering" in " ".join(process.cmdline())
        )

    def keeper(self) -> list[psutil.Process]:
        """Patroni, and what it runs beside the server."""
        if self._process is None or self._process.poll() is not None:
            return []
        patroni = psutil.Process(self._process.pid)
        server = self.server()
        return [patroni, *(child for child in patroni.children(recursive=True) if child not in server)]

    def kill(self, *, server: bool = True, keeper: bool = True) -> None:
        """End them at once, as when the machine is gone."""
        processes = [*(self.keeper() if keeper else []), *(self.server() if server else [])]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if keeper and self._process is not None:
            self._process.wait()
        for helper in self._helpers:
            helper.kill()
            helper.wait()
        psutil.wait_procs(processes, 10)

    def start_anew(self) -> None:
        """End what is left of it, and start it."""
        self.kill()
        self.start()

    def start_as_the_other_dies(self) -> None:
        """Start it while the other one dies and starts again."""
        assert self.peer is not None
        self.start()
        self.peer.kill()
        self.peer.start()

    def suspend(self, *, server: bool = True) -> None:
        """Stop them in the middle, parents first: they could make another child meanwhile."""
        self._suspended = [*self.keeper(), *(self.server() if server else [])]
        for process in self._suspended:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let them go on where they were."""
        for process in self._suspended:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def cut_off(self) -> None:
        """Cut it off from everybody; nobody but this node asks the other's Patroni."""
        self.wires.cut(self.port, self.rest, self.etcd, self.peer.rest)

    def heal(self) -> None:
        self.wires.heal(self.port, self.rest, self.etcd, self.peer.rest)


class Cluster:
    """A primary and a synchronous standby."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vp-", dir=in_memory()))
        self.folder.chmod(0o711)
        user = ServerUser.of(self.folder)
        prefix = user.prefix(find_programs() / "initdb", self.folder)
        (self.folder / CONFIGURATION.name).write_text(CONFIGURATION.read_text())
        (self.folder / CONFIGURATION.name).chmod(0o644)  # whoever may read it where it was
        self.members = []
        for name in ("a", "b"):
            (self.folder / name).mkdir(mode=0o711)
            user.owns(self.folder / name)
            self.members.append(Member(name, self.folder / name, prefix))
        self._etcd: subprocess.Popen[bytes] | None = None
        self._wires = Wires(
            [port for member in self.members for port in (member.port, member.rest, member.etcd)]
        )

    def __enter__(self) -> Self:
        """Lay the wires, start all, and make role and database as an administrator would."""
        self._wires.__enter__()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()
        self._wires.__exit__()
        shutil.rmtree(self.folder)

    def _start(self) -> None:
        self._start_etcd()
        first, second = self.members
        first.wires = second.wires = self._wires
        first.peer, second.peer = second, first
        first.start()
        self._wait(first.takes_writes)
        self._wait(lambda: self.says(first, "primary"))
        first.execute(f"CREATE ROLE vouchers LOGIN PASSWORD '{_PASSWORD}'")
        for statement in STATEMENTS:
            first.execute(statement.format(owner="vouchers"))
        first.execute("CREATE DATABASE vouchers OWNER vouchers")
        second.start()
        self.wait_until_whole()

    def says(self, member: Member, what: str) -> bool:
        """Ask Patroni's own health check, as a proxy would."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{member.rest}/{what}", timeout=2).status_code == 200
        return False

    def primary(self) -> Member | None:
        """Return the one that Patroni holds for the primary, and that takes writes."""
        for member in self.members:
            if self.says(member, "primary") and member.takes_writes():
                return member
        return None

    def other(self, member: Member) -> Member:
        return self.members[1 - self.members.index(member)]

    def is_whole(self) -> bool:
        """Tell whether there is a primary whose commits wait for a standby that may be promoted."""
        primary = self.primary()
        if primary is None or not self.says(self.other(primary), "synchronous"):
            return False
        return primary.execute("SELECT sync_state FROM pg_stat_replication") == [("sync",)]

    def wait_until_whole(self) -> None:
        self._wait(self.is_whole)

    @property
    def url(self) -> str:
        return f"{self.read_url}?target_session_attrs=read-write"

    @property
    def read_url(self) -> str:
        """All hosts, of which a standby is chosen for reads."""
        places = ",".join(member.front for member in self.members)
        return f"postgresql://vouchers:{_PASSWORD}@{places}/vouchers"

    def log(self) -> str:
        """Return what the nodes said at last."""
        return "\n".join(
            f"--- {member.name}\n{member.log.read_text(errors='replace')[-6000:]}"
            for member in self.members
            if member.log.exists()
        )

    def _wait(self, condition, seconds: float = _PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def _start_etcd(self) -> None:
        """Start one etcd: what survives the loss of one of three is etcd's own matter."""
        peers = f"http://127.0.0.1:{free_port()}"
        ports = [free_port(), *(member.etcd for member in self.members)]  # each node has its own way to it
        here = ",".join(f"http://127.0.0.1:{port}" for port in ports)
        options = {
            "name": "one",
            "data-dir": self.folder / "etcd",
            "listen-client-urls": here,
            "advertise-client-urls": here,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"one={peers}",
            "enable-v2": "true",  # deploy/patroni says why
            "logger": "zap",
            "log-outputs": "stderr",
        }
        command = ["/usr/bin/etcd", *(f"--{name}={value}" for name, value in options.items())]
        with (self.folder / "etcd.log").open("ab") as log:
            self._etcd = subprocess.Popen(command, cwd="/", env={"PATH": os.defpath}, stderr=log, stdout=log)

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{ports[0]}/health", timeout=2).status_code == 200
            return False

        self._wait(answers)


def _as_shipped() -> dict[str, str]:
    """Return what `deploy/patroni/node.env` sets, which a test changes only where it must."""
    lines = ENVIRONMENT.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
