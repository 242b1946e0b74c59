"""What a session is set to, where a pooler stands between: there it is given to the role, for no session is ours."""

from psycopg import errors as pg
from psycopg import sql

from app.platform.connections import SERVICE, SESSION, connect_sync
from app.platform.database_url import parameters
from app.platform.errors import CommandError
from app.platform.logs import log
from app.platform.settings import Settings

_PRESENT = """
SELECT unnest(setconfig) FROM pg_db_role_setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)
"""
_RENEW = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = %s AND coalesce(state, 'idle') = 'idle' AND pid <> pg_backend_pid()
"""
"""What is not ours to end may be hidden from us too."""


def set_for_role(settings: Settings) -> None:
    """Give the role that the service uses behind a pooler the settings that its sessions have elsewhere.

    They hold for sessions that begin afterwards, so those that the pooler keeps ready are ended; the log tells where
    that is not ours to do. What the role has already is not set again: an operator may give it by hand.

    Raises:
        CommandError: they cannot be given; it tells the statement that an administrator runs.
    """
    if settings.direct_database_url is None:
        return
    wanted = {**SESSION, "role": SERVICE}
    role = parameters(settings.sqlalchemy_url).get("user", "")
    with connect_sync(settings, autocommit=True) as connection:
        present = {row[0].lower() for row in connection.execute(_PRESENT, (role,)).fetchall()}
        database = connection.info.dbname
        missing = {name: value for name, value in wanted.items() if f"{name}={value}".lower() not in present}
        for name, value in missing.items():
            statement = sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
                sql.Identifier(role), sql.Identifier(database), sql.Identifier(name), sql.Literal(value)
            )
            try:
                connection.execute(statement)
            except pg.InsufficientPrivilege:
                said = statement.as_string(connection)
                raise CommandError(
                    f"Behind a pooler the role needs a setting; have it given: {said}"
                ) from None
        if missing:
            try:
                connection.execute(_RENEW, (role,))
            except pg.InsufficientPrivilege:
                log.warning(
                    "the pooler's sessions cannot be ended: let it reconnect, for the role has new settings"
                )
