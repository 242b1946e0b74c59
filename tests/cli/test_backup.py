"""Backup and restore: whole or not at all, and every day by itself."""

import os
import shutil
import subprocess
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from alembic import command
from sqlalchemy import text

from app.cli.backup import back_up, restore
from app.domain.lifecycle.check import violations
from app.platform import disk
from app.platform.connections import connect_sync
from app.platform.database import transaction
from app.platform.engines import create_engine
from app.platform.errors import CommandError
from app.platform.migrate import config
from app.platform.postgres import dump, programs
from app.platform.postgres.server import LocalPostgres, LocalPostgresError
from app.platform.postgres.user import ServerUser
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings
from app.schema.projects import tables_of_projects
from app.server import backups
from app.server.backups import DailyBackups
from tests.conftest import another_database
from tests.factories import add_projects, fill


@pytest.fixture
def empty(server_url):
    """Another database of the same server, with nothing in it."""
    with another_database(server_url, "other") as url:
        yield Settings(DATABASE_URL=url)


async def codes(settings):
    engine = of_project(create_engine(settings), DEFAULT)
    async with transaction(engine) as connection:
        found = set((await connection.execute(text("SELECT code FROM voucher"))).scalars())
        assert await violations(connection) == []
    await engine.dispose()
    return found


async def test_what_is_backed_up_is_restored_whole_or_not_at_all(settings, engine, client, empty, tmp_path):
    given = await fill(engine, "p", 20)
    (other,) = await add_projects(engine, "other")
    given_elsewhere = await fill(of_project(engine, other), "p", 2)  # the same codes
    assert (await client.post("/v1/pools/p/assignments", json={})).status_code == 201
    file = tmp_path / "a.dump"
    assert str(file) in back_up(settings, file)
    assert (file.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o600, [file])
    restore(empty, file, replace=False)
    assert await codes(empty) == set(given)
    with connect_sync(empty, project=other) as session:  # each table is under its policies again
        assert {code for (code,) in session.execute("SELECT code FROM voucher")} == set(given_elsewhere)
    with connect_sync(empty) as owner:
        forced = "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"
        assert {name for (name,) in owner.execute(forced)} >= set(tables_of_projects())

    with pytest.raises(CommandError, match="not empty"):
        restore(empty, file, replace=False)
    (tmp_path / "torn.dump").write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CommandError, match="pg_restore"):
        restore(empty, tmp_path / "torn.dump", replace=True)
    assert await codes(empty) == set(given)  # what was there is there again
    restore(empty, file, replace=True)
    assert await codes(empty) == set(given)
    with pytest.raises(CommandError, match="in use"):
        restore(settings, file, replace=True)
    with pytest.raises(CommandError, match="cannot be written"):
        back_up(settings, tmp_path / "none" / "a.dump")


OLDER = max(Path("/usr/lib/postgresql").glob("1[56]/bin"), default=None)


@pytest.fixture
def older():
    """A database on a server of an older major version."""
    folder = Path(tempfile.mkdtemp(prefix="vp-"))
    user = ServerUser.of(folder)
    user.owns(folder)
    prefix = user.prefix(OLDER / "initdb", folder)

    def run(program, *arguments):
        command = [*prefix, OLDER / program, f"--pgdata={folder}/data", *arguments]
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL)

    run("initdb", "--username=vouchers", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
    apart = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    try:
        run("pg_ctl", "start", "--wait", f"--log={folder}/log", f"--options={apart}")
        yield Settings(DATABASE_URL=f"postgresql://vouchers@/postgres?host={folder}")
    finally:
        run("pg_ctl", "stop", "--mode=immediate")
        shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.skipif(OLDER is None, reason="no older PostgreSQL is installed")
async def test_a_backup_goes_to_a_server_of_an_older_version_and_back(
    settings, engine, older, empty, tmp_path
):
    given, file = await fill(engine, "p", 20), tmp_path / "a.dump"
    back_up(settings, file)
    restore(older, file, replace=False)
    assert await codes(older) == set(given)
    (tmp_path / "torn.dump").write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CommandError, match="pg_restore"):
        restore(older, tmp_path / "torn.dump", replace=True)
    assert await codes(older) == set(given)
    back_up(older, file)
    restore(empty, file, replace=False)
    assert await codes(empty) == set(given)


VERSIONED = "CREATE TABLE alembic_version AS SELECT '0153' AS version_num;"
OURS = f"{VERSIONED} CREATE TABLE voucher ();"
NAMED = "CREATE TABLE database AS SELECT 1 AS id, '{}' AS name;"
STRANGE = {
    "of another program": ("CREATE TABLE invoice ()", "not of this service"),
    "of another program, whose versions have our names": (VERSIONED, "not of this service"),
    "of a later release": (OURS.replace("0153", "9999"), "later release"),
    "of a further database": (OURS + NAMED.format("second"), "of database 'second', and this is 'main'"),
}


@pytest.mark.parametrize("backup", STRANGE)
def test_what_is_not_this_database_takes_nothing_away(backup, empty, empty_database, tmp_path):
    other, (tables_of_it, said) = Settings(DATABASE_URL=empty_database), STRANGE[backup]
    for settings, statements in ((other, tables_of_it), (empty, f"{OURS} {NAMED.format('main')}")):
        with connect_sync(settings, autocommit=True) as connection:
            connection.execute(statements)
    with connect_sync(empty, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept ()")
    back_up(other, tmp_path / "a.dump")
    with pytest.raises(CommandError, match=said):
        restore(empty, tmp_path / "a.dump", replace=True)
    with connect_sync(empty) as connection:
        assert tables(connection) == {("public", "kept")}


ASIDE = "ALTER SCHEMA public RENAME TO replaced;"
KILLED = {
    "as it sets aside": ASIDE,
    "as it fills": f"{ASIDE} CREATE SCHEMA public",
    "before it has policies": f"{ASIDE} CREATE SCHEMA public; CREATE TABLE alembic_version (); CREATE TABLE fresh ()",
    "and a service was begun": f"{ASIDE} CREATE SCHEMA public; CREATE TABLE fresh (); CREATE POLICY p ON fresh",
}
BEFORE_ITS_END = list(KILLED)[:-1]


@pytest.fixture
def killed(request, empty):
    """A database with one table, in which a restore was killed at some point."""
    with connect_sync(empty, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept ()")
        connection.execute(KILLED[request.param])
        yield connection


def tables(connection):
    found = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE tablename IN ('kept', 'fresh')"
    )
    return set(found.fetchall())


@pytest.mark.parametrize("killed", BEFORE_ITS_END, indirect=True)
@pytest.mark.parametrize("replace", [False, True])
def test_what_a_restore_that_was_killed_set_aside_is_not_lost_to_the_next_one(
    killed, replace, empty, tmp_path
):
    killed.close()
    (tmp_path / "torn.dump").write_bytes(b"PGDMP")
    with pytest.raises(CommandError, match="pg_restore" if replace else "not empty"):
        restore(empty, tmp_path / "torn.dump", replace=replace)
    with connect_sync(empty) as connection:
        assert tables(connection) == {("public", "kept")}


@pytest.mark.parametrize("killed", BEFORE_ITS_END, indirect=True)
def test_what_a_restore_that_was_killed_set_aside_comes_back_with_the_next_start(killed, empty):
    command.upgrade(config(empty.direct_url), "0001")
    assert tables(killed) == {("public", "kept")}


@pytest.mark.parametrize("killed", ["and a service was begun"], indirect=True)
def test_which_of_two_is_kept_after_a_restore_that_was_killed_is_for_a_person_to_say(killed, empty, tmp_path):
    command.upgrade(config(empty.direct_url), "0001")
    killed.close()
    (tmp_path / "torn.dump").write_bytes(b"PGDMP")
    with pytest.raises(CommandError, match="was broken off"):
        restore(empty, tmp_path / "torn.dump", replace=True)
    with connect_sync(empty) as connection:
        assert tables(connection) == {("replaced", "kept"), ("public", "fresh")}


def test_a_backup_is_made_each_day_and_so_many_are_kept(settings, tmp_path):
    folder = tmp_path / "backups"
    daily = DailyBackups(settings.sqlalchemy_url, folder, 2, threading.Event())
    now = datetime(2026, 11, 26, 3, tzinfo=UTC)
    assert daily.look(now)
    (folder / ".vouchers-20261126T030000Z.dump.99").touch()  # of one that was killed
    assert not daily.look(now + timedelta(hours=23))
    for days in (1, 2, 3):
        assert daily.look(now + timedelta(days=days))
    names = ["vouchers-20261128T030000Z.dump", "vouchers-20261129T030000Z.dump"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert not daily.look(now + timedelta(days=3, hours=1))
    assert daily.look(now)  # the clock was put back
    assert not daily.look(now + timedelta(hours=1))


def test_a_clock_that_was_ahead_costs_no_backup_that_is_made_now(settings, tmp_path):
    daily = DailyBackups(settings.sqlalchemy_url, tmp_path, 2, threading.Event())
    now = datetime(2026, 11, 26, 3, tzinfo=UTC)
    ahead = [tmp_path / dump.name_of(now + timedelta(days=days)) for days in (400, 401)]
    for file in ahead:
        file.touch()
        os.utime(file, (5e9, 5e9))
    (tmp_path / "vouchers-of-mine-Z.dump").touch()
    assert daily.look(now)
    assert not daily.look(now + timedelta(minutes=15))
    names = {"vouchers-20261126T030000Z.dump", ahead[1].name, "vouchers-of-mine-Z.dump"}
    assert {file.name for file in tmp_path.iterdir()} == names


@pytest.fixture
def disk_with(monkeypatch):
    """Make the disk one of 100 GiB with so many bytes left."""

    def make(left):
        seen = SimpleNamespace(f_frsize=1, f_blocks=100 * 2**30, f_bavail=left)
        monkeypatch.setattr(disk.os, "statvfs", lambda _: seen)

    return make


def test_a_daily_backup_is_not_begun_where_the_last_one_shows_that_there_is_too_little_room(
    settings, tmp_path, monkeypatch, disk_with
):
    daily = DailyBackups(settings.sqlalchemy_url, tmp_path, 2, Mock(wait=Mock(side_effect=[False, True])))
    first = datetime(2026, 11, 26, 3, tzinfo=UTC)
    assert daily.look(first)
    (last,) = tmp_path.iterdir()
    disk_with(disk.RESERVE_BYTES + last.stat().st_size - 1)
    monkeypatch.setattr(backups.clock, "now", lambda: first + timedelta(days=1))
    monkeypatch.setattr(backups, "log", log := Mock())
    daily._run()
    assert "failed" in log.error.call_args.args[0]
    assert "too little room" in log.error.call_args.kwargs["error"]
    assert list(tmp_path.iterdir()) == [last]
    disk_with(disk.RESERVE_BYTES + last.stat().st_size)
    assert daily.look(first + timedelta(days=1))


def test_a_daily_backup_that_grows_into_the_room_of_others_is_ended_and_leaves_nothing(
    settings, tmp_path, monkeypatch, disk_with
):
    monkeypatch.setattr(programs, "_LOOK_SECONDS", 0.05)
    disk_with(disk.RESERVE_BYTES)
    daily = DailyBackups(settings.sqlalchemy_url, tmp_path, 2, threading.Event())
    looks = []

    def check(*_, **__):
        looks.append(len(looks))
        if len(looks) == 3:
            disk_with(disk.RESERVE_BYTES - 1)
        disk.check_room(tmp_path)

    monkeypatch.setattr(backups, "check_room", check)
    with connect_sync(settings) as holder:
        holder.execute("LOCK TABLE voucher IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(disk.NoRoomError):
            daily.look(datetime(2026, 11, 26, 3, tzinfo=UTC))
    assert (len(looks), list(tmp_path.iterdir())) == (3, [])


def test_a_backup_that_hangs_is_given_up_and_leaves_nothing(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(dump, "SILENCE_SECONDS", 2)
    daily = DailyBackups(settings.sqlalchemy_url, tmp_path, 2, threading.Event())
    now = datetime(2026, 11, 26, 3, tzinfo=UTC)
    with connect_sync(settings) as holder:
        holder.execute("LOCK TABLE voucher IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(CommandError, match="did not get on for 2 s"):
            daily.look(now)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert daily.look(now)


def test_a_home_of_another_major_version_is_told_and_what_to_do(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(LocalPostgresError, match=r"was made by PostgreSQL 16.*vouchers restore"):
        LocalPostgres(tmp_path).start()
    assert (tmp_path / "data" / "PG_VERSION").read_text() == "16\n"
