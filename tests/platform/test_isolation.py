"""Row-level security: a statement that forgets its condition sees and changes nothing of another project."""

import psycopg
import pytest
from psycopg import errors, sql

from app.platform.connections import connect_sync
from app.platform.database_url import conninfo
from app.schema.projects import tables_of_projects

OURS, THEIRS = 1, 2
"""Project that is set, and one whose rows are there."""
REQUIRED = """
SELECT column_name, CASE WHEN data_type = 'ARRAY' THEN udt_name ELSE data_type END
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = %s AND column_name <> 'project_id' AND is_nullable = 'NO'
    AND (column_default IS NULL OR column_name = 'id') AND is_generated = 'NEVER'
"""
VALUES = {
    "text": "'x'",
    "integer": "1",
    "smallint": "1",
    "bigint": "1",
    "double precision": "1",
    "boolean": "false",
    "timestamp with time zone": "now()",
    "uuid": "'00000000-0000-0000-0000-000000000001'",
    "jsonb": "'{}'",
    "bytea": "'x'::bytea",
    "_text": "'{}'",
}
"""By type: something that passes the table's checks, and the same everywhere, so that rows refer to each other."""
CONSTRAINED = {("aggregate", "function"): "'last'"}


def insertion(connection: psycopg.Connection, table: str) -> sql.Composed:
    """The statement that inserts a row of a project, with as little as the table asks for."""
    found = connection.execute(REQUIRED, (table,)).fetchall()
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in [("project_id", ""), *found])
    values = ", ".join(
        ["%s", *(CONSTRAINED.get((table, name), VALUES.get(kind, "NULL")) for name, kind in found)]
    )
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
        sql.Identifier(table), names, sql.SQL(values)
    )


@pytest.fixture
def insertions(database_url):
    """In each table of projects there is a row of another project; how to insert one more, by table."""
    with psycopg.connect(conninfo(database_url), autocommit=True) as owner:
        owner.execute(
            "INSERT INTO project (id, name) OVERRIDING SYSTEM VALUE VALUES (%s, 'theirs')", (THEIRS,)
        )
        made = {}
        for table in tables_of_projects():
            made[table] = insertion(owner, table)
            owner.execute(made[table], (THEIRS,))
    return made


def test_every_table_of_projects_is_under_both_policies(database_url):
    with psycopg.connect(conninfo(database_url)) as owner:
        found = owner.execute(
            "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'project_id'"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND relrowsecurity AND relforcerowsecurity"
            " AND (SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid) = 2"
        ).fetchall()
        (rights,) = owner.execute(
            "SELECT rolsuper OR rolbypassrls OR rolcanlogin FROM pg_roles WHERE rolname = 'vouchers_service'"
        ).fetchone()
    assert {name for (name,) in found} == set(tables_of_projects())
    assert rights is False


def test_each_table_shows_takes_and_changes_rows_of_the_project_alone(settings, insertions):
    with connect_sync(settings, project=OURS, autocommit=True) as session:
        for table, insert in insertions.items():
            name = sql.Identifier(table)
            assert session.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone() == (0,), table
            for change in ("UPDATE {} SET project_id = project_id", "DELETE FROM {}"):
                assert session.execute(sql.SQL(change).format(name)).rowcount == 0, table
            with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                session.execute(insert, (THEIRS,))
    with connect_sync(settings, project=THEIRS, autocommit=True) as session:
        for table in insertions:
            name = sql.Identifier(table)
            assert session.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone() == (1,), table
            with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                session.execute(sql.SQL("UPDATE {} SET project_id = %s").format(name), (OURS,))


def test_a_session_without_a_project_reads_no_table_of_projects(settings, insertions):
    with connect_sync(settings, project=OURS, autocommit=True) as session:
        session.execute("RESET app.project")
        session.execute("SELECT set_config('app.project', '', false)")
        for table in insertions:
            with pytest.raises(errors.InvalidTextRepresentation):
                session.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(table)))
        with pytest.raises(errors.InsufficientPrivilege):
            session.execute("TRUNCATE event")
        with pytest.raises(errors.InsufficientPrivilege):
            session.execute("ALTER TABLE event DISABLE ROW LEVEL SECURITY")
