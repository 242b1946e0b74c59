"""What a restore sets aside: the schema with all tables, under another name, until a backup is in its place.

A restore that is killed leaves it so. Whoever brings the database up next, to restore or to serve, first puts it back.
"""

import time

import structlog
from sqlalchemy import Connection, text

from app.platform.errors import CommandError

log = structlog.get_logger()

_LOCK = 7_246_551
"""Advisory lock of a session that migrates or restores."""
_TAKE = text("SELECT pg_try_advisory_lock(:lock)")
_STATE = text(
    "SELECT to_regnamespace('replaced') IS NOT NULL,"
    " EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public')"
)


def take_lock(connection: Connection) -> None:
    """Let this session alone migrate or restore; wait for another one that does.

    It is asked again and again: a session that waits within a statement would be waited for by an index that is built
    concurrently.
    """
    while not connection.scalar(_TAKE, {"lock": _LOCK}):
        connection.rollback()
        time.sleep(0.1)
    connection.commit()


def holds_tables(connection: Connection) -> bool:
    """Return whether there are any tables where the service has its own."""
    _, filled = connection.execute(_STATE).one()
    return bool(filled)


def set_aside(connection: Connection) -> None:
    """Set what is there aside, and make room for a backup."""
    connection.exec_driver_sql("ALTER SCHEMA public RENAME TO replaced")
    connection.exec_driver_sql("CREATE SCHEMA public")
    connection.exec_driver_sql("GRANT USAGE ON SCHEMA public TO PUBLIC")


def put_back(connection: Connection) -> None:
    """Put back what was set aside, in the place of whatever is there."""
    connection.exec_driver_sql("DROP SCHEMA IF EXISTS public CASCADE")
    connection.exec_driver_sql("ALTER SCHEMA replaced RENAME TO public")


def throw_away(connection: Connection) -> None:
    """Delete what was set aside."""
    connection.exec_driver_sql("DROP SCHEMA replaced CASCADE")


def recover(connection: Connection) -> None:
    """Put back what a restore that was killed has set aside; do nothing where nothing is.

    Raises:
        CommandError: there are tables in its place by now; only a person can tell which are to stay.
    """
    is_aside, filled = connection.execute(_STATE).one()
    if not is_aside:
        return
    if filled:
        raise CommandError(
            "A restore was broken off: what the database held before is in the schema `replaced`, and there are tables"
            " in its place. To have it back, run DROP SCHEMA public CASCADE and start again; to do without it, run"
            " DROP SCHEMA replaced CASCADE and restore again, with --replace."
        )
    put_back(connection)
    log.warning("a restore was broken off: what it had set aside is put back")
