"""The first look at a database that is to be taken, before anything is done there: it may be somebody else's."""

from psycopg import sql

from app.domain.projects.databases.errors import DatabaseNotOursError
from app.platform.connections import connect_sync
from app.platform.settings import Settings

_SECONDS = 5.0
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
_ANY = sql.SQL("SELECT FROM {} LIMIT 1")
_VERSION, _FIRST = "alembic_version", "procrastinate_jobs"
"""Tables that are there as migrations begin, and after the first of them."""
_HOLD = {"api_key", "voucher"}
"""Tables that hold nothing where nobody has used the database yet."""
_TELLS = "database"
"""The table that says which database it is."""


def can_tell(settings: Settings) -> bool:
    """Return whether a database can tell whose it is (`service.check`); else it is empty, and may be migrated.

    Args:
        settings: with which it is used.

    Raises:
        DatabaseNotOursError: it is not empty, and cannot tell.
    """
    with connect_sync(settings, seconds=_SECONDS, autocommit=True) as connection:
        tables = {name for (name,) in connection.execute(_TABLES)}
        if tables <= {_VERSION}:
            return False
        if not {_VERSION, _FIRST} <= tables:
            raise DatabaseNotOursError("The database is not empty: it holds tables of something else.")
        if _TELLS in tables:
            return True
        # Of an older release, or of one that was left half migrated.
        for table in tables & _HOLD:
            if connection.execute(_ANY.format(sql.Identifier(table))).rowcount:
                raise DatabaseNotOursError("The database is not empty: it holds API keys or vouchers.")
    return False
