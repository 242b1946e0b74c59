"""The databases of the service: the control database, which DATABASE_URL names, and further ones that projects live in.

A process has pools of connections to each by itself, made when the first request of a project there comes, so that one
that hangs or is gone takes nothing from the others. While there is no further one, all is as with one database.
"""

from functools import cache

from cryptography.fernet import InvalidToken
from sqlalchemy import Connection, event

from app.platform.connections import BehindError, LimitedConnection
from app.platform.driver_pool import create_driver_pool
from app.platform.engines import create_engine
from app.platform.errors import DatabaseUnavailableError
from app.platform.giving_way import is_load
from app.platform.migrations import older_versions
from app.platform.sealing import fernet
from app.platform.settings import Settings

MAIN = 1
"""Id of the control database."""
MAIN_NAME = "main"
SHORT_CONNECTIONS = 3
"""Connections for keys, for what assigns ask beside their claim, and for short transactions within others: exports and
renders cannot take these."""
VERSION = "SELECT (SELECT max(version_num) FROM alembic_version)"

Place = tuple[int, int]
"""A database and a project that lives in it, by their ids."""


def settings_of(settings: Settings, url: str) -> Settings:
    """Return the settings with which the database of this URL is used; it leads to PostgreSQL itself."""
    place = {"database_url": url, "direct_database_url": None, "read_database_url": None}
    return settings.model_copy(update=place)


def unsealed(settings: Settings, sealed: bytes | None) -> Settings:
    """Return the settings with which a database is used whose URL was sealed; None is the control database's.

    Raises:
        DatabaseUnavailableError: no key of this process opens it.
    """
    if sealed is None:
        return settings
    try:
        return settings_of(settings, fernet(settings).decrypt(bytes(sealed)).decode())
    except InvalidToken:
        said = "The URL of the project's database was sealed with another VOUCHERS_SECRET_KEY."
        raise DatabaseUnavailableError(said) from None


@cache
def _older() -> frozenset[str]:
    return older_versions()


def is_behind(version: str | None) -> bool:
    """Tell whether a database of this version has to be migrated before this release can serve its projects."""
    return version is None or version in _older()


async def check_version(connection: LimitedConnection) -> None:
    """Check a connection that was opened to a further database: an older schema serves nothing, a newer one may.

    Raises:
        BehindError: the database is not migrated to this release.
    """
    exists = await connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL", prepare=False)
    row = await exists.fetchone()
    if row is not None and row[0]:
        row = await (await connection.execute(VERSION, prepare=False)).fetchone()
    else:
        row = None
    if not connection.autocommit:
        await connection.rollback()
    if is_behind(None if row is None else row[0]):
        raise BehindError("the database is not migrated to this release")


class Database:
    """The pools of connections that a process has to one database."""

    def __init__(self, settings: Settings, name: str = MAIN_NAME) -> None:
        opened = None if name == MAIN_NAME else check_version
        self.name = name
        self.settings = settings
        tells = opened is None  # of several databases one tells the time
        self.engine = create_engine(settings, opened=opened, tells_time=tells)
        self.short = create_engine(settings, SHORT_CONNECTIONS, opened=opened, tells_time=tells)
        self.direct = create_driver_pool(settings, opened=opened)
        self.tells_time = tells
        self._begun = 0
        for engine in (self.engine, self.short):
            event.listen(engine.sync_engine, "begin", self._count)

    def begun(self) -> int:
        """Return how many transactions this process has begun there so far, but for those that look at jobs."""
        return self._begun + self.direct.begun

    def _count(self, connection: Connection) -> None:
        self._begun += is_load(connection)

    async def close(self) -> None:
        """Close them."""
        await self.direct.close()
        await self.short.dispose()
        await self.engine.dispose()


class Databases:
    """The databases that a process has to do with, each by its id."""

    def __init__(self, settings: Settings) -> None:
        self.main = Database(settings)
        self._settings = settings
        self._known: dict[int, tuple[str, bytes]] = {}
        self._open = {MAIN: self.main}

    def learn(self, database_id: int, name: str, sealed: bytes | None) -> None:
        """Keep the URL of a database, as the look-up of a key of a project there tells it."""
        if sealed is not None:
            self._known[database_id] = name, sealed

    def of(self, database_id: int) -> Database:
        """Return a database that was learned of.

        Raises:
            DatabaseUnavailableError: its URL cannot be opened here.
        """
        found = self._open.get(database_id)
        if found is None:
            name, sealed = self._known[database_id]
            settings = unsealed(self._settings, sealed)
            found = self._open[database_id] = Database(settings, name)
        return found

    def all(self) -> list[Database]:
        """Return those that this process has used."""
        return list(self._open.values())

    def further(self) -> list[Database]:
        """Return the further ones that this process has used."""
        return [database for database in self._open.values() if database is not self.main]

    async def close(self) -> None:
        """Close all of them."""
        for database in self._open.values():
            await database.close()
