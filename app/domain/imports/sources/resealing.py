"""Seal the sources of imports and schedules with another key."""

from cryptography.fernet import InvalidToken
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.sealing import fernet
from app.platform.settings import Settings
from app.schema.imports import Import, ImportSchedule


async def seal_anew(connection: AsyncConnection, settings: Settings) -> tuple[int, int]:
    """Seal with the first key what was sealed with another; return how much, and how much none of the keys opens."""
    cipher = fernet(settings)
    sealed = lost = 0
    for table in (Import, ImportSchedule):
        columns = table.project_id, table.id, table.sealed
        query = select(*columns).where(table.sealed.is_not(None), func.length(table.sealed) > 0)
        for row in (await connection.execute(query.with_for_update())).all():
            try:
                anew = cipher.rotate(bytes(row.sealed))
            except InvalidToken:
                lost += 1
                continue
            own = table.project_id == row.project_id, table.id == row.id
            await connection.execute(update(table).where(*own).values(sealed=anew))
            sealed += 1
    return sealed, lost
