"""`vouchers project`."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli import opening
from app.cli.opening import on_database
from app.cli.project_move import move_project
from app.domain.projects import service
from app.domain.projects.databases.placing import choose
from app.domain.projects.schemas import ProjectRecord
from app.platform.database import transaction
from app.platform.databases import MAIN
from app.platform.engines import create_long_engine
from app.platform.errors import CommandError, DomainError
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings
from app.schema.names import nfc, plain

Result = TypeVar("Result")
project = typer.Typer(no_args_is_help=True, help="Projects: make, list, rename, move, export, delete.")
project.command("move")(move_project)
Of = Annotated[str, typer.Option("--project", metavar="PROJECT", help="The project whose key it is.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the project.")]
_checked = plain("project")


@project.command("create")
def create_project(
    name: Name,
    database: Annotated[
        str | None,
        typer.Option(metavar="DB", help="Database that it is to live in; else the one with most room."),
    ] = None,
) -> None:
    """Make a project: a shop with pools, customers, events, mapping and keys of its own."""
    wanted = _new(name)
    with opening.database() as (settings, postgres):
        opening.bring_up(settings)
        keyed = opening.with_further(settings, embedded=postgres is not None)
        made = asyncio.run(_create(keyed, wanted, None if database is None else nfc(database)))
    print(f"Made. Its first key: vouchers api-key create --project {made.name} --name NAME --scope admin")


async def _create(settings: Settings, name: str, database: str | None) -> ProjectRecord:
    engine = of_project(create_long_engine(settings), DEFAULT)
    try:
        database_id = await choose(engine, settings, database)
        async with transaction(engine) as connection:
            return await service.create(connection, None, name, database_id)
    except DomainError as error:
        raise CommandError(error.detail) from error
    finally:
        await engine.dispose()


@project.command("list")
def list_projects() -> None:
    """List the projects, by name."""
    for row in asked(lambda connection: service.list_page(connection, None, None)):
        print(f"{row.created_at:%Y-%m-%d %H:%M}  {row.name}{_place(row)}{_state(row)}")


@project.command("rename")
def rename_project(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Its name now.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
) -> None:
    """Give a project another name; its keys and all that it holds stay."""
    wanted = _new(new)
    asked(lambda connection: service.rename(connection, None, nfc(old), wanted))


@project.command("export")
def export_project(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it is replaced.")],
) -> None:
    """Write all that a project holds, without secrets, to a ZIP of NDJSON files, one for each table."""
    from app.cli.project_file import write  # noqa: PLC0415  (`serve` need not load it)

    with opening.in_project(name) as (settings, project_id):
        print(write(settings, project_id, file))


@project.command("delete")
def delete_project(
    name: Name,
    confirm: Annotated[str, typer.Option(metavar="NAME", help="The name once more.")],
) -> None:
    """Delete a project with all that it holds: pools, codes, assignments, customers, events, keys, audit."""
    asked(lambda connection: service.delete(connection, None, nfc(name), nfc(confirm)))
    print("Its keys are refused. A job deletes the rest; it is listed until nothing is left.")


def asked(act: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Do something in one transaction on the migrated database, and say what was wrong with it.

    Raises:
        CommandError: it is refused.
    """

    async def told(connection: AsyncConnection) -> Result:
        try:
            return await act(connection)
        except DomainError as error:
            raise CommandError(error.detail) from error

    return on_database(told)


def _new(name: str) -> str:
    try:
        return _checked(name)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _place(row: ProjectRecord) -> str:
    return "" if row.database_id == MAIN else f"  in {row.database}"


def _state(row: ProjectRecord) -> str:
    return "" if row.deleting_since is None else f"  being deleted since {row.deleting_since:%Y-%m-%d %H:%M}"
