"""Customers that are one person, merged in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.persons.ids import CustomerId
from app.domain.tracking import merge
from app.platform.engines import create_job_engine
from app.platform.errors import ChangesConflictError, CommandError, DomainError
from app.platform.projects import of_project
from app.platform.settings import Settings

_ID: TypeAdapter[str] = TypeAdapter(CustomerId)


async def merge_two(settings: Settings, project: int, of: str, into: str) -> None:
    """Merge one customer into another one, and print what moved.

    Raises:
        CommandError: an id is none, or others were at work with them for too long.
    """
    try:
        of, into = _ID.validate_python(of), _ID.validate_python(into)
    except ValidationError as error:
        raise CommandError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    async with _engine_of(settings, project) as engine:
        merged = await merge.merge(engine, None, into, of)
    print(
        f"{merged.assignments:,} assignments, {merged.redemptions:,} redemptions and {merged.events:,} events are"
        f" those of {merged.customer_id} now"
    )


async def merge_all(settings: Settings, project: int, *, dry_run: bool) -> None:
    """Merge each customer whose stored id is read otherwise into the one that it is read as, and print how many.

    Raises:
        CommandError: others were at work with one of them for too long; those before it are merged.
    """
    async with _engine_of(settings, project) as engine:
        found = await merge.spellings(engine)
        for n, (id_, read_as) in enumerate(() if dry_run else found):
            try:
                await merge.merge(engine, None, read_as, id_)
            except ChangesConflictError as error:
                raise CommandError(
                    f"Others were at work with the same customers for too long: {n:,} of {len(found):,} ids are merged."
                    " Try again: it goes on with the rest."
                ) from error
    print(f"{len(found):,} ids {'would be' if dry_run else 'are'} merged into those that they are read as")


@asynccontextmanager
async def _engine_of(settings: Settings, project: int) -> AsyncIterator[AsyncEngine]:
    """Give the engine of a project for the block; what its customers forbid ends the command."""
    engine = of_project(create_job_engine(settings), project)
    try:
        yield engine
    except DomainError as error:
        raise CommandError(error.detail) from error
    finally:
        await engine.dispose()
