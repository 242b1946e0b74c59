"""SQL of what comes into the inventory and leaves it."""

import uuid

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.schema.base import VoucherStatus
from app.schema.imports import Import
from app.schema.inventory import Stock, Voucher


async def take_back(connection: AsyncConnection, import_id: uuid.UUID, pool_id: int, slot: int) -> int:
    """Delete the vouchers of an import that are available; how many."""
    # The state is looked at again after waiting for a draw, so what was drawn meanwhile stays.
    gone = delete(Voucher).where(
        Voucher.pool_id == pool_id,
        Voucher.status == VoucherStatus.AVAILABLE,
        Voucher.import_id == import_id,
    )
    count = (await connection.execute(gone)).rowcount
    fewer = update(Stock).where(Stock.pool_id == pool_id, Stock.slot == slot)
    await connection.execute(fewer.values(available=Stock.available - count))
    await connection.execute(
        update(Import).where(Import.id == import_id).values(undone=Import.undone + count)
    )
    return count


async def remove_vouchers(connection: AsyncConnection, pool_id: int) -> None:
    """Delete the vouchers of a pool; waits for draws that are under way."""
    await connection.execute(delete(Voucher).where(Voucher.pool_id == pool_id))
