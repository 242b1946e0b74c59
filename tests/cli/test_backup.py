"""Backup and restore: whole or not at all, and every day by itself."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.cli.backup import back_up, restore
from app.domain.lifecycle.check import violations
from app.platform.connections import connect_sync
from app.platform.database import transaction
from app.platform.engines import create_engine
from app.platform.errors import CommandError
from app.platform.postgres import dump
from app.platform.postgres.server import LocalPostgres, LocalPostgresError
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings
from app.schema.projects import tables_of_projects
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
