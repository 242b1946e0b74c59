"""Commands for customers that are one person."""

import asyncio
from typing import Annotated

import typer

from app.cli.opening import FIRST, Project, in_project


def add_to(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command("merge-customers")(merge_customers)
    cli.command("merge-spellings")(merge_spellings)


def merge_customers(
    of: Annotated[str, typer.Argument(metavar="FROM", help="Id that leads to the other from then on.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="Id that stays.")],
    project: Project = FIRST,
) -> None:
    """Make two customers one: what is one's becomes the other's. It cannot be taken back."""
    from app.cli.merging import merge_two  # noqa: PLC0415  (`serve` need not load it)

    with in_project(project) as (settings, project_id):
        asyncio.run(merge_two(settings, project_id, of, into))


def merge_spellings(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell how many, and merge none.")] = False,
    project: Project = FIRST,
) -> None:
    """Merge customers whose stored ids are read otherwise since VOUCHERS_CUSTOMER_IDS was set; it may be repeated."""
    from app.cli.merging import merge_all  # noqa: PLC0415  (`serve` need not load it)

    with in_project(project) as (settings, project_id):
        asyncio.run(merge_all(settings, project_id, dry_run=dry_run))
