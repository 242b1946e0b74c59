"""Commands for customers that are one person."""

import asyncio
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from app.cli.databases import bring_up, database
from app.domain.persons.ids import CustomerId
from app.domain.tracking import merge
from app.platform.engines import create_job_engine
from app.platform.errors import CommandError, DomainError
from app.platform.settings import Settings

_ID: TypeAdapter[str] = TypeAdapter(CustomerId)


def add_to(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command("merge-customers")(merge_customers)
    cli.command("merge-spellings")(merge_spellings)


def merge_customers(
    of: Annotated[str, typer.Argument(metavar="FROM", help="Id that leads to the other from then on.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="Id that stays.")],
) -> None:
    """Make two customers one: what is one's becomes the other's. It cannot be taken back."""
    with database() as (settings, _):
        bring_up(settings)
        asyncio.run(merge_two(settings, of, into))


def merge_spellings(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell how many, and merge none.")] = False,
) -> None:
    """Merge customers whose stored ids are read otherwise since VOUCHERS_CUSTOMER_IDS was set; it may be repeated."""
    with database() as (settings, _):
        bring_up(settings)
        asyncio.run(merge_all(settings, dry_run=dry_run))


async def merge_two(settings: Settings, of: str, into: str) -> None:
    """Merge one customer into another one, and print what moved.

    Raises:
        CommandError: an id is none, or others were at work with them for too long.
    """
    engine = create_job_engine(settings)
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


async def merge_all(settings: Settings, *, dry_run: bool) -> None:
    """Merge each customer whose stored id is read otherwise into the one that it is read as, and print how many."""
    engine = create_job_engine(settings)
    try:
        found = await merge.spellings(engine)
        if not dry_run:
            for id_, read_as in found:
                await merge.merge(engine, None, read_as, id_)
    finally:
        await engine.dispose()
    print(f"{len(found):,} ids {'would be' if dry_run else 'are'} merged into those that they are read as")
