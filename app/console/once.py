"""A form that is sent again, by a second click or by a page that is loaded anew, is obeyed once."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.console.session import Visit
from app.domain.access.replies import service as replies
from app.platform.database import transaction

Made = TypeVar("Made")


async def once(
    connection: AsyncConnection,
    visit: Visit,
    act: Callable[[], Awaitable[Made]],
    told: Callable[[Made], str],
) -> str:
    """Return what is told of what `act` makes, or made when the same form was sent before, filled in alike.

    Args:
        connection: of the transaction that does what is asked for; what is told is kept there, sealed.
        visit: brings the form.
        act: does it.
        told: picks what the answer to the form needs.
    """
    taken, kept = await replies.take(connection, visit.settings, visit.caller, visit.sent_as(), [])
    if kept is not None:
        return str(kept["told"])
    text = told(await act())
    await replies.keep(connection, visit.settings, taken, {"told": text})
    return text


async def sent_before(engine: AsyncEngine, visit: Visit) -> str | None:
    """Return what `once` told when the same form was sent before; None where it was not."""
    async with transaction(engine) as connection:
        kept = await replies.answered(connection, visit.settings, visit.caller, visit.sent_as(), [])
    return None if kept is None else str(kept["told"])
