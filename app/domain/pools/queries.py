"""SQL of pools and their stock."""

from collections.abc import Collection, Mapping

from sqlalchemy import (
    BigInteger,
    Executable,
    RowMapping,
    delete,
    exists,
    func,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from app.domain.pools.schemas import PoolCounts, PoolHead, PoolRecord, Sort
from app.platform import records
from app.platform.similar import similar_names
from app.schema.inventory import ANY_STATE, Pool, Stock, Voucher
from app.schema.ledger import Assignment, Hold
from app.schema.redemptions import Redemption

STATES = (Stock.available, Stock.reserved, Stock.assigned, Stock.redeemed, Stock.expired, Stock.void)
COUNTS = tuple(func.sum(state).cast(state.type).label(state.key) for state in STATES)
KEPT_BY_HOLDS = (
    select(func.coalesce(func.sum(Hold.size - Hold.drawn), 0).cast(BigInteger))
    .where(Hold.pool_id == Pool.id, or_(Hold.expires_at.is_(None), Hold.expires_at > func.now()))
    .correlate(Pool)
    .scalar_subquery()
    .label("held")
)
COLUMNS = (Pool.id, Pool.name, Pool.description, Pool.created_at, Pool.per_customer, Pool.expires_after_days)
WITH_COUNTS = (
    select(*COLUMNS, *COUNTS, KEPT_BY_HOLDS)
    .join(Stock, Stock.pool_id == Pool.id)
    .group_by(Pool.project_id, Pool.id)
)


async def add(connection: AsyncConnection, name: str, description: str | None) -> int | None:
    """Make a pool; its id, or None where the name is taken."""
    query = (
        upsert(Pool).values(name=name, description=description).on_conflict_do_nothing().returning(Pool.id)
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def id_of(connection: AsyncConnection, name: str) -> int | None:
    """Return the id of the pool with this name."""
    return (await connection.execute(select(Pool.id).where(Pool.name == name))).scalar_one_or_none()


async def named(connection: AsyncConnection, names: Collection[str]) -> set[str]:
    """Return those of these names that pools bear."""
    query = select(Pool.name).where(Pool.name == func.any(list(names)))
    return set((await connection.execute(query)).scalars())


async def by_name(connection: AsyncConnection, name: str) -> PoolRecord | None:
    """Return a pool with its counts."""
    found = await _records(connection, WITH_COUNTS.where(Pool.name == name))
    return found[0] if found else None


async def list_page(connection: AsyncConnection, name: str | None, limit: int) -> list[PoolRecord]:
    """Return pools with their counts, by name."""
    page = select(Pool.id).order_by(Pool.name).limit(limit)
    if name is not None:
        page = page.where(Pool.name > name)
    # The page first, then its sums: it costs what it shows, however many pools there are.
    return await _records(connection, WITH_COUNTS.where(Pool.id.in_(page)).order_by(Pool.name))


async def names_like(connection: AsyncConnection, name: str) -> list[str]:
    """Return names of pools of which a name may be a misspelling."""
    return await similar_names(connection, Pool.__tablename__, name)


async def kept_for(connection: AsyncConnection, pool_id: int, campaign_id: str | None) -> int:
    """Return how many vouchers the campaign's own hold still keeps."""
    query = select(func.coalesce(func.sum(Hold.size - Hold.drawn), 0).cast(BigInteger)).where(
        Hold.pool_id == pool_id,
        Hold.campaign_id == campaign_id,
        or_(Hold.expires_at.is_(None), Hold.expires_at > func.now()),
    )
    return int((await connection.execute(query)).scalar_one())


async def lock_to_edit(connection: AsyncConnection, name: str) -> PoolHead | None:
    """Return the pool without its counts, locked against other edits until the transaction ends; draws go on."""
    query = select(*COLUMNS).where(Pool.name == name).with_for_update(key_share=True)
    return records.any_of(await connection.execute(query), PoolHead)


async def change(connection: AsyncConnection, name: str, values: Mapping[str, object]) -> int | None:
    """Set columns of a pool; its id, or None where there is no such pool."""
    # None is no value here, not the value null that JSON has.
    set_to = {column: null() if value is None else value for column, value in values.items()}
    query = update(Pool).where(Pool.name == name).values(set_to).returning(Pool.id)
    return (await connection.execute(query)).scalar_one_or_none()


async def lock(connection: AsyncConnection, name: str) -> int | None:
    """Return the id of the pool, locked against imports and other deletions until the transaction ends."""
    query = select(Pool.id).where(Pool.name == name).with_for_update()
    return (await connection.execute(query)).scalar_one_or_none()


async def keep(connection: AsyncConnection, name: str) -> int | None:
    """Return the id of the pool, which nobody deletes until the transaction ends; wait for who is deleting it."""
    query = select(Pool.id).where(Pool.name == name).with_for_update(read=True, key_share=True)
    return (await connection.execute(query)).scalar_one_or_none()


async def was_used(connection: AsyncConnection, pool_id: int) -> bool:
    """Tell whether anybody is known to have used a code of the pool, whatever came of it."""
    used = exists().where(Voucher.pool_id == pool_id, text(ANY_STATE), Redemption.code == Voucher.code)
    return bool((await connection.execute(select(used))).scalar_one())


async def was_drawn_from(connection: AsyncConnection, pool_id: int) -> bool:
    """Return whether the ledger knows the pool."""
    query = select(exists().where(Assignment.pool_id == pool_id))
    return bool((await connection.execute(query)).scalar_one())


async def remove(connection: AsyncConnection, pool_id: int) -> None:
    """Delete a pool and its stock."""
    await connection.execute(delete(Pool).where(Pool.id == pool_id))


async def search(
    connection: AsyncConnection, contained: str, after: str | int | None, limit: int, sort: Sort
) -> list[PoolRecord]:
    """Return pools whose names contain a text, with their counts.

    The pools are found first, so that the stock of few is summed and not of all.
    """
    by: InstrumentedAttribute[str] | InstrumentedAttribute[int] = Pool.id
    if sort in {"name", "name_desc"}:
        by = Pool.name
    down = sort in {"name_desc", "newest"}
    order = by.desc() if down else by
    found = select(Pool.id).order_by(order).limit(limit)
    if contained:
        found = found.where(Pool.name.icontains(contained, autoescape=True))
    if after is not None:
        found = found.where(by < after if down else by > after)
    return await _records(connection, WITH_COUNTS.where(Pool.id.in_(found)).order_by(order))


async def _records(connection: AsyncConnection, query: Executable) -> list[PoolRecord]:
    return [_record(row) for row in (await connection.execute(query)).mappings()]


def _record(row: RowMapping) -> PoolRecord:
    states = {state.key: int(row[state.key]) for state in STATES}
    held = max(min(int(row["held"]), states["available"]), 0)
    counts = PoolCounts(**states, total=sum(states.values()), held=held)
    return PoolRecord(**{column.key: row[column.key] for column in COLUMNS}, counts=counts)
