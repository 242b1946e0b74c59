"""What the release before projects had is the project `default`'s, all of it; an upgrade that broke off goes on."""

import asyncio
import gzip
from pathlib import Path

import psycopg
import pytest
from alembic import command

from app.cli.checking import violations_of_all
from app.platform import indexes
from app.platform.database_url import conninfo
from app.platform.migrate import config, migrate
from app.platform.settings import Settings
from app.schema.projects import tables_of_projects

DUMP = Path(__file__).parent / "before_projects.sql.gz"
"""All kinds of rows, as that release wrote them: `pg_dump --inserts` after a demo."""


@pytest.fixture
def dumped(empty_database):
    """A database of the release before, and how many rows each of its tables has."""
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        connection.execute(gzip.decompress(DUMP.read_bytes()))
    with psycopg.connect(conninfo(empty_database), autocommit=True) as connection:
        return empty_database, rows(connection)


def rows(connection):
    return {
        table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
        for table in tables_of_projects()
    }


def by_state(connection):
    return connection.execute(
        "SELECT pool_id, status::text, count(*), count(assigned_at) FROM voucher GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()


def test_all_of_the_release_before_is_in_default(dumped, monkeypatch):
    url, there = dumped
    assert sum(map(bool, there.values())) == len(there)
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        states = by_state(connection)
        command.upgrade(config(url), "0103")
        break_off(connection)
        monkeypatch.setattr(indexes, "LARGE", 16 * 1024)  # some are built as those of large tables are
        migrate(url)
        command.check(config(url))
        assert connection.execute("SELECT id, name FROM project").fetchall() == [(1, "default")]
        assert rows(connection) == there
        assert by_state(connection) == states
        assert connection.execute("SELECT DISTINCT project_id FROM api_key").fetchall() == [(1,)]
        assert (
            connection.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall()
            == []
        )
    for project, seen in ((1, there), (2, dict.fromkeys(there, 0))):
        options = f"-c role=vouchers_service -c app.project={project}"
        with psycopg.connect(conninfo(url), options=options, autocommit=True) as connection:
            assert rows(connection) == seen
    assert asyncio.run(violations_of_all(Settings(DATABASE_URL=url))) == []


def break_off(connection):
    """Leave what an upgrade leaves that is killed as it makes indexes: one whole, one without its name, one invalid."""
    connection.execute("CREATE UNIQUE INDEX event_pkey_new ON event (project_id, id)")
    connection.execute("CREATE INDEX redemption_code_idx_new ON redemption (project_id, code)")
    connection.execute("DROP INDEX redemption_code_idx")
    connection.execute(
        "INSERT INTO message_default (id, code) SELECT gen_random_uuid(), 'twice' FROM generate_series(1, 2)"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY message_default_pkey_new ON message_default (code)"
        )
    connection.execute("DELETE FROM message_default WHERE code = 'twice'")
