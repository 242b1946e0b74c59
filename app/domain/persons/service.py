"""Whom an id stands for.

After a merge an id leads to another person. Whoever writes what belongs to a customer asks `resolve` in its own
transaction, before it looks for anything of the customer. A merge (app/domain/tracking/merge.py) marks both persons
first, and then waits for every transaction that may have asked before it: so whoever asks either is waited for, and
what it wrote moves too, or sees the mark and tries again once the merge is done.
"""

from collections.abc import Iterable, Mapping

from psycopg import Connection
from psycopg.rows import TupleRow
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.persons import queries
from app.domain.persons.schemas import Person, TrackedId, TrackedRecord
from app.platform.database import ConflictError


class MergingError(ConflictError):
    """One of the customers is being merged with another: run the transaction again in a moment."""

    pause = 0.1

    def __init__(self, ids: Iterable[str] = ()) -> None:
        super().__init__()
        self.ids = frozenset(ids)
        """Of the customers that are, where they were asked for by these ids."""


async def resolve(connection: AsyncConnection, ids: Iterable[str | None]) -> dict[str, Person]:
    """Return whom those of these ids stand for that a merge has ever concerned; the others are themselves.

    Raises:
        MergingError: one of them is being merged.
    """
    asked = sorted({id_ for id_ in ids if id_ is not None})
    rows = await queries.persons(connection, asked) if asked else ()
    if merging := [row.asked for row in rows if row.merging]:
        if not await queries.nobody_merges(connection):
            raise MergingError(merging)
        rows = await queries.persons(connection, asked)  # it has ended just now, or came to nothing
    return {row.asked: Person(row.id, tuple(row.aliases)) for row in rows}


async def current(connection: AsyncConnection, customer_id: str) -> str:
    """Return the id under which all of a customer is kept, for who only reads."""
    rows = await queries.persons(connection, [customer_id])
    return rows[0].id if rows else customer_id


async def aliases(connection: AsyncConnection, customer_id: str) -> tuple[str, ...]:
    """Return the other ids of a customer."""
    rows = await queries.persons(connection, [customer_id])
    return tuple(rows[0].aliases) if rows else ()


def keep_merges_off(connection: Connection[TupleRow]) -> None:
    """Let no merge begin until the transaction ends, on a connection of the driver.

    Raises:
        MergingError: one is under way.
    """
    if not queries.nobody_merges_on(connection):
        raise MergingError


async def try_alone(connection: AsyncConnection) -> bool:
    """Begin a merge, the only one until the transaction ends; return False where another one is under way."""
    return await queries.try_alone(connection)


async def mark(connection: AsyncConnection, ids: Iterable[str]) -> None:
    """Mark persons as being merged, with all of their ids; the caller commits that and holds `try_alone`."""
    await queries.mark(connection, sorted(ids))


async def lead(connection: AsyncConnection, of: str, into: str, *, by_sign_in: bool = False) -> None:
    """Let all ids of a person lead to another one, because of a sign-in, or because somebody said so."""
    await queries.lead(connection, of, into, by_sign_in=by_sign_in)


async def forget(connection: AsyncConnection, names: Iterable[str], merged: Iterable[str]) -> None:
    """Forget the ids of somebody who is erased: the tracked ones, and those that lead to whom `resolve` found merged.

    Of anybody else none: a merge may have marked the id meanwhile.
    """
    await queries.forget_tracked(connection, list(names))
    await queries.forget(connection, list(merged))


async def tracked(connection: AsyncConnection, ids: Iterable[TrackedId]) -> dict[TrackedId, TrackedRecord]:
    """Return what is known of tracked ids; registered ones that are not known are stored.

    Whose they are holds as what `resolve` returns does, so that it need not be asked too.

    Raises:
        MergingError: one of the customers is being merged.
    """
    asked = list(ids)
    rows = await queries.tracked(connection, asked)
    if any(row.merging for row in rows):
        if not await queries.nobody_merges(connection):
            raise MergingError
        rows = await queries.tracked(connection, asked)  # it has ended just now, or came to nothing
    return {TrackedId(row.name, row.value): row for row in rows}


async def is_registered(connection: AsyncConnection, customer_id: str) -> bool:
    """Tell whether a person was ever tracked as registered, under any id."""
    return await queries.is_registered(connection, customer_id)


async def add_tracked(connection: AsyncConnection, new: Mapping[TrackedId, str]) -> None:
    """Store under which customer ids are that were not tracked before.

    Raises:
        ConflictError: another transaction was faster: look again.
    """
    if new and await queries.add_tracked(connection, list(new.items())) < len(new):
        raise ConflictError


async def give_back(connection: AsyncConnection, customer_id: str, own: str) -> None:
    """Give an id to the registered customer who comes with it, after an anonymous one has borne it (`borne`).

    What is kept of the anonymous one stays where it is, for nobody can tell for whom it was meant. Its aliases stand
    from then on for whom a sign-in led it to, or else for `own`, an id under which nothing is kept. An id that
    somebody has merged leads on.

    Raises:
        MergingError: a merge is under way.
    """
    if not await queries.nobody_merges(connection):
        raise MergingError
    await queries.give_back(connection, customer_id, own)


async def share_tracked(connection: AsyncConnection, shared: Mapping[TrackedId, str]) -> None:
    """Note which tracked ids came with two registered customers, each with the customer for whom it stands then."""
    for id_, customer_id in sorted(shared.items(), key=lambda item: (item[0].name, item[0].value)):
        await queries.share_tracked(connection, id_, customer_id)


async def tracked_of(connection: AsyncConnection, customer_id: str) -> list[TrackedId]:
    """Return the tracked ids of a person."""
    rows = await queries.persons(connection, [customer_id])
    ids = [customer_id, *(id_ for row in rows for id_ in (row.id, *row.aliases))]
    return await queries.tracked_of(connection, ids)
