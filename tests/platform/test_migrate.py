"""The migrations make what `app/schema/base.py` says, can be taken back, and carry what is there along."""

import threading
import uuid
from unittest.mock import Mock

import psycopg
from alembic import command
from alembic.script import ScriptDirectory

from app.cli.opening import bring_up
from app.platform import advisory, aside
from app.platform import migrate as migrating
from app.platform.connections import connect_sync
from app.platform.database_url import conninfo
from app.platform.engines import sync_engine
from app.platform.migrate import config, migrate
from app.platform.migrations import older_versions, versions
from app.platform.settings import Settings


def test_they_make_the_models_and_can_be_taken_back(empty_database):
    migrate(empty_database)
    command.check(config(empty_database))
    command.downgrade(config(empty_database), "0001")  # the job tables stay
    migrate(empty_database)
    command.check(config(empty_database))


def test_an_import_under_way_goes_on_where_it_was(empty_database):
    command.upgrade(config(empty_database), "0006")
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        for merged_to in (-5, None):
            connection.execute(
                "INSERT INTO import (id, pool, source, options, seed, merged_to) VALUES (%s, 'p', '{}', '{}', 1, %s)",
                (uuid.uuid4(), merged_to),
            )
        migrate(empty_database)
        rows = connection.execute("SELECT merged_to FROM import ORDER BY merged_to").fetchall()
    assert rows == [([-5, -5],), (None,)]


def test_the_versions_before_this_release_are_all_but_the_last():
    scripts = ScriptDirectory.from_config(config("postgresql://"))
    everything = {script.revision for script in scripts.walk_revisions()}
    assert older_versions() == everything - set(scripts.get_heads())
    assert versions() == everything


def test_a_database_that_a_later_release_has_migrated_is_left_as_it_is(empty_database, monkeypatch):
    monkeypatch.setattr(migrating, "log", log := Mock())
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version AS SELECT '9999' AS version_num")
        bring_up(Settings(DATABASE_URL=empty_database))
        there = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert there == [("9999",)]
    assert log.warning.call_args.kwargs == {"version": "9999"}


def test_a_start_that_waits_for_another_one_to_migrate_says_so(settings, monkeypatch):
    monkeypatch.setattr(aside, "TOLD_SECONDS", 0)
    monkeypatch.setattr(aside, "log", log := Mock())
    with connect_sync(settings, autocommit=True) as other, sync_engine(settings) as engine:
        other.execute("SELECT pg_advisory_lock(%s)", [advisory.SCHEMA])
        log.warning.side_effect = lambda _: other.execute("SELECT pg_advisory_unlock(%s)", [advisory.SCHEMA])
        too_long = threading.Timer(20, log.warning.side_effect, [None])
        too_long.start()
        with engine.connect() as connection:
            aside.take_lock(connection)
        too_long.cancel()
    assert log.warning.call_count == 1


def test_an_index_that_was_left_without_its_name_is_finished(empty_database):
    command.upgrade(config(empty_database), "0140")
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        connection.execute(
            "CREATE INDEX redemption_deciding_idx_new ON redemption (project_id, code)"
            " WHERE outcome IN ('not_assigned', 'other_customer', 'cancelled')"
        )
        connection.execute("DROP INDEX redemption_deciding_idx")
        migrate(empty_database)
        command.check(config(empty_database))
        query = "SELECT pg_get_indexdef('redemption_deciding_idx'::regclass)"
        definition = connection.execute(query).fetchone()[0]
    assert "'redeemed'" not in definition
    command.downgrade(config(empty_database), "0140")
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        assert "'redeemed'" in connection.execute(query).fetchone()[0]
