"""The rules of customers and aggregates."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.customers import events, queries
from app.domain.customers.errors import AggregateNotFoundError, CustomerNotFoundError
from app.domain.customers.schemas import (
    AggregateRecord,
    CustomerFilter,
    CustomerRecord,
    EventRecord,
    PropertyUpdate,
    TakenOver,
)
from app.domain.lifecycle import order
from app.domain.persons import service as persons
from app.platform.clock import clock
from app.platform.database import is_conflict, patience, retry_on_conflict, transaction
from app.platform.errors import OverloadedError
from app.platform.settings import get_settings
from app.platform.versions import Expected, version

PATIENCE = 3.0
"""Seconds that an erasure waits for what is under way."""
UNFINISHED = (
    "The customer is erased, but not what may have come at the same time: others were at work for too long."
    " Erase the customer once more, by each id that it had."
)


async def get(connection: AsyncConnection, customer_id: str) -> CustomerRecord:
    """Return a customer.

    Raises:
        CustomerNotFoundError: nothing is known of this one.
    """
    customer = await queries.by_id(connection, await persons.current(connection, customer_id))
    if customer is None:
        raise CustomerNotFoundError("Nothing is known of this customer.")
    return customer


async def update(
    connection: AsyncConnection, customer_id: str, properties: Mapping[str, object]
) -> CustomerRecord:
    """Set properties one by one (RFC 7396, its first level): null takes one away, the others stay."""
    customer_id = await _resolved(connection, customer_id)
    await _set(connection, {customer_id: properties})
    return await get(connection, customer_id)


async def update_many(connection: AsyncConnection, updates: Sequence[PropertyUpdate]) -> None:
    """Set properties of customers, one update after the other; null takes one away.

    Their ids are those under which all is kept. Of an update that says of what time it is, only that counts of which
    nothing newer was told.
    """
    plain: dict[str, dict[str, object]] = {}
    for update in updates:
        if update.at is None:
            plain.setdefault(update.customer_id, {}).update(update.properties)
            continue
        if update.customer_id in plain:
            await _set(connection, {update.customer_id: plain.pop(update.customer_id)})
        at = min(update.at.timestamp(), clock.timestamp())  # nobody knows yet what will be
        await queries.set_as_of(connection, update.customer_id, update.properties, at)
    if plain:
        await _set(connection, plain)


async def _set(connection: AsyncConnection, updates: Mapping[str, Mapping[str, object]]) -> None:
    """Set properties of customers, who are made where they are not there; null takes one away."""
    await queries.merge(connection, updates)
    for id_, properties in sorted(updates.items()):
        taken_away = [key for key, value in properties.items() if value is None]
        if taken_away:
            await queries.take_away(connection, id_, taken_away)


async def _resolved(connection: AsyncConnection, customer_id: str) -> str:
    found = await persons.resolve(connection, [customer_id])
    return found[customer_id].id if found else customer_id


async def properties_of(
    connection: AsyncConnection, customer_ids: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Return the stored properties of those of these customers who are known."""
    return await queries.properties_of(connection, customer_ids)


def version_of(aggregate: AggregateRecord) -> str:
    """Return the version of an aggregate."""
    return version(asdict(aggregate))


async def _check(connection: AsyncConnection, name: str, expected: Expected | None) -> None:
    if expected is not None:
        there = await queries.lock_aggregate(connection, name)
        expected.check(None if there is None else version_of(there))


async def put_aggregate(
    connection: AsyncConnection,
    caller: Caller | None,
    name: str,
    definition: dict[str, object],
    expected: Expected | None = None,
) -> AggregateRecord:
    """Make or replace an aggregate.

    Raises:
        PreconditionFailedError: it is not as expected.
    """
    await _check(connection, name, expected)
    await queries.put_aggregate(connection, {"name": name, **definition})
    await audit.record(connection, caller, "aggregate.set", name=name)
    return await get_aggregate(connection, name)


async def get_aggregate(connection: AsyncConnection, name: str) -> AggregateRecord:
    """Return an aggregate.

    Raises:
        AggregateNotFoundError: there is none of this name; `similar` holds the names nearest to it.
    """
    row = await queries.aggregate(connection, name)
    if row is None:
        similar = await queries.aggregate_names(connection, name)
        raise AggregateNotFoundError(f"There is no aggregate named {name!r}.", similar=similar)
    return row


async def delete_aggregate(
    connection: AsyncConnection, caller: Caller | None, name: str, expected: Expected | None = None
) -> None:
    """Delete an aggregate.

    Raises:
        AggregateNotFoundError: there is none of this name.
        PreconditionFailedError: it is not as expected.
    """
    await _check(connection, name, expected)
    if not await queries.remove_aggregate(connection, name):
        raise AggregateNotFoundError(f"There is no aggregate named {name!r}.")
    await audit.record(connection, caller, "aggregate.deleted", name=name)


async def evaluate(connection: AsyncConnection, name: str, customer_ids: Sequence[str]) -> dict[str, object]:
    """Return the value of an aggregate for each of these customers; without such events none, or a count of 0.

    Raises:
        AggregateNotFoundError: there is no such aggregate.
    """
    definition = await get_aggregate(connection, name)
    nothing: dict[str, object] = dict.fromkeys(customer_ids, 0) if definition.function == "count" else {}
    return nothing | await queries.evaluate(connection, definition, customer_ids)


async def erase(engine: AsyncEngine, caller: Caller | None, customer_id: str) -> dict[str, int]:
    """Remove a person from customers, events, assignments and redemptions; return how many rows of each.

    What happened to the codes, all outcomes and all counts stay as they are: a mark stands for the person, which
    tells whether two rows are of the same one and nothing else. It may be repeated, and then finds nothing.

    Of a person with several ids all are removed.

    What is under way for the person is waited for and erased too, so that nothing stays of what was answered before.
    Marks of its events and messages stay for some time: one that is sent again does not bring the person back.

    Raises:
        OverloadedError: all is erased but what may have come meanwhile: others were at work for too long. Its
            `customer_ids` are those of the person, of which none leads to another one any more.
    """
    names, erased = await _erase(engine, caller, [customer_id])
    have_ended = await _wait_for_others(engine)
    # Whoever asked before may have written under any id of the person, and none leads to another one any more.
    until = time.monotonic() + PATIENCE
    while True:
        try:
            _, late = await _erase(engine, caller, names, late=True)
        except Exception as error:
            if not is_conflict(error):
                raise
            if time.monotonic() > until:
                raise _unfinished(names) from error
        else:
            break
    if not have_ended:
        raise _unfinished(names)
    return {name: n + late[name] for name, n in erased.items()}


def _unfinished(names: Sequence[str]) -> OverloadedError:
    error = OverloadedError(UNFINISHED)
    error.extra["customer_ids"] = names
    return error


@retry_on_conflict
async def _erase(
    engine: AsyncEngine, caller: Caller | None, ids: Sequence[str], *, late: bool = False
) -> tuple[list[str], dict[str, int]]:
    """Remove whom ids stand for from every table; return all of their ids, and how many rows of each kind.

    It stands in the audit, but not where it comes late and finds nothing.
    """
    async with transaction(engine) as connection:
        known = await persons.resolve(connection, ids)
        names = sorted({*ids, *(name for person in known.values() for name in person.names(person.id))})
        erased: Counter[str] = Counter()
        async with patience(connection):  # of a long history
            for id_ in names:
                erased.update(await queries.erase(connection, id_))
        await persons.forget(connection, names, {person.id for person in known.values()})
        if not late or any(erased.values()):
            # Not who: that is to be forgotten.
            await audit.record(connection, caller, "customer.erased", erased=dict(erased))
        return names, dict(erased)


async def was_erased(connection: AsyncConnection, id_: str) -> bool:
    """Tell whether an event, a message or a node with this id was erased with its customer."""
    return bool(await events.erased(connection, [id_]))


async def forget_marks(engine: AsyncEngine) -> int:
    """Delete the marks of what was erased longer ago than anything is tried again, in all projects; return how many."""
    return await queries.forget_marks(engine, timedelta(days=get_settings().erasure_marks_days))


async def _wait_for_others(engine: AsyncEngine) -> bool:
    """Wait until those who have written and are under way in the project have ended; False where they last too long."""
    until = time.monotonic() + PATIENCE
    others = await _that_wrote(engine)
    while others := others & await _that_wrote(engine):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.01)
    return True


async def _that_wrote(engine: AsyncEngine) -> set[str]:
    async with transaction(engine) as connection:  # one of its own, or two erasures would wait for each other
        return await order.that_wrote(connection)


SAMPLE = 1000
"""Events that are looked at to tell which types and properties there are."""


async def search(
    connection: AsyncConnection, wanted: CustomerFilter, after: str | None, limit: int
) -> tuple[list[CustomerRecord], str | None]:
    """Return customers that a filter lets pass, by id, and where to go on if the page ended before it was full."""
    return await queries.search(connection, wanted, after, limit)


async def list_aggregates(
    connection: AsyncConnection, after: str | None, limit: int
) -> list[AggregateRecord]:
    """Return aggregates by name."""
    return await queries.list_aggregates(connection, after, limit)


EventKey = tuple[datetime, int, str]
"""Where a page of events ends."""


async def latest_events(
    connection: AsyncConnection,
    customer_id: str,
    limit: int,
    event_type: str | None = None,
    key: EventKey | None = None,
) -> list[EventRecord]:
    """Return events of a customer, newest first."""
    customer_id = await persons.current(connection, customer_id)
    return await queries.latest_events(connection, customer_id, limit, event_type, key)


async def seen_properties(connection: AsyncConnection) -> dict[tuple[str, str], tuple[int, object]]:
    """Return how often each property of each event type was seen in a sample, with an example value."""
    seen: dict[tuple[str, str], tuple[int, object]] = {}
    for event_type, properties in await queries.sample_events(connection, SAMPLE):
        for name, value in properties.items():
            count, example = seen.get((event_type, name), (0, value))
            seen[event_type, name] = (count + 1, example)
    return dict(sorted(seen.items()))


async def take_over_history(connection: AsyncConnection, of: str, into: str) -> int:
    """Make one customer's events, and what its messages saw, another one's; return how many events."""
    return await queries.take_over_history(connection, of, into)


async def take_over(connection: AsyncConnection, of: str, into: str) -> TakenOver:
    """Make all else that is one's the other's; return how many rows of each kind. See `tracking.merge`."""
    return await queries.take_over(connection, of, into)
