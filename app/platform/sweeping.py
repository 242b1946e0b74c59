"""A sweep that meets a row which it cannot judge goes on with the rest, tells it in the log, and counts it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.platform.metrics import UNJUDGED

log = structlog.get_logger()

Key = TypeVar("Key")


def is_of_the_row(error: Exception) -> bool:
    """Return whether an error is about what was worked on; one of the connection, a time or a deadlock is not."""
    return not isinstance(error, OperationalError | InterfaceError)


def tell(sweep: str, error: Exception) -> None:
    """Log and count a row that was left alone; the log names no code and no person."""
    UNJUDGED.inc()
    log.error("a row cannot be judged", sweep=sweep, error=type(error).__name__)


@asynccontextmanager
async def past_a_bad_row(connection: AsyncConnection, sweep: str) -> AsyncIterator[None]:
    """Undo what the block did, and go on, where something is odd about the row that it works on."""
    try:
        async with connection.begin_nested():
            yield
    except Exception as error:
        if not is_of_the_row(error):
            raise
        tell(sweep, error)


async def by_halves(
    sweep: str, keys: Sequence[Key], act: Callable[[Sequence[Key]], Awaitable[int]]
) -> tuple[int, list[Key]]:
    """Work through rows of which some are bad: those that fail together are tried by halves.

    Args:
        sweep: its name, for the log.
        keys: of the rows.
        act: works on some of them, in a transaction of its own; returns how many it changed.

    Returns:
        How many were changed, and the keys that could not be.
    """
    try:
        return await act(keys), []
    except Exception as error:
        if not is_of_the_row(error):
            raise
        if len(keys) == 1:
            tell(sweep, error)
            return 0, list(keys)
    middle = len(keys) // 2
    first, bad = await by_halves(sweep, keys[:middle], act)
    second, more = await by_halves(sweep, keys[middle:], act)
    return first + second, bad + more
