"""The release that leaves usual values out: rows from before stay as they are, and the way back fills all in."""

import uuid

import psycopg
import pytest
from alembic import command

from app.platform import indexes
from app.platform.database_url import conninfo
from app.platform.migrate import config, migrate

BEFORE = """
INSERT INTO pool (name) VALUES ('p');
INSERT INTO stock (pool_id, slot) SELECT id, slot FROM pool, generate_series(0, 7) AS slot;
INSERT INTO import (id, pool_id, pool, source, options, seed, started_at, status, merged_to, imported, ignored)
SELECT %(import)s, id, 'p', '{}', '{}', 1, '2026-01-01Z', 'running', ARRAY[5, 7], 2, 1 FROM pool;
INSERT INTO voucher (code, pool_id, draw_key, import_id, imported_at, status, assignment_id, assigned_at)
SELECT 'old-' || n, id, n, %(import)s, '2026-01-02Z', 'assigned', gen_random_uuid(), now()
FROM pool, generate_series(1, 2) AS n;
INSERT INTO assignment (id, pool_id, code, occurrence, test)
SELECT assignment_id, pool_id, code, draw_key, draw_key = 2 FROM voucher;
"""
# As the claim and an import write them.
SINCE = """
INSERT INTO voucher (code, pool_id, draw_key, import_number, imported_at, status, assignment_id, assigned_at)
SELECT 'new', pool_id, 3, number, NULL, 'assigned', gen_random_uuid(), now() FROM import;
INSERT INTO assignment (id, pool_id, code) SELECT assignment_id, pool_id, code FROM voucher WHERE code = 'new';
"""
ROWS = """
SELECT code, occurrence, test, import_id = %s, imported_at FROM voucher JOIN assignment USING (code) ORDER BY draw_key
"""


@pytest.fixture
def before(empty_database):
    """A database of the release before, with rows, and the import that they are of."""
    command.upgrade(config(empty_database), "0150")
    of = uuid.uuid4()
    with psycopg.connect(
        conninfo(empty_database), autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as it:
        it.execute(BEFORE, {"import": of})
    return empty_database, of


@pytest.mark.parametrize("large", [2**30, 0])
def test_rows_from_before_stay_and_the_way_back_fills_in(before, monkeypatch, large):
    monkeypatch.setattr(indexes, "LARGE", large)
    url, of = before
    with psycopg.connect(conninfo(url), autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        there = connection.execute(ROWS, (of,)).fetchall()
        migrate(url)
        command.check(config(url))
        assert connection.execute(ROWS, (of,)).fetchall() == there
        connection.execute(SINCE)
        assert connection.execute(ROWS, (of,)).fetchall() == [*there, ("new", None, None, None, None)]
        command.downgrade(config(url), "0150")
        (began,) = connection.execute("SELECT started_at FROM import").fetchone()
        assert connection.execute(ROWS, (of,)).fetchall() == [*there, ("new", 0, False, True, began)]
        migrate(url)
        command.check(config(url))


def test_an_upgrade_that_broke_off_goes_on(before):
    url, _ = before
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE import ADD COLUMN number integer NOT NULL GENERATED ALWAYS AS IDENTITY"
        )
        connection.execute("CREATE INDEX voucher_assigned_idx ON voucher (pool_id) WHERE status = 'assigned'")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY voucher_ended_idx ON voucher (pool_id)")
        migrate(url)
        broken = connection.execute(
            "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid"
        ).fetchall()
    assert broken == []
    command.check(config(url))


def test_an_import_under_way_begins_anew(before):
    url, _ = before
    migrate(url)
    with psycopg.connect(conninfo(url)) as connection:
        found = connection.execute("SELECT status::text, merged_to, imported, ignored FROM import").fetchall()
    assert found == [("running", None, 0, 0)]
