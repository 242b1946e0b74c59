"""Row-level security: what the service's role may do, and the rows of which project it sees.

Idempotent: migrations call this after they made a table, and a restore after it filled a database, for a dump bears
no grants.
"""

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from app.platform.connections import SERVICE as ROLE
from app.platform.errors import CommandError

OUTSIDE = ("api_key", "project_move")
"""Tables that have a project and are under no policy: a key decides of which project a request is, and a project that
moves is the service's work."""

STATEMENTS = (
    f"CREATE ROLE {ROLE} NOLOGIN",
    f"GRANT {ROLE} TO {{owner}}",
)
"""What an administrator is to run where the role that migrates may not."""

# Plans are kept, whatever project they were made in. Said as a query of its own, the planner does not know which one it
# is, and with `n_distinct` takes each project for as large as the largest: else a plan that was made in one with three
# codes would read all of one that has millions, by the project alone.
_PROJECT = "SELECT current_setting('app.project')::integer"
_VERSION = text("SELECT current_setting('server_version_num')")
_INHERITS_APART = 160000
"""From this version of PostgreSQL on a role may act as another without having its rights all the time."""
_OF_PROJECTS = text(
    "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'project_id'"
    " WHERE relnamespace = to_regnamespace(current_schema()) AND relkind IN ('r', 'p') AND NOT attisdropped"
    " ORDER BY relname"
)
_SECURED = text(
    "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(current_schema())"
    " AND relrowsecurity AND relforcerowsecurity"
    " AND (SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid"
    "      AND polname IN ('project', 'owner')"
    "      AND (SELECT array_agg(rolname) FROM pg_roles WHERE pg_roles.oid = ANY (polroles))"
    "          = ARRAY[CASE polname WHEN 'owner' THEN current_user ELSE CAST(:role AS name) END]) = 2"
)


def ensure_role(connection: Connection) -> None:
    """Make the service's role, unless it is there, and let the role that migrates act as it.

    Raises:
        CommandError: an administrator must; the message has the statements.
    """
    owner = connection.scalar(text("SELECT quote_ident(current_user)"))
    is_there = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
    inherits_apart = int(connection.scalar(_VERSION) or 0) >= _INHERITS_APART
    can_act = text(f"SELECT pg_has_role(:role, '{'SET' if inherits_apart else 'MEMBER'}')")
    create, grant = (statement.format(owner=owner) for statement in STATEMENTS)
    if inherits_apart:
        grant += " WITH INHERIT FALSE"
    try:
        with connection.begin_nested():
            if not connection.scalar(is_there, {"role": ROLE}):
                connection.exec_driver_sql(create)
            if not connection.scalar(can_act, {"role": ROLE}):
                connection.exec_driver_sql(grant)
    except ProgrammingError as error:
        raise CommandError(
            f"The role {ROLE}, as which the service works, is missing, and {owner} may not make it."
            f" Let an administrator of the database run: {create}; {grant};"
        ) from error


def secure(connection: Connection) -> None:
    """Give the service's role its rights, and put every table of projects under its policies."""
    schema, database = connection.execute(
        text("SELECT quote_ident(current_schema()), quote_ident(current_database())")
    ).one()
    can = {"schema": f"USAGE ON SCHEMA {schema}", "database": f"TEMPORARY ON DATABASE {database}"}
    if not connection.scalar(
        text("SELECT has_schema_privilege(:role, current_schema(), 'USAGE')"), {"role": ROLE}
    ):
        connection.exec_driver_sql(f"GRANT {can['schema']} TO {ROLE}")
    if not connection.scalar(
        text("SELECT has_database_privilege(:role, current_database(), 'TEMPORARY')"), {"role": ROLE}
    ):
        connection.exec_driver_sql(f"GRANT {can['database']} TO {ROLE}")
    for rights, what in (
        ("SELECT, INSERT, UPDATE, DELETE", "TABLES"),
        ("USAGE, SELECT, UPDATE", "SEQUENCES"),
    ):
        connection.exec_driver_sql(f"GRANT {rights} ON ALL {what} IN SCHEMA {schema} TO {ROLE}")
        connection.exec_driver_sql(
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {rights} ON {what} TO {ROLE}"
        )
    connection.exec_driver_sql(f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {ROLE}")
    secured = set(connection.scalars(_SECURED, {"role": ROLE}))
    for table in tables_of_projects(connection):
        if table not in secured:
            connection.exec_driver_sql(_under_policies(table))


def tables_of_projects(connection: Connection) -> list[str]:
    """Return the tables that are under policies: those whose rows have a project."""
    return [table for table in connection.execute(_OF_PROJECTS).scalars() if table not in OUTSIDE]


def lift(connection: Connection) -> None:
    """Take all policies and rights back."""
    for table in tables_of_projects(connection):
        connection.exec_driver_sql(
            f'DROP POLICY IF EXISTS project ON "{table}"; DROP POLICY IF EXISTS owner ON "{table}";'
            f' ALTER TABLE "{table}" ALTER COLUMN project_id RESET (n_distinct);'
            f' ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY'
        )
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    for what in ("TABLES", "SEQUENCES"):
        connection.exec_driver_sql(
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE ALL ON {what} FROM {ROLE}"
        )
        connection.exec_driver_sql(f"REVOKE ALL ON ALL {what} IN SCHEMA {schema} FROM {ROLE}")


def _under_policies(table: str) -> str:
    return (
        f'DROP POLICY IF EXISTS project ON "{table}"; DROP POLICY IF EXISTS owner ON "{table}";'
        f' ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;'
        f' CREATE POLICY owner ON "{table}" TO CURRENT_USER USING (true);'
        f' CREATE POLICY project ON "{table}" TO {ROLE}'
        f" USING (project_id = ({_PROJECT}));"
        f' ALTER TABLE "{table}" ALTER COLUMN project_id SET (n_distinct = 1)'
    )
