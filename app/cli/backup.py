"""`vouchers backup` and `vouchers restore`."""

import time
from pathlib import Path

import psycopg
from sqlalchemy import text

from app.platform import row_security
from app.platform.connections import connect_sync
from app.platform.database_url import parameters
from app.platform.engines import sync_engine
from app.platform.errors import CommandError
from app.platform.postgres import dump
from app.platform.settings import Settings

_ENDING_SECONDS = 1.0
_FILLED = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
_OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def back_up(settings: Settings, file: Path) -> str:
    """Write the service's database to a file; return what to say of it."""
    dump.back_up(parameters(settings.direct_url), file)
    return f"{file}: {file.stat().st_size:,} bytes."


def restore(settings: Settings, file: Path, *, replace: bool) -> None:
    """Put a backup into the service's database, which must be empty, or is emptied with `replace`.

    What is there is set aside first, and comes back if the backup cannot be put in.

    Raises:
        CommandError: the database is in use or not empty, or the backup does not fit.
    """
    if not file.is_file():
        raise CommandError(f"There is no file {file}.")
    with connect_sync(settings, autocommit=True) as connection:
        _refuse_others(connection)
        filled = connection.execute(_FILLED).fetchone() != (0,)
        if filled and not replace:
            raise CommandError("The database is not empty; --replace throws away what is in it.")
        connection.execute("DROP SCHEMA IF EXISTS replaced CASCADE")
        connection.execute("ALTER SCHEMA public RENAME TO replaced")
        connection.execute("CREATE SCHEMA public")
        connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        try:
            dump.put_back(parameters(settings.direct_url), file)
            _secure(settings)
        except BaseException:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("ALTER SCHEMA replaced RENAME TO public")
            raise
        connection.execute("DROP SCHEMA replaced CASCADE")


def _secure(settings: Settings) -> None:
    """Put what was restored under the policies of projects; what is older than these gets them as it is migrated."""
    with sync_engine(settings) as engine, engine.begin() as connection:
        if connection.scalar(text("SELECT to_regclass('public.project')")) is not None:
            row_security.ensure_role(connection)
            row_security.secure(connection)


def _refuse_others(connection: psycopg.Connection) -> None:
    """Raise CommandError where somebody else is connected; what has been closed may take a moment to be gone."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while connection.execute(_OTHERS).fetchone() != (0,):
        if time.monotonic() > deadline:
            raise CommandError("The database is in use: stop the service first.")
        time.sleep(0.1)
