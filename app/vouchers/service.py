"""The rules of the inventory."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import VoucherNotFoundError
from app.models import VoucherStatus
from app.pools import service as pools
from app.vouchers import queries, transitions

Key = tuple[VoucherStatus, int, str]
"""Where a page of a pool's vouchers ends: state, draw key, code."""


async def after(
    connection: AsyncConnection, pool: str, status: VoucherStatus | None, key: Key | None, limit: int
) -> list[Row[Any]]:
    """Vouchers of a pool, state by state and in draw order: the order of the index, so no page is slower than the first."""
    pool_id = await pools.id_of(connection, pool)
    states = list(VoucherStatus) if status is None else [status]
    if key is not None:
        states = states[states.index(key[0]) :]
    rows: list[Row[Any]] = []
    for state in states:
        start = (key[1], key[2]) if key is not None and key[0] == state else None
        rows += await queries.after(connection, pool_id, state, start, limit - len(rows))
        if len(rows) >= limit:
            break
    return rows


async def get(connection: AsyncConnection, code: str) -> dict[str, Any]:
    """A voucher and its history.

    Raises:
        VoucherNotFoundError: no pool holds the code.
    """
    voucher = await queries.by_code(connection, code)
    if voucher is None:
        raise VoucherNotFoundError
    history = [_entry("imported", voucher.imported_at)]
    for row in await queries.assignments_of(connection, code, voucher.assignment_id):
        about = {name: getattr(row, name) for name in ("customer_id", "campaign_id", "message_id")}
        history.append(_entry("assigned", row.assigned_at, assignment_id=row.id, **about))
        if row.released_at is not None:
            history.append(_entry("released", row.released_at, assignment_id=row.id, **about))
    redemption = await queries.redemption_of(connection, code)
    if redemption is not None:
        history.append(_entry("redeemed", redemption.redeemed_at, customer_id=redemption.customer_id))
    history.sort(key=lambda entry: entry["at"])
    return {**voucher._mapping, "history": history}  # noqa: SLF001  (public, by SQLAlchemy's convention)


async def redeem(connection: AsyncConnection, used: dict[str, datetime]) -> None:
    """Make vouchers redeemed, each at its time; of those that are redeemed, only the time may change."""
    await transitions.redeem(connection, used)
    await transitions.backdate(connection, used)


def _entry(event: str, at: Any, **about: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("customer_id", "campaign_id", "message_id", "assignment_id"))
    return {"event": event, "at": at, **nothing, **about}
