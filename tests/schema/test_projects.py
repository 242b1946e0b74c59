"""Every table says whether its rows belong to a project, and the database holds the service's role to it."""

import psycopg
import pytest
from psycopg import errors as pg
from sqlalchemy import NullPool, create_engine

from app.platform import row_security
from app.platform.database_url import conninfo
from app.platform.errors import CommandError
from app.schema.base import Base
from app.schema.projects import OUTSIDE, tables_of_projects

OTHERS = ("alembic_version", "procrastinate_")
"""Tables that are not ours."""

SECURED = """
SELECT relname, relrowsecurity AND relforcerowsecurity,
    (SELECT array_agg(polname || ' ' || array_to_string(polroles::regrole[], ',') || ' ' || polcmd::text
        || ' ' || pg_get_expr(polqual, polrelid) || coalesce(pg_get_expr(polwithcheck, polrelid), '') ORDER BY polname)
     FROM pg_policy WHERE polrelid = pg_class.oid),
    EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'project_id' AND attnotnull)
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""
POLICIES = [
    "owner vouchers * true",
    (
        "project vouchers_service * (project_id = ( SELECT (current_setting('app.project'::text))::integer"
        " AS current_setting))"
    ),
]
UNIQUE = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid, 1, true) FROM pg_index
JOIN pg_attribute ON attrelid = indrelid AND attname = 'project_id'
WHERE indisunique AND indrelid::regclass::text <> 'api_key'
"""


@pytest.fixture
def database(database_url):
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        yield connection


@pytest.fixture
def service(database_url):
    with psycopg.connect(
        conninfo(database_url), options="-c role=vouchers_service", autocommit=True
    ) as connection:
        yield connection


def test_each_table_is_of_projects_and_under_both_policies_or_stands_outside(database):
    ours = {name: rest for name, *rest in database.execute(SECURED).fetchall() if not name.startswith(OTHERS)}
    assert set(ours) == {table.name for table in Base.metadata.sorted_tables}
    assert {name for name, (secured, *_) in ours.items() if not secured} == set(OUTSIDE)
    for name in tables_of_projects():
        assert ours[name] == [True, POLICIES, True], name


def test_a_project_leads_each_key(database):
    led = database.execute(UNIQUE).fetchall()
    assert {first for _, first in led} == {"project_id"}
    assert {f"{name}_pkey" for name in tables_of_projects()} <= {name.strip('"') for name, _ in led}


def test_the_service_sees_and_writes_its_project_and_may_do_what_it_does(database, service):
    database.execute("INSERT INTO pool (project_id, name) VALUES (6, 'p')")
    with pytest.raises(pg.UndefinedObject):
        service.execute("SELECT FROM pool")
    with service.transaction():
        service.execute("SELECT set_config('app.project', '7', true)")
        service.execute("INSERT INTO pool (name) VALUES ('p')")
        service.execute("CREATE TEMP TABLE staged (line bigint)")
        service.execute("CREATE INDEX ON staged (line)")
        service.execute("ANALYZE staged")
        service.execute("SELECT nextval('arrival')")
    with service.transaction():
        service.execute("SELECT set_config('app.project', '8', true)")
        assert service.execute("SELECT FROM pool").fetchall() == []
        assert service.execute("UPDATE pool SET name = 'q'").rowcount == 0
        assert service.execute("DELETE FROM pool").rowcount == 0
        with pytest.raises(pg.InsufficientPrivilege, match="row-level security"), service.transaction():
            service.execute("INSERT INTO pool (project_id, name) VALUES (7, 'q')")
    with pytest.raises(pg.InvalidTextRepresentation):  # what a transaction leaves behind is no project
        service.execute("SELECT FROM pool")


def test_the_services_role_may_pass_nothing_by(database, service):
    asked = (
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcanlogin FROM pg_roles WHERE rolname = current_user"
    )
    assert service.execute(asked).fetchone() == (False, False, False, False)
    assert database.execute(
        "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    ).fetchone() == (
        False,
        False,
    )
    for statement in (
        "SET row_security = off; SELECT set_config('app.project', '1', false); SELECT FROM pool",
        "ALTER TABLE pool DISABLE ROW LEVEL SECURITY",
        "DROP POLICY project ON pool",
        "TRUNCATE pool",
        "CREATE TABLE mine ()",
        "UPDATE alembic_version SET version_num = ''",
    ):
        with pytest.raises(pg.InsufficientPrivilege):
            service.execute(statement)


def test_who_may_not_make_the_role_is_told_what_an_administrator_runs(database_url):
    engine = create_engine(database_url.replace("://vouchers@", "://plain@"), poolclass=NullPool)
    with psycopg.connect(conninfo(database_url), user="postgres", autocommit=True) as administrator:
        administrator.execute("CREATE ROLE plain LOGIN")
        try:
            with engine.connect() as connection, pytest.raises(CommandError) as told:
                row_security.ensure_role(connection)
            create, grant, _ = str(told.value).partition("run: ")[2].split(";")
            assert create == "CREATE ROLE vouchers_service NOLOGIN"
            administrator.execute(grant)
            with engine.connect() as connection:
                row_security.ensure_role(connection)
                connection.exec_driver_sql("SET ROLE vouchers_service")
        finally:
            administrator.execute("DROP ROLE plain")
