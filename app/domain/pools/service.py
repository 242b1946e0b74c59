"""The rules of pools."""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.audit import service as audit
from app.domain.access.scopes import Caller
from app.domain.lifecycle import intake, stock
from app.domain.pools import queries
from app.domain.pools.errors import PoolExistsError, PoolNotEmptyError, PoolNotFoundError
from app.domain.pools.schemas import Drawable, PoolCounts, PoolHead, PoolRecord, PoolRef, PoolUpdate, Sort
from app.platform.database import patience
from app.platform.versions import Expected, version


async def create(
    connection: AsyncConnection, caller: Caller | None, name: str, description: str | None = None
) -> PoolRecord:
    """Make a pool.

    Raises:
        PoolExistsError: the name is taken.
    """
    if await _add(connection, name, description) is None:
        raise PoolExistsError(name)
    await audit.record(connection, caller, "pool.created", pool=name)
    return await get(connection, name)


async def ensure(connection: AsyncConnection, name: str) -> int:
    """Return the id of the pool with this name, which is made if it is not there."""
    pool_id, _ = await ensure_kept(connection, name)
    return pool_id


async def ensure_kept(connection: AsyncConnection, name: str) -> tuple[int, bool]:
    """Return the id of the pool with this name, which is not deleted until the transaction ends; and if it was made.

    A deletion that is under way is waited for, and the pool made anew.
    """
    while True:
        if (made := await _add(connection, name, None)) is not None:
            return made, True
        if (found := await keep(connection, name)) is not None:
            return found, False


async def keep(connection: AsyncConnection, name: str) -> int | None:
    """Return the id of the pool with this name, which is not deleted until the transaction ends; None: there is none.

    A deletion that is under way is waited for.
    """
    return await queries.keep(connection, name)


async def _add(connection: AsyncConnection, name: str, description: str | None) -> int | None:
    pool_id = await queries.add(connection, name, description)
    if pool_id is not None:
        await stock.open_slots(connection, pool_id)
    return pool_id


async def id_of(connection: AsyncConnection, name: str) -> int:
    """Return the id of a pool.

    Raises:
        PoolNotFoundError: there is none of this name; `similar` holds the names nearest to it.
    """
    pool_id = await queries.id_of(connection, name)
    if pool_id is None:
        raise await not_found(connection, name)
    return pool_id


async def named(connection: AsyncConnection, names: Collection[str]) -> set[str]:
    """Return those of these names that pools bear."""
    return await queries.named(connection, names)


async def ref(connection: AsyncConnection, name: str) -> PoolRef:
    """Return a pool by its name, for whoever goes on with it.

    Raises:
        PoolNotFoundError: there is none of this name.
    """
    return PoolRef(await id_of(connection, name), name)


async def not_found(connection: AsyncConnection, name: str) -> PoolNotFoundError:
    """Return the error for a name that no pool bears, with the names nearest to it."""
    return PoolNotFoundError(name, similar=await queries.names_like(connection, name))


async def get(connection: AsyncConnection, name: str) -> PoolRecord:
    """Return a pool with its counts."""
    row = await queries.by_name(connection, name)
    if row is None:
        raise await not_found(connection, name)
    return row


async def counts(connection: AsyncConnection, name: str) -> PoolCounts:
    """Return the stock of a pool, in the time of one look-up whatever its size."""
    return (await get(connection, name)).counts


async def drawable(connection: AsyncConnection, name: str, campaign_id: str | None) -> Drawable:
    """Return what a campaign may draw from a pool, and how many vouchers it has in all.

    What other campaigns hold is not available to this one.
    """
    pool = await get(connection, name)
    held = pool.counts.held
    own = 0 if held == 0 or campaign_id is None else await queries.kept_for(connection, pool.id, campaign_id)
    return Drawable(pool.counts.available - held + min(own, held), pool.counts.total)


async def list_page(connection: AsyncConnection, name: str | None, limit: int) -> list[PoolRecord]:
    """Return pools by name, from `name` on."""
    return await queries.list_page(connection, name, limit)


def version_of(pool: PoolHead) -> str:
    """Return the version of a pool; its counts are no part of it."""
    known = (pool.name, pool.description, pool.created_at)
    rules = {**(pool.per_customer or {})}
    if pool.expires_after_days is not None:
        rules["expires_after_days"] = pool.expires_after_days
    return version(*known, sorted(rules.items())) if rules else version(*known)


async def change(
    connection: AsyncConnection,
    caller: Caller | None,
    name: str,
    wanted: PoolUpdate,
    expected: Expected | None = None,
) -> PoolRecord:
    """Change a pool: what people read of it, and its rules.

    Raises:
        PoolNotFoundError: there is none of this name.
        PreconditionFailedError: it is not as expected.
    """
    await _check(connection, name, expected)
    values = wanted.model_dump(include=wanted.model_fields_set)
    pool_id = await queries.change(connection, name, values)
    if pool_id is None:
        raise await not_found(connection, name)
    if not values.keys().isdisjoint({"per_customer", "expires_after_days"}):
        # From here on no claim is under way that does not know the rules.
        await stock.refresh(connection, pool_id)
    await audit.record(connection, caller, "pool.changed", pool=name, **values)
    return await get(connection, name)


async def copy_settings(
    connection: AsyncConnection, caller: Caller | None, of: str, into: str, description: str | None = None
) -> PoolRecord:
    """Give a pool the settings of another one; a description stays where one is given.

    Raises:
        PoolNotFoundError: there is none of this name.
    """
    if of == into:
        raise PoolNotFoundError(of, similar=[])  # it was made just now
    other = await get(connection, of)
    settings = {name: getattr(other, name) for name in PoolUpdate.model_fields}
    if description is not None:
        settings["description"] = description
    return await change(connection, caller, into, PoolUpdate.model_validate(settings))


async def _check(connection: AsyncConnection, name: str, expected: Expected | None) -> None:
    if expected is not None:
        row = await queries.lock_to_edit(connection, name)
        if row is None:
            raise await not_found(connection, name)
        expected.check(version_of(row))


async def delete(
    connection: AsyncConnection, caller: Caller | None, name: str, expected: Expected | None = None
) -> None:
    """Delete a pool and its vouchers.

    Raises:
        PreconditionFailedError: it is not as expected.
        PoolNotEmptyError: a code of it was handed out, even if it was released later, or used.
    """
    pool_id = await queries.lock(connection, name)
    if pool_id is None:
        raise await not_found(connection, name)
    await _check(connection, name, expected)
    await _check_untouched(connection, name, pool_id)
    # That waits for draws and uses under way, so ledger and uses are looked at again. Who wants to use one of these
    # codes from here on waits for its voucher, and finds none; uses of other codes wait for nothing.
    await intake.lock_vouchers(connection, pool_id)
    await _check_untouched(connection, name, pool_id)
    await intake.remove_vouchers(connection, pool_id)
    await queries.remove(connection, pool_id)
    await audit.record(connection, caller, "pool.deleted", pool=name)


async def _check_untouched(connection: AsyncConnection, name: str, pool_id: int) -> None:
    async with patience(connection):
        if await queries.was_drawn_from(connection, pool_id) or await queries.was_used(connection, pool_id):
            raise PoolNotEmptyError(name)


async def search(
    connection: AsyncConnection,
    contained: str,
    after: str | int | None,
    limit: int,
    sort: Sort = "name",
) -> list[PoolRecord]:
    """Return pools whose names contain a text, from the pool with this `sort_key` on."""
    return await queries.search(connection, contained, after, limit, sort)


def sort_key(pool: PoolRecord, sort: Sort) -> str | int:
    """Return where a page that ends with this pool goes on."""
    return pool.name if sort in {"name", "name_desc"} else pool.id
