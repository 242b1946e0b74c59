"""SQL of ids that are one person."""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import Connection
from psycopg.rows import TupleRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.persons.schemas import REGISTERED, AliasRecord, TrackedId, TrackedRecord
from app.platform import advisory, records

# A merge holds an advisory lock of its project from its first mark to its end.
_SHARED: LiteralString = f"SELECT pg_try_advisory_xact_lock_shared({advisory.MERGES}, {{project}})"

PERSONS = text("""
SELECT alias.id AS asked, alias.customer_id AS id, alias.merging, ARRAY(
    SELECT other.id FROM customer_alias AS other
    WHERE other.project_id = :project AND other.customer_id = alias.customer_id AND other.id <> other.customer_id
    ORDER BY other.id
) AS aliases
FROM customer_alias AS alias WHERE alias.project_id = :project AND alias.id = ANY (CAST(:ids AS text[]))
""")
NO_MERGE = text(_SHARED.format(project=":project"))
ALONE = text(f"SELECT pg_try_advisory_xact_lock({advisory.MERGES}, :project)")
# What a merge that came to nothing has marked is marked still: whoever is alone takes that off.
MARK = text("""
WITH stale AS (
    UPDATE customer_alias SET merging = false
    WHERE project_id = :project AND merging AND customer_id <> ALL (CAST(:ids AS text[]))
)
INSERT INTO customer_alias (project_id, id, customer_id, merging)
SELECT :project, id, id, true FROM unnest(CAST(:ids AS text[])) AS concerned (id)
UNION ALL SELECT :project, id, customer_id, true FROM customer_alias
    WHERE project_id = :project AND customer_id = ANY (CAST(:ids AS text[])) AND id <> ALL (CAST(:ids AS text[]))
ON CONFLICT (project_id, id) DO UPDATE SET merging = true
""")
# An erasure that asked before the marks may have forgotten the person's own row by now.
LEAD = text("""
WITH person AS (
    INSERT INTO customer_alias (project_id, id, customer_id) VALUES (:project, :into, :into)
    ON CONFLICT (project_id, id) DO UPDATE SET merging = false
)
UPDATE customer_alias SET customer_id = :into, merging = false,
    by_sign_in = CASE WHEN id = :of THEN :by_sign_in ELSE by_sign_in END
WHERE project_id = :project AND customer_id IN (:into, :of) AND id <> :into
""")
FORGET = text(
    "DELETE FROM customer_alias WHERE project_id = :project AND customer_id = ANY (CAST(:ids AS text[]))"
)
FORGET_TRACKED = text(
    "DELETE FROM tracked_id WHERE project_id = :project AND customer_id = ANY (CAST(:ids AS text[]))"
)
# Of a person: the id under which all is kept, and all that lead to it.
IS_REGISTERED = """
EXISTS (
    SELECT FROM tracked_id AS named
    WHERE named.project_id = :project AND named.name = 'registered' AND named.customer_id = ANY (ARRAY(
        SELECT other.id FROM customer_alias AS other
        WHERE other.project_id = :project AND other.customer_id = {person}
    ) || {person})
)
"""
# A registered one who was not tracked before is noted in the same round trip, and is not `known` in what comes back.
# Whatever was put under the id of one who was not is an alias. OFFSET 0 keeps that look-up a look-up.
TRACKED = text(f"""
WITH asked AS MATERIALIZED (
    SELECT asked.name, asked.value, tracked.name IS NOT NULL AS known, coalesce(tracked.shared, false) AS shared,
        coalesce(tracked.customer_id, CASE WHEN asked.name = '{REGISTERED}' THEN asked.value END) AS customer_id,
        tracked.name IS NULL AND asked.name = '{REGISTERED}' AND EXISTS (
            SELECT FROM tracked_id AS put WHERE put.project_id = :project AND put.customer_id = asked.value OFFSET 0
        ) AS borne
    FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])) AS asked (name, value)
    LEFT JOIN tracked_id AS tracked
        ON tracked.project_id = :project AND tracked.name = asked.name AND tracked.value = asked.value
), registered AS (
    INSERT INTO tracked_id (project_id, name, value, customer_id)
    SELECT :project, name, value, value FROM asked WHERE name = '{REGISTERED}' AND NOT known ORDER BY value
    ON CONFLICT (project_id, name, value) DO NOTHING
)
SELECT asked.name, asked.value, asked.known, asked.shared, asked.borne, person.id AS customer_id,
    coalesce(alias.merging, false) AS merging,
    asked.name = '{REGISTERED}' OR asked.known AND {IS_REGISTERED.format(person="person.id")} AS registered
FROM asked
LEFT JOIN customer_alias AS alias ON alias.project_id = :project AND alias.id = asked.customer_id
CROSS JOIN LATERAL (SELECT coalesce(alias.customer_id, asked.customer_id) AS id) AS person
""")  # noqa: S608  (made of constants)
REGISTERED_PERSON = text("SELECT" + IS_REGISTERED.format(person="CAST(:id AS text)"))
# In the order of the key, so that two of these never wait for each other.
ADD_TRACKED = text("""
INSERT INTO tracked_id (project_id, name, value, customer_id)
SELECT :project, name, value, customer_id FROM unnest(
    CAST(:names AS text[]), CAST(:values AS text[]), CAST(:customers AS text[])
) AS new (name, value, customer_id)
ORDER BY name, value
ON CONFLICT (project_id, name, value) DO NOTHING
""")
SHARE_TRACKED = text("""
UPDATE tracked_id SET shared = true, customer_id = :customer
WHERE project_id = :project AND name = :name AND value = :value
""")
# Aliases that were put under the id stand for whom a sign-in led it to, or else for one of their own. Where somebody
# has merged it, it stays with whom they said.
GIVE_BACK = text(f"""
WITH led AS (
    DELETE FROM customer_alias WHERE project_id = :project AND id = :id AND customer_id <> :id AND by_sign_in
    RETURNING customer_id
), anonymous AS (
    SELECT coalesce((SELECT customer_id FROM led), CAST(:own AS text)) AS id
    WHERE EXISTS (SELECT FROM led) OR NOT EXISTS (
        SELECT FROM customer_alias WHERE project_id = :project AND id = :id AND customer_id <> :id
    )
)
UPDATE tracked_id SET customer_id = anonymous.id FROM anonymous
WHERE project_id = :project AND name <> '{REGISTERED}' AND customer_id = ANY (ARRAY(
    SELECT id FROM customer_alias WHERE project_id = :project AND customer_id = :id AND by_sign_in
) || CAST(:id AS text))
""")  # noqa: S608  (made of constants)
TRACKED_OF = text("""
SELECT name, value FROM tracked_id
WHERE project_id = :project AND customer_id = ANY (CAST(:ids AS text[])) ORDER BY name, value
""")


async def persons(connection: AsyncConnection, ids: Sequence[str]) -> list[AliasRecord]:
    """Return whom those of these ids stand for that a merge has concerned."""
    return records.all_of(await connection.execute(PERSONS, {"ids": list(ids)}), AliasRecord)


async def nobody_merges(connection: AsyncConnection) -> bool:
    """Tell whether no merge is under way; where that is so, none begins until the transaction ends."""
    return bool((await connection.execute(NO_MERGE)).scalar_one())


def nobody_merges_on(connection: Connection[TupleRow]) -> bool:
    """Tell the same on a connection of the driver."""
    row = connection.execute(_SHARED.format(project="%(project)s").encode(), {}).fetchone()
    return row is not None and bool(row[0])


async def try_alone(connection: AsyncConnection) -> bool:
    """Be the only merge until the transaction ends; return False where there is another one."""
    return bool((await connection.execute(ALONE)).scalar_one())


async def mark(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """Mark persons, with all of their ids, as being merged."""
    await connection.execute(MARK, {"ids": list(ids)})


async def lead(connection: AsyncConnection, of: str, into: str, *, by_sign_in: bool) -> None:
    """Let a person's ids lead to another person, and take the marks off."""
    await connection.execute(LEAD, {"of": of, "into": into, "by_sign_in": by_sign_in})


async def forget(connection: AsyncConnection, customer_ids: Sequence[str]) -> None:
    """Delete the ids of persons."""
    await connection.execute(FORGET, {"ids": list(customer_ids)})


async def forget_tracked(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """Delete the tracked ids of a person, of which all other ids are given."""
    await connection.execute(FORGET_TRACKED, {"ids": list(ids)})


def _columns(ids: Sequence[TrackedId]) -> dict[str, list[str]]:
    return {"names": [each.name for each in ids], "values": [each.value for each in ids]}


async def tracked(connection: AsyncConnection, ids: Sequence[TrackedId]) -> list[TrackedRecord]:
    """Return what is known of tracked ids; registered ones that are not known are stored."""
    return records.all_of(await connection.execute(TRACKED, _columns(ids)), TrackedRecord)


async def is_registered(connection: AsyncConnection, customer_id: str) -> bool:
    """Tell whether a person was ever tracked as registered."""
    return bool((await connection.execute(REGISTERED_PERSON, {"id": customer_id})).scalar_one())


async def add_tracked(connection: AsyncConnection, new: Sequence[tuple[TrackedId, str]]) -> int:
    """Store whose tracked ids are; return how many were not there."""
    values = _columns([id_ for id_, _ in new]) | {"customers": [customer_id for _, customer_id in new]}
    return (await connection.execute(ADD_TRACKED, values)).rowcount


async def give_back(connection: AsyncConnection, customer_id: str, own: str) -> None:
    """Let an id stand for itself; its aliases stand for whom a sign-in led it to, or for a customer of their own."""
    await connection.execute(GIVE_BACK, {"id": customer_id, "own": own})


async def share_tracked(connection: AsyncConnection, id_: TrackedId, customer_id: str) -> None:
    """Note that a tracked id came with two registered customers; it stands for a customer of its own."""
    values = {"name": id_.name, "value": id_.value, "customer": customer_id}
    await connection.execute(SHARE_TRACKED, values)


async def tracked_of(connection: AsyncConnection, ids: Sequence[str]) -> list[TrackedId]:
    """Return the tracked ids of a person, of which all ids are given."""
    return records.all_of(await connection.execute(TRACKED_OF, {"ids": list(ids)}), TrackedId)
