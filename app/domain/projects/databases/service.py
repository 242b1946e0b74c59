"""The rules of databases: which may be taken, and which gets a new project."""

from contextlib import suppress

from cryptography.fernet import InvalidToken
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.projects.databases import queries
from app.domain.projects.databases.errors import DatabaseNotFoundError, DatabaseNotOursError
from app.domain.projects.databases.schemas import DatabaseRecord, Home
from app.platform.connections import connect
from app.platform.databases import MAIN, MAIN_NAME, Databases
from app.platform.errors import DatabaseUnavailableError
from app.platform.projects import DEFAULT
from app.platform.sealing import fernet
from app.platform.settings import Settings
from app.schema.names import nfc


async def add(
    connection: AsyncConnection, other: AsyncConnection, settings: Settings, name: str, url: str
) -> None:
    """Take a database into the service: it gets the service's keys, and projects may live there.

    One that was taken under this name before is given another URL.

    Args:
        connection: to the control database.
        other: to the database, which is migrated. It is committed first: done again, this comes to the same.
        settings: of this process.
        name: of the database.
        url: of the database.

    Raises:
        DatabaseNotOursError: it is the control database, or holds what is not this service's.
    """
    known = await check(connection, other, name)
    sealed = fernet(settings).encrypt(url.encode())
    if known is not None:
        await queries.set_url(connection, known.id, sealed)
        return
    ours = await queries.keys(connection)
    database_id = await queries.add(connection, name, sealed)
    await queries.put_keys(other, ours)
    await queries.name_further(other, name)
    await queries.number_apart(other, database_id)
    await other.commit()


async def check(connection: AsyncConnection, other: AsyncConnection, name: str) -> DatabaseRecord | None:
    """Check that a database may be taken under a name; return it if it was before, perhaps at another address.

    Args:
        connection: to the control database.
        other: to the database.
        name: of the database.

    Raises:
        DatabaseNotOursError: it is the control database, or holds what is not this service's.
    """
    await queries.take_lock(connection)
    if not await queries.take_lock(other):
        raise DatabaseNotOursError(
            "This is the control database itself, or somebody adds a database just now."
        )
    known = await queries.by_name(connection, name, lock=True)
    if known is not None and known.id == MAIN:
        raise DatabaseNotOursError(f"{name!r} is the control database, which DATABASE_URL names.")
    ours, theirs = await queries.keys(connection), await queries.keys(other)
    held = await queries.contents(other)
    if known is not None:
        if held.name != name or theirs.erasure != ours.erasure:
            raise DatabaseNotOursError(f"This is not the database {name!r} at another address.")
        return known
    if held.name not in {MAIN_NAME, name}:
        raise DatabaseNotOursError(f"The database was added as {held.name!r} already.")
    if held.has_keys or held.has_vouchers or not set(held.projects) <= {DEFAULT}:
        raise DatabaseNotOursError("The database is not empty: it holds API keys, projects or vouchers.")
    if theirs.sealing and theirs.sealing != ours.sealing:
        raise DatabaseNotOursError("The database holds the key of another service.")
    return None


async def list_all(connection: AsyncConnection) -> list[DatabaseRecord]:
    """Return the databases; the control database is the first."""
    return await queries.list_all(connection)


async def urls(settings: Settings) -> dict[str, bytes]:
    """Return the sealed URLs of the further databases by their names, looked up over a connection of its own.

    Args:
        settings: with which the control database is reached.

    Raises:
        psycopg.Error: it does not answer, or is not migrated yet.
    """
    async with await connect(settings, as_owner=True, autocommit=True, prepare_threshold=None) as connection:
        return await queries.urls(connection)


async def home_of(connection: AsyncConnection, project: str) -> Home | None:
    """Return a project by its name, and how the database that it lives in is reached.

    None where there is no such project, or it is being deleted.
    """
    return await queries.home_of(connection, nfc(project))


async def drain(connection: AsyncConnection, name: str, *, draining: bool) -> None:
    """Put no more new projects into a database; or put some there again. Those that live there stay.

    Raises:
        DatabaseNotFoundError: none of this name was added.
    """
    found = await queries.by_name(connection, name, lock=True)
    if found is None:
        raise DatabaseNotFoundError(name)
    await queries.set_draining(connection, found.id, draining=draining)


async def seal_anew(connection: AsyncConnection, settings: Settings) -> int:
    """Seal the URLs with the first key; return how many. One that no key opens stays as it is."""
    cipher, sealed = fernet(settings), 0
    for row in await queries.addresses(connection):
        with suppress(InvalidToken):
            await queries.set_url(connection, row.id, cipher.rotate(row.url))
            sealed += 1
    return sealed


async def learn_all(connection: AsyncConnection, databases: Databases) -> None:
    """Let a process know all further databases."""
    for row in await queries.addresses(connection):
        databases.learn(row.id, row.name, row.url)
        with suppress(
            DatabaseUnavailableError
        ):  # sealed with another key: told where a project there is asked for
            databases.of(row.id)
