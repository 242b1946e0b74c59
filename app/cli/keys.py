"""`vouchers api-key` and `vouchers rotate-secrets`: what they do, on a connection."""

from datetime import UTC, datetime

from cryptography.fernet import InvalidToken
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.errors import CommandError
from app.platform.sealing import fernet
from app.platform.settings import Settings
from app.schema.imports import Import, ImportSchedule


def moment(text: str) -> datetime:
    """Return a time from the command line; without a zone it is in UTC.

    Raises:
        CommandError: it is none, or has passed.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is no time; write it as 2027-01-31T12:00:00Z.") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    if found <= datetime.now(UTC):
        raise CommandError(f"{text} has passed.")
    return found


async def seal_anew(connection: AsyncConnection, settings: Settings) -> tuple[int, int]:
    """Seal with the first key what was sealed with another; return how much, and how much none of the keys opens."""
    cipher = fernet(settings)
    sealed = lost = 0
    for table in (Import, ImportSchedule):
        query = select(table.id, table.sealed).where(table.sealed.is_not(None), func.length(table.sealed) > 0)
        for row in (await connection.execute(query.with_for_update())).all():
            try:
                anew = cipher.rotate(bytes(row.sealed))
            except InvalidToken:
                lost += 1
                continue
            await connection.execute(update(table).where(table.id == row.id).values(sealed=anew))
            sealed += 1
    return sealed, lost
