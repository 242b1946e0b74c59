"""SQL of databases."""

from sqlalchemy import delete, exists, func, insert, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.projects.databases.schemas import (
    Address,
    Contents,
    DatabaseRecord,
    DatabaseState,
    Home,
    ServiceKeys,
)
from app.platform import advisory, records
from app.platform.connections import LimitedConnection
from app.platform.databases import MAIN
from app.schema.access import ApiKey, SealingKey
from app.schema.customers import ErasureKey
from app.schema.inventory import Stock, Voucher
from app.schema.projects import Database, Project

_PROJECTS = (
    select(func.count()).where(Project.database_id == Database.id).correlate(Database).scalar_subquery()
)
COLUMNS = (Database.id, Database.name, Database.url, Database.draining_since, _PROJECTS.label("projects"))
STATE = text("""
SELECT (SELECT max(version_num) FROM alembic_version) AS version, pg_database_size(current_database()) AS bytes,
    (SELECT max(extract(epoch FROM coalesce(replay_lag, interval '0')))::float8 FROM pg_stat_replication) AS lag_seconds
""")
POOLS = 10_000_000
"""Numbers of pools that each database has for itself: indexes of draws lead with them, whatever the project."""
NUMBER_APART = text(
    "SELECT setval('pool_id_seq', greatest(CAST(:first AS bigint), last_value)) FROM pool_id_seq"
)
TAKE = text("SELECT pg_try_advisory_xact_lock(:lock)")
URLS = "SELECT name, url FROM database WHERE url IS NOT NULL ORDER BY id"


async def list_all(connection: AsyncConnection) -> list[DatabaseRecord]:
    """Return the databases in the order in which they were added; the control database is the first."""
    return records.all_of(await connection.execute(select(*COLUMNS).order_by(Database.id)), DatabaseRecord)


async def addresses(connection: AsyncConnection) -> list[Address]:
    """Return the further databases, as a process has to know them."""
    query = select(Database.id, Database.name, Database.url).where(Database.url.is_not(None))
    return records.all_of(await connection.execute(query), Address)


async def urls(connection: LimitedConnection) -> dict[str, bytes]:
    """Return the sealed URLs of the further databases by their names, over a connection of the driver."""
    return {name: bytes(url) for name, url in await (await connection.execute(URLS)).fetchall()}


async def home_of(connection: AsyncConnection, project: str) -> Home | None:
    """Return a project that is not being deleted, and how the database that it lives in is reached."""
    query = (
        select(Project.id.label("project_id"), Database.url)
        .join(Database, Database.id == Project.database_id)
        .where(Project.name == project, Project.deleting_since.is_(None))
    )
    return records.any_of(await connection.execute(query), Home)


async def by_name(connection: AsyncConnection, name: str, *, lock: bool = False) -> DatabaseRecord | None:
    """Return a database; locked against other edits, if so wanted."""
    query = select(*COLUMNS).where(Database.name == name)
    found = await connection.execute(query.with_for_update(of=Database) if lock else query)
    return records.any_of(found, DatabaseRecord)


async def by_id(connection: AsyncConnection, database_id: int) -> DatabaseRecord:
    """Return a database."""
    return records.one_of(
        await connection.execute(select(*COLUMNS).where(Database.id == database_id)), DatabaseRecord
    )


async def add(connection: AsyncConnection, name: str, sealed: bytes) -> int:
    """Store a database; return its id."""
    query = insert(Database).values(name=name, url=sealed).returning(Database.id)
    return int((await connection.execute(query)).scalar_one())


async def set_url(connection: AsyncConnection, database_id: int, sealed: bytes) -> None:
    """Give a database another URL."""
    await connection.execute(update(Database).where(Database.id == database_id).values(url=sealed))


async def set_draining(connection: AsyncConnection, database_id: int, *, draining: bool) -> None:
    """Mark a database as one that takes no new projects, or as one that does."""
    since = func.coalesce(Database.draining_since, func.now()) if draining else null()
    await connection.execute(update(Database).where(Database.id == database_id).values(draining_since=since))


async def vouchers_of(connection: AsyncConnection) -> dict[int, int]:
    """Return how many vouchers each project has that has any, by the counts of its pools."""
    states = (Stock.available, Stock.reserved, Stock.assigned, Stock.redeemed, Stock.expired, Stock.void)
    query = select(Stock.project_id, func.sum(sum(states[1:], states[0]))).group_by(Stock.project_id)
    return {project: int(n) for project, n in await connection.execute(query)}


async def state(connection: AsyncConnection) -> DatabaseState:
    """Return how the database of the connection is."""
    return records.one_of(await connection.execute(STATE), DatabaseState)


async def take_lock(connection: AsyncConnection) -> bool:
    """Take the lock by which two databases are told from one; tell whether it was free."""
    return bool(await connection.scalar(TAKE, {"lock": advisory.CONTROL}))


async def contents(connection: AsyncConnection) -> Contents:
    """Return what the database of the connection holds."""
    about = select(Database.name, exists(select(ApiKey.id)), exists(select(Voucher.project_id)))
    name, has_keys, has_vouchers = (await connection.execute(about.where(Database.id == MAIN))).one()
    projects = await connection.scalars(select(Project.id).order_by(Project.id))
    return Contents(name, has_keys, has_vouchers, list(projects))


async def projects_of(connection: AsyncConnection, database_id: int) -> dict[int, str]:
    """Return the names of the projects that live in a database, by the control database."""
    query = select(Project.id, Project.name).where(
        Project.database_id == database_id, Project.deleting_since.is_(None)
    )
    return {row.id: row.name for row in await connection.execute(query)}


async def keys(connection: AsyncConnection) -> ServiceKeys:
    """Return the keys that are one for the service."""
    sealing = (await connection.execute(select(SealingKey.salt, SealingKey.wrapped))).all()
    erasure = await connection.scalars(select(ErasureKey.key))
    return ServiceKeys(
        [(bytes(salt), bytes(wrapped)) for salt, wrapped in sealing], [bytes(key) for key in erasure]
    )


async def put_keys(connection: AsyncConnection, keys: ServiceKeys) -> None:
    """Store the keys that are one for the service."""
    await connection.execute(delete(SealingKey))
    await connection.execute(delete(ErasureKey))
    for salt, wrapped in keys.sealing:
        await connection.execute(insert(SealingKey).values(salt=salt, wrapped=wrapped))
    for key in keys.erasure:
        await connection.execute(insert(ErasureKey).values(key=key))


async def number_apart(connection: AsyncConnection, database_id: int) -> None:
    """Let the pools of a further database have numbers of their own: projects bring theirs when they move."""
    await connection.execute(NUMBER_APART, {"first": (database_id - MAIN) * POOLS})


async def name_further(connection: AsyncConnection, name: str) -> None:
    """Let a further database say its name, and delete the project that migrations make: there it is none."""
    await connection.execute(update(Database).where(Database.id == MAIN).values(name=name))
    await connection.execute(delete(Project))
