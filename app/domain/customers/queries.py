"""SQL of customers and of aggregates over their events."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Text, delete, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.customers.schemas import (
    AggregateRecord,
    CustomerFilter,
    CustomerRecord,
    EventRecord,
    TakenOver,
)
from app.platform import forgetting, keyset, records
from app.platform.similar import similar_names
from app.schema.customers import Aggregate, Customer, CustomerAlias, Event

AGGREGATE = (
    Aggregate.name,
    Aggregate.event_type,
    Aggregate.property,
    Aggregate.function,
    Aggregate.where,
    Aggregate.match,
)


ALIASES = (
    select(CustomerAlias.id)
    .where(CustomerAlias.customer_id == Customer.id, CustomerAlias.id != Customer.id)
    .order_by(CustomerAlias.id)
    .correlate(Customer)
    .scalar_subquery()
)
# Ids lead to the customer themselves, or through one that was merged into it.
TRACKED_IDS = literal_column(
    """
ARRAY(
    SELECT ARRAY[name, value] FROM tracked_id
    WHERE tracked_id.project_id = customer.project_id AND tracked_id.customer_id = ANY (ARRAY(
        SELECT alias.id FROM customer_alias AS alias
        WHERE alias.project_id = customer.project_id AND alias.customer_id = customer.id
    ) || customer.id) ORDER BY name, value
)
""",
    ARRAY(Text, dimensions=2),
)
CUSTOMER = select(
    Customer.id,
    Customer.properties,
    Customer.updated_at,
    func.array(ALIASES).label("aliases"),
    TRACKED_IDS.label("tracked_ids"),
)


async def by_id(connection: AsyncConnection, customer_id: str) -> CustomerRecord | None:
    """Return a customer, where one is known."""
    query = CUSTOMER.where(Customer.id == customer_id)
    return records.any_of(await connection.execute(query), CustomerRecord)


async def properties_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return the properties of those of these customers that are known."""
    query = select(Customer.id, Customer.properties).where(Customer.id == func.any(list(ids)))
    return {row.id: row.properties for row in await connection.execute(query)}


# In the order of ids, so that two of these never wait for each other.
MERGE = text("""
INSERT INTO customer (project_id, id, properties)
SELECT :project, id, properties - removed FROM unnest(
    CAST(:ids AS text[]), CAST(:properties AS jsonb[])
) AS given (id, properties), LATERAL (
    SELECT array_agg(key) FILTER (WHERE value = 'null') AS nulls FROM jsonb_each(properties)
) AS keys, LATERAL (SELECT coalesce(nulls, '{}') AS removed) AS none
ORDER BY id
ON CONFLICT (project_id, id) DO UPDATE SET
    properties = customer.properties || excluded.properties,
    property_times = CASE WHEN customer.property_times IS NOT NULL THEN customer.property_times || coalesce((
        SELECT jsonb_object_agg(key, extract(epoch FROM now())) FROM jsonb_object_keys(excluded.properties) AS key
    ), '{}') END,
    updated_at = now()
""")
TAKE_AWAY = text("""
UPDATE customer SET properties = properties - CAST(:keys AS text[]), property_times = property_times || (
    SELECT jsonb_object_agg(key, extract(epoch FROM now())) FROM unnest(CAST(:keys AS text[])) AS key
) WHERE project_id = :project AND id = :id
""")
# Times begin to be kept with the first update that tells one. What was set before was set by the last change.
_TIMES = """coalesce({of}.property_times, (
    SELECT coalesce(jsonb_object_agg(key, extract(epoch FROM {of}.updated_at)), '{{}}')
    FROM jsonb_object_keys({of}.properties) AS key
))"""
KEEP_TIMES = text(f"""
INSERT INTO customer (project_id, id, property_times) VALUES (:project, :id, '{{}}')
ON CONFLICT (project_id, id) DO UPDATE SET property_times = {_TIMES.format(of="customer")}
""")  # noqa: S608  (made of constants)
SET_AS_OF = text("""
WITH given AS (
    SELECT told.key, told.value FROM jsonb_each(CAST(:properties AS jsonb)) AS told, customer
    WHERE customer.project_id = :project AND customer.id = :id
        AND CAST(:at AS float8) >= coalesce((customer.property_times ->> told.key)::float8, 0)
), newer AS (
    SELECT coalesce(jsonb_object_agg(key, value) FILTER (WHERE value <> 'null'), '{}') AS properties,
        coalesce(array_agg(key) FILTER (WHERE value = 'null'), '{}') AS removed,
        jsonb_object_agg(key, CAST(:at AS float8)) AS times
    FROM given
)
UPDATE customer SET properties = (customer.properties - newer.removed) || newer.properties,
    property_times = customer.property_times || newer.times, updated_at = now()
FROM newer WHERE customer.project_id = :project AND customer.id = :id AND newer.times IS NOT NULL
""")


async def merge(connection: AsyncConnection, properties: Mapping[str, Mapping[str, object]]) -> None:
    """Set properties of customers, who are made where they are not there; no new customer gets a null."""
    await connection.execute(
        MERGE,
        {
            "ids": list(properties),
            "properties": [json.dumps(values) for values in properties.values()],  # numbers of any size
        },
    )


async def take_away(connection: AsyncConnection, customer_id: str, keys: Sequence[str]) -> None:
    """Delete properties of a customer."""
    await connection.execute(TAKE_AWAY, {"id": customer_id, "keys": list(keys)})


async def set_as_of(
    connection: AsyncConnection, customer_id: str, properties: Mapping[str, object], at: float
) -> None:
    """Set those properties of a customer, made where not there, of which nothing newer was told; null deletes one."""
    await connection.execute(KEEP_TIMES, {"id": customer_id})
    await connection.execute(SET_AS_OF, {"id": customer_id, "properties": json.dumps(properties), "at": at})


async def put_aggregate(connection: AsyncConnection, values: dict[str, object]) -> None:
    """Make or replace an aggregate."""
    changed = {name: value for name, value in values.items() if name != "name"}
    query = (
        upsert(Aggregate)
        .values(values)
        .on_conflict_do_update(index_elements=["project_id", "name"], set_=changed)
    )
    await connection.execute(query)


async def aggregate(connection: AsyncConnection, name: str) -> AggregateRecord | None:
    """Return one aggregate."""
    query = select(*AGGREGATE).where(Aggregate.name == name)
    return records.any_of(await connection.execute(query), AggregateRecord)


LOCK_PLACE = text("""
SELECT pg_advisory_xact_lock(
    hashtextextended('aggregate ' || CAST(:project AS text) || ' ' || CAST(:name AS text), 0)
)
""")
"""Of an aggregate also where there is none: of two who make the first, one is told of the other's."""


async def lock_aggregate(connection: AsyncConnection, name: str) -> AggregateRecord | None:
    """Return an aggregate, locked against other edits until the transaction ends."""
    await connection.execute(LOCK_PLACE, {"name": name})
    query = select(*AGGREGATE).where(Aggregate.name == name).with_for_update()
    return records.any_of(await connection.execute(query), AggregateRecord)


async def aggregate_names(connection: AsyncConnection, name: str) -> list[str]:
    """Return names of aggregates of which a name may be a misspelling."""
    return await similar_names(connection, Aggregate.__tablename__, name)


async def remove_aggregate(connection: AsyncConnection, name: str) -> bool:
    """Delete an aggregate; return False where there is none."""
    query = delete(Aggregate).where(Aggregate.name == name).returning(Aggregate.name)
    return (await connection.execute(query)).first() is not None


MATCHING = """
FROM event WHERE project_id = :project AND customer_id = ANY (CAST(:customers AS text[])) AND event_type = :event_type
    AND NOT EXISTS (
        SELECT FROM jsonb_each(CAST(:where AS jsonb)) AS wanted (path, value), LATERAL (
            SELECT CASE WHEN jsonb_exists(properties, path) THEN properties -> path
                ELSE properties #> string_to_array(path, '.') END AS there
        ) AS found
        WHERE CASE WHEN :match = 'contains'
            THEN NOT coalesce(jsonb_build_array(there) @> jsonb_build_array(value), false)
            ELSE there IS DISTINCT FROM value END
    )
    AND (CAST(:property AS text) IS NULL OR jsonb_exists(properties, :property))
"""
FIRST, LAST = (
    text(f"""
SELECT DISTINCT ON (customer_id) customer_id, properties -> :property AS value {MATCHING}
ORDER BY customer_id, timestamp {order}, arrival {order} {nulls}, id {order}
""")
    for order, nulls in (("ASC", "NULLS FIRST"), ("DESC", "NULLS LAST"))
)
COUNT = text(f"SELECT customer_id, count(*) AS value {MATCHING} GROUP BY customer_id")
FUNCTIONS = {"first": FIRST, "last": LAST, "count": COUNT}


async def evaluate(
    connection: AsyncConnection, definition: AggregateRecord, customers: Sequence[str]
) -> dict[str, object]:
    """Return the value of an aggregate for each of these customers who has one."""
    rows = await connection.execute(
        FUNCTIONS[definition.function],
        {
            "customers": list(customers),
            "event_type": definition.event_type,
            "property": definition.property,
            "where": json.dumps(definition.where),
            "match": definition.match,
        },
    )
    return {row.customer_id: row.value for row in rows}


# A message's or an event's id may tell who the person is, so these go too. What became of the codes stays. Of an event
# that is deleted by now (`VOUCHERS_KEEP_EVENTS_DAYS`), what came of its codes tells the id.
ERASE = text("""
WITH secret AS (
    SELECT coalesce((SELECT key FROM erasure_key LIMIT 1), '') AS key
), person AS (
    SELECT sha256(key || convert_to(CAST(:customer_id AS text), 'UTF8')) AS mark FROM secret
), customers AS (
    DELETE FROM customer WHERE project_id = :project AND id = :customer_id RETURNING id
), events AS (
    DELETE FROM event WHERE project_id = :project AND customer_id = :customer_id RETURNING id
), messages AS (
    DELETE FROM message_seen WHERE project_id = :project AND customer_id = :customer_id RETURNING id
), marked AS (
    INSERT INTO erased_event (project_id, mark) SELECT :project, sha256(key || convert_to(id, 'UTF8'))
    FROM (
        SELECT id FROM events UNION SELECT id::text FROM messages
        UNION SELECT event_id FROM redemption WHERE project_id = :project AND customer_id = :customer_id
    ) AS gone, secret WHERE id IS NOT NULL
    ON CONFLICT (project_id, mark) DO UPDATE SET erased_at = now()
), assignments AS (
    UPDATE assignment SET customer_id = NULL, message_id = NULL, customer_mark = mark
    FROM person WHERE project_id = :project AND customer_id = :customer_id RETURNING id
), redemptions AS (
    UPDATE redemption SET customer_id = NULL, event_id = NULL, customer_mark = mark
    FROM person WHERE project_id = :project AND customer_id = :customer_id RETURNING id
)
SELECT
    (SELECT count(*) FROM customers) AS customers, (SELECT count(*) FROM events) AS events,
    (SELECT count(*) FROM assignments) AS assignments, (SELECT count(*) FROM redemptions) AS redemptions
""")


async def forget_marks(engine: AsyncEngine, age: timedelta) -> int:
    """Delete the marks of what was erased longer ago, in all projects; return how many."""
    return await forgetting.forget(engine, "erased_event", "erased_at", age)


# Of those that are queued or under way: what has ended names nobody.
FORGET_IN_CHANGES = text("""
UPDATE bulk_change SET customer_ids = array_remove(customer_ids, CAST(:customer_id AS text))
WHERE project_id = :project AND CAST(:customer_id AS text) = ANY (customer_ids)
""")


async def erase(connection: AsyncConnection, customer_id: str) -> dict[str, int]:
    """Remove a customer from every table; return how many rows of each."""
    # First, as it is locked first by who carries it out.
    await connection.execute(FORGET_IN_CHANGES, {"customer_id": customer_id})
    row = (await connection.execute(ERASE, {"customer_id": customer_id})).one()
    return dict(row._mapping)  # noqa: SLF001  (public, by SQLAlchemy's convention)


async def search(
    connection: AsyncConnection, wanted: CustomerFilter, after: str | None, limit: int
) -> tuple[list[CustomerRecord], str | None]:
    """Return customers that a filter lets pass, by id, and where the reading ended if it ended before its time."""
    lead = select(Customer.id).order_by(Customer.id).limit(keyset.at_most(keyset.MOST_READ))
    if wanted.id_prefix:
        lead = lead.where(
            Customer.id >= wanted.id_prefix, Customer.id.startswith(wanted.id_prefix, autoescape=True)
        )
    if after is not None:
        lead = lead.where(Customer.id > after)
    read = lead.subquery("read")
    query = CUSTOMER.join(read, read.c.id == Customer.id).order_by(read.c.id).limit(limit)
    if wanted.property is not None and wanted.value is None:
        query = query.where(func.jsonb_exists(Customer.properties, wanted.property))
    elif wanted.property is not None:
        query = query.where(Customer.properties[wanted.property].astext == wanted.value)
    rows = records.all_of(await connection.execute(query), CustomerRecord)
    if len(rows) >= limit:
        return rows, None
    end = select(read.c.id).order_by(read.c.id).offset(keyset.MOST_READ - 1).limit(1)
    return rows, (await connection.execute(end)).scalar_one_or_none()


async def list_aggregates(
    connection: AsyncConnection, after: str | None, limit: int
) -> list[AggregateRecord]:
    """Return aggregates by name."""
    query = select(*AGGREGATE).order_by(Aggregate.name).limit(limit)
    if after is not None:
        query = query.where(Aggregate.name > after)
    return records.all_of(await connection.execute(query), AggregateRecord)


async def latest_events(
    connection: AsyncConnection,
    customer_id: str,
    limit: int,
    event_type: str | None = None,
    key: tuple[datetime, int, str] | None = None,
) -> list[EventRecord]:
    """Return events of a customer, newest first; of those of one time, the one that came last first."""
    arrival = func.coalesce(Event.arrival, 0)
    query = select(
        Event.id,
        Event.event_type,
        Event.properties,
        Event.timestamp,
        Event.received_at,
        arrival.label("arrival"),
    ).where(Event.customer_id == customer_id)
    if event_type is not None:
        query = query.where(Event.event_type == event_type)
    query = keyset.page(query, (Event.timestamp, arrival, Event.id), key, limit, newest_first=True)
    return records.all_of(await connection.execute(query), EventRecord)


async def sample_events(connection: AsyncConnection, limit: int) -> list[tuple[str, dict[str, object]]]:
    """Return types and properties of some events, for somebody who chooses among them."""
    query = select(Event.event_type, Event.properties).limit(limit)
    return [(row.event_type, row.properties) for row in await connection.execute(query)]


TAKE_OVER_HISTORY = text("""
WITH messages AS (
    UPDATE message_seen SET customer_id = :into WHERE project_id = :project AND customer_id = :of
), events AS (
    UPDATE event SET customer_id = :into WHERE project_id = :project AND customer_id = :of RETURNING id
)
SELECT count(*) FROM events
""")
# Times go with their properties; they begin to be kept where they were for either.
TAKE_OVER = text(f"""
WITH gone AS (
    DELETE FROM customer WHERE project_id = :project AND id = :of RETURNING properties, property_times, updated_at
), kept AS (
    INSERT INTO customer (project_id, id, properties, property_times, updated_at)
    SELECT :project, :into, properties, property_times, updated_at FROM gone
    ON CONFLICT (project_id, id) DO UPDATE SET
        properties = excluded.properties || customer.properties,
        property_times = CASE WHEN coalesce(excluded.property_times, customer.property_times) IS NOT NULL
            THEN {_TIMES.format(of="excluded")} || {_TIMES.format(of="customer")} END,
        updated_at = greatest(excluded.updated_at, customer.updated_at)
), assignments AS (
    UPDATE assignment SET customer_id = :into WHERE project_id = :project AND customer_id = :of RETURNING id
), redemptions AS (
    UPDATE redemption SET customer_id = :into WHERE project_id = :project AND customer_id = :of RETURNING id
)
SELECT
    (SELECT count(*) FROM gone) AS customers,
    (SELECT count(*) FROM assignments) AS assignments, (SELECT count(*) FROM redemptions) AS redemptions
""")  # noqa: S608  (made of constants)


async def take_over_history(connection: AsyncConnection, of: str, into: str) -> int:
    """Make one customer's events, and what its messages saw, another one's; return how many events."""
    return int((await connection.execute(TAKE_OVER_HISTORY, {"of": of, "into": into})).scalar_one())


async def take_over(connection: AsyncConnection, of: str, into: str) -> TakenOver:
    """Make all else that is one customer's another one's; return how many rows of each kind.

    Of a property that both have, the second one's stays.
    """
    return records.one_of(await connection.execute(TAKE_OVER, {"of": of, "into": into}), TakenOver)
