"""Customers that are one person, merged in this process."""

from pydantic import TypeAdapter, ValidationError

from app.domain.persons.ids import CustomerId
from app.domain.tracking import merge
from app.platform.engines import create_job_engine
from app.platform.errors import CommandError, DomainError
from app.platform.projects import of_project
from app.platform.settings import Settings

_ID: TypeAdapter[str] = TypeAdapter(CustomerId)


async def merge_two(settings: Settings, project: int, of: str, into: str) -> None:
    """Merge one customer into another one, and print what moved.

    Raises:
        CommandError: an id is none, or others were at work with them for too long.
    """
    engine = of_project(create_job_engine(settings), project)
    try:
        merged = await merge.merge(engine, None, _ID.validate_python(into), _ID.validate_python(of))
    except ValidationError as error:
        raise CommandError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    except DomainError as error:
        raise CommandError(error.detail) from error
    finally:
        await engine.dispose()
    print(
        f"{merged.assignments:,} assignments, {merged.redemptions:,} redemptions and {merged.events:,} events are"
        f" those of {merged.customer_id} now"
    )


async def merge_all(settings: Settings, project: int, *, dry_run: bool) -> None:
    """Merge each customer whose stored id is read otherwise into the one that it is read as, and print how many."""
    engine = of_project(create_job_engine(settings), project)
    try:
        found = await merge.spellings(engine)
        if not dry_run:
            for id_, read_as in found:
                await merge.merge(engine, None, read_as, id_)
    finally:
        await engine.dispose()
    print(f"{len(found):,} ids {'would be' if dry_run else 'are'} merged into those that they are read as")
