"""`vouchers backup` and `vouchers restore`."""

import time
from pathlib import Path

from sqlalchemy import Connection, text

from app.platform import aside, row_security
from app.platform.database_url import parameters
from app.platform.databases import MAIN_NAME
from app.platform.engines import sync_engine
from app.platform.errors import CommandError
from app.platform.migrations import versions
from app.platform.postgres import dump
from app.platform.settings import Settings

_ENDING_SECONDS = 1.0
_OTHERS = text("""
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
""")
_THERE = text("SELECT to_regclass(:table)")


def back_up(settings: Settings, file: Path) -> str:
    """Write the service's database to a file; return what to say of it."""
    dump.back_up(parameters(settings.direct_url), file)
    return f"{file}: {file.stat().st_size:,} bytes."


def restore(settings: Settings, file: Path, *, replace: bool) -> None:
    """Put a backup into the service's database, which must be empty, or is emptied with `replace`.

    What is there is set aside first, and comes back if the backup cannot be put in; where this is killed, as the
    database is brought up or restored next.

    Raises:
        CommandError: the database is in use or not empty, or the backup does not fit, or is not of this one.
    """
    if not file.is_file():
        raise CommandError(f"There is no file {file}.")
    with sync_engine(settings) as engine, engine.connect() as connection:
        _refuse_others(connection)
        aside.take_lock(connection)
        _make_room(connection, replace=replace)
        try:
            dump.put_back(parameters(settings.direct_url), file)
            with connection.begin():
                _check_fits(connection)
                _secure(connection)
                aside.throw_away(connection)
        except BaseException:
            with connection.begin():
                aside.put_back(connection)
            raise


def _make_room(connection: Connection, *, replace: bool) -> None:
    with connection.begin():
        if not aside.recover(connection):
            raise CommandError(aside.BOTH)
    with connection.begin():
        if aside.holds_tables(connection) and not replace:
            raise CommandError("The database is not empty; --replace throws away what is in it.")
        aside.set_aside(connection)


def _check_fits(connection: Connection) -> None:
    """Check that what was put back is a database of this service, and the one whose place it takes.

    Raises:
        CommandError: it is not, or this release does not know its version.
    """
    theirs, ours = _held(connection, "public"), _held(connection, "replaced")
    if theirs is None:
        raise CommandError("The backup is not of this service, or it is of a later release.")
    if ours not in {None, theirs}:
        raise CommandError(
            f"The backup is of database {theirs!r}, and this is {ours!r}: put it into an empty one."
        )


def _held(connection: Connection, schema: str) -> str | None:
    """Return the name of the service's database whose tables a schema holds; None: it holds none that we know."""

    def told(table: str, query: str) -> str | None:
        there = connection.scalar(_THERE, {"table": f"{schema}.{table}"})
        found: str | None = connection.scalar(text(query.format(f"{schema}.{table}"))) if there else None
        return found

    if told("alembic_version", "SELECT max(version_num) FROM {}") not in versions():
        return None
    if connection.scalar(_THERE, {"table": f"{schema}.voucher"}) is None:
        return None
    return told("database", "SELECT name FROM {} ORDER BY id LIMIT 1") or MAIN_NAME  # of old it had no name


def _secure(connection: Connection) -> None:
    """Put what was restored under the policies of projects; what is older than these gets them as it is migrated."""
    if connection.scalar(_THERE, {"table": "public.project"}) is not None:
        row_security.ensure_role(connection)
        row_security.secure(connection)


def _refuse_others(connection: Connection) -> None:
    """Raise CommandError where somebody else is connected; what has been closed may take a moment to be gone."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while connection.scalar(_OTHERS):
        connection.rollback()  # a transaction is told the same each time
        if time.monotonic() > deadline:
            raise CommandError("The database is in use: stop the service first.")
        time.sleep(0.1)
    connection.rollback()
