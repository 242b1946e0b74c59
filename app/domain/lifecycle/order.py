"""The order of what happens: up to which time all of it is committed, so that a reader goes on from there.

What is handed out and what changes bears a time (MOMENT) that is taken before its transaction commits, and others are
taken meanwhile: a reader who goes by the times alone passes over what commits late. So who wants to read up to now
asks `settled` first:

1. It commits the present time to `horizon`. Whoever takes a snapshot from then on stamps no earlier time.
2. It looks at which transactions are under way. One that it sees has begun before what it stamps. One that it does
   not see has yet to take its snapshot, and finds the horizon.

So nothing will ever bear a time before the horizon and before the begin of the oldest transaction seen, whatever the
clock does. Nobody waits for anybody (docs/decisions/0048).
"""

from datetime import datetime, timedelta

import orjson
import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.connections import OF_PROJECT
from app.platform.database import ONLY_READS, READS, transaction
from app.platform.projects import as_owner, beside, everywhere, project_of
from app.platform.records import Rows

# After the row is locked: what follows on the same code, such as its next draw, bears a later time.
MOMENT = "greatest(clock_timestamp(), now(), (SELECT at FROM horizon))"
"""SQL: the time that is stamped on what a statement does. In READ COMMITTED its snapshot is the statement's own."""

PUBLISH = text("""
INSERT INTO horizon (at) VALUES (clock_timestamp())
ON CONFLICT (id) DO UPDATE SET at = greatest(horizon.at, excluded.at)
RETURNING at
""")

# What another project does is none of this one's: merges of two would wait for each other, and webhooks of one for what
# another does for long. A session that does not say in which it is at work may be in any.
_CONCERNED = f"""datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND application_name NOT IN ('{READS}', 'pg_dump')
    AND (NOT starts_with(application_name, '{OF_PROJECT}') OR application_name = '{OF_PROJECT}' || :own)"""

# A vacuum that the server starts by itself lasts for long and stamps nothing.
# Where the server does not track what is under way (`track_activities`), all that a transaction may last is taken off.
UNDER_WAY = text(f"""
SELECT least(
    CAST(:horizon AS timestamptz), min(xact_start),
    CASE WHEN NOT current_setting('track_activities')::boolean THEN CAST(:horizon AS timestamptz) - :longest END
)
FROM pg_stat_activity
WHERE {_CONCERNED}
""")  # noqa: S608  (made of constants)

# What a transaction sees of this table is kept until it ends, unless that is thrown away.
CLEAR = text("SELECT pg_stat_clear_snapshot()")
EACH_UNDER_WAY = text(f"""
SELECT pid, backend_start, xact_start FROM pg_stat_activity
WHERE {_CONCERNED}
    AND (xact_start IS NOT NULL OR backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
""")  # noqa: S608  (made of constants)
EACH_THAT_WROTE = text(f"""
SELECT backend_xid::text AS number FROM pg_stat_activity WHERE {_CONCERNED} AND backend_xid IS NOT NULL
""")  # noqa: S608  (made of constants)

LONGEST = timedelta(hours=2)
"""Longer than any transaction of the service that writes."""

RECORD = """
INSERT INTO pool_change (project_id, changed_at, pool_id, about)
SELECT project_id, greatest(clock_timestamp(), now(), (SELECT at FROM horizon)), id, CAST(%(about)s AS jsonb)
FROM pool WHERE project_id = %(project)s AND name = %(pool)s
"""


async def publish(engine: AsyncEngine) -> datetime:
    """Return the present time; whatever begins from now on is stamped no earlier; another one may be open."""
    async with transaction(everywhere(beside(engine))) as connection:
        horizon: datetime = (await connection.execute(PUBLISH)).scalar_one()
        return horizon


async def settled(engine: AsyncEngine) -> datetime:
    """Return a time before which all is committed that was handed out or changed in the project, and will ever be.

    It is the present time, or the begin of the oldest transaction that is under way in it. What only reads, or stamps
    nothing, may say so by its application name (`database.READS`) and holds nobody up.
    """
    horizon = await publish(engine)
    # Others' sessions are shown to the owner alone.
    async with transaction(everywhere(beside(engine))) as connection:
        about = {"horizon": horizon, "longest": LONGEST, "own": str(project_of(engine))}
        found = await connection.execute(UNDER_WAY, about)
        settled_at: datetime = found.scalar_one()
        return settled_at


async def under_way(connection: AsyncConnection) -> set[tuple[object, ...]]:
    """Return the transactions that are under way in the project, besides this one and what only reads."""
    return {tuple(row) for row in await _look(connection, EACH_UNDER_WAY)}


async def that_wrote(connection: AsyncConnection) -> set[str]:
    """Return the numbers of the transactions under way in the project, besides this one, that have written."""
    return {row.number for row in await _look(connection, EACH_THAT_WROTE)}


async def _look(connection: AsyncConnection, query: TextClause) -> Rows:
    own = {"own": str(project_of(connection))}
    async with as_owner(connection):
        await connection.execute(CLEAR)
        return await connection.execute(query, own)


async def stand_aside(connection: AsyncConnection) -> None:
    """Let nobody wait for this transaction, however long it lasts: it stamps nothing, and asks for no person."""
    await connection.execute(ONLY_READS)


async def record(connection: AsyncConnection, pool: str, type_: str, about: dict[str, object]) -> None:
    """Note what happened to a pool, with the transaction that does it."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)  # noqa: S101  (narrows the type)
    await driver.execute(RECORD, {"project": project_of(connection), **_recorded(pool, type_, about)})


def record_on(
    connection: psycopg.Connection[TupleRow], pool: str, type_: str, about: dict[str, object]
) -> None:
    """Note it as `record` does, on a connection of the driver."""
    connection.execute(RECORD, _recorded(pool, type_, about))


def _recorded(pool: str, type_: str, about: dict[str, object]) -> dict[str, str]:
    return {"about": orjson.dumps({"type": type_, **about}).decode(), "pool": pool}
