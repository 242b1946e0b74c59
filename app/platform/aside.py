"""What a restore sets aside: the schema with all tables, under another name, until a backup is in its place.

A restore that is killed leaves it so. Whoever brings the database up next, to restore or to serve, first puts it back.
"""

import math
import time

import structlog
from sqlalchemy import Connection, text

from app.platform import advisory

TOLD_SECONDS = 5.0
"""A wait for another migration or restore that is so long is told."""
log = structlog.get_logger()

BOTH = (
    "A restore was broken off: what the database held before is in the schema `replaced`, and other tables are in its"
    " place by now. DROP SCHEMA replaced CASCADE deletes it; to have it back instead, DROP SCHEMA public CASCADE, and"
    " start again."
)
_TAKE = text("SELECT pg_try_advisory_lock(:lock)")
_STATE = text("""
SELECT to_regnamespace('replaced') IS NOT NULL AS is_aside,
    EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public') AS filled,
    to_regclass('public.alembic_version') IS NOT NULL
        AND NOT EXISTS (SELECT FROM pg_policies WHERE schemaname = 'public') AS restored
""")
"""Whether something is set aside, whether there are tables in its place, and whether a restore has left them there
before its end: it puts policies on them as it throws away what was set aside."""


def take_lock(connection: Connection) -> None:
    """Let this session alone migrate or restore; wait for another one that does.

    It is asked again and again: a session that waits within a statement would be waited for by an index that is built
    concurrently.
    """
    tell_at = time.monotonic() + TOLD_SECONDS
    while not connection.scalar(_TAKE, {"lock": advisory.SCHEMA}):
        connection.rollback()
        if time.monotonic() > tell_at:
            log.warning("waiting for another process, which migrates or restores this database")
            tell_at = math.inf
        time.sleep(0.1)
    connection.commit()


def holds_tables(connection: Connection) -> bool:
    """Return whether there are any tables where the service has its own."""
    return bool(connection.execute(_STATE).one().filled)


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


def recover(connection: Connection) -> bool:
    """Put back what a restore that was killed has set aside, if it did; return whether all is in its place.

    It is not where other tables are in its place by now: then both stay, and only a person can tell which is wanted.
    """
    state = connection.execute(_STATE).one()
    if not state.is_aside:
        return True
    if state.filled and not state.restored:
        log.warning(BOTH)
        return False
    put_back(connection)
    log.warning("a restore was broken off: what it had set aside is put back")
    return True
