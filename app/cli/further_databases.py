"""`vouchers database`."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli import opening
from app.cli.projects import asked
from app.domain.projects.databases import first_look, placing, service
from app.domain.projects.databases.balancing import Load, proposals
from app.domain.projects.databases.schemas import DatabaseRecord, DatabaseState
from app.platform.database import transaction
from app.platform.database_url import parameters
from app.platform.databases import settings_of
from app.platform.engines import create_long_engine
from app.platform.errors import CommandError, DomainError
from app.platform.migrate import migrate
from app.platform.projects import everywhere
from app.platform.settings import Settings
from app.schema.names import nfc, plain

further = typer.Typer(
    no_args_is_help=True, help="Databases that projects live in: add, list, drain, balance."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the database.")]
_checked = plain("database")


@further.command("add")
def add_database(
    name: Name,
    url: Annotated[str | None, typer.Option(help="Its URL, as DATABASE_URL is written.")] = None,
    url_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file with its URL.")
    ] = None,
) -> None:
    """Take an empty database into the service, migrated; with a name that is there, give it another URL."""
    if (url is None) == (url_file is None):
        raise CommandError("Give either --url or --url-file.")
    given = url.strip() if url is not None else url_file.read_text().strip() if url_file else ""
    parameters(given)
    try:
        wanted = _checked(name)
    except ValueError as error:
        raise CommandError(str(error)) from error
    with opening.database() as (settings, postgres):
        opening.bring_up(settings)
        keyed = opening.with_secret_key(settings, embedded=postgres is not None)
        other = settings_of(keyed, given)
        if first_look.can_tell(other):
            asyncio.run(_on_both(keyed, other, lambda here, there: service.check(here, there, wanted)))
        migrate(other.direct_url)
        asyncio.run(
            _on_both(keyed, other, lambda here, there: service.add(here, there, keyed, wanted, given))
        )
    print("Added.")


async def _on_both(
    settings: Settings, other: Settings, act: Callable[[AsyncConnection, AsyncConnection], Awaitable[object]]
) -> None:
    """Do something in a transaction of the control database, with a connection to another one.

    Raises:
        CommandError: it cannot be done.
    """
    here, there = create_long_engine(settings), create_long_engine(other)
    try:
        async with transaction(everywhere(here)) as connection, everywhere(there).connect() as elsewhere:
            await act(connection, elsewhere)
    except DomainError as error:
        raise CommandError(error.detail) from error
    finally:
        await there.dispose()
        await here.dispose()


@further.command("list")
def list_databases() -> None:
    """List the databases: version, size, projects, and by how much the slowest that follows one is behind."""
    with opening.database() as (settings, postgres):
        opening.bring_up(settings)
        keyed = opening.with_further(settings, embedded=postgres is not None)
        rows = asyncio.run(opening.transact(keyed, service.list_all, None))
        states = asyncio.run(placing.states(keyed, rows))
    for row, state in zip(rows, states, strict=True):
        print(f"{row.name:<20}  {row.projects:>6} projects  {_told(state)}{_drained(row)}")


@further.command("drain")
def drain_database(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Put new projects there again.")] = False,
) -> None:
    """Put no new projects into a database; those that live there stay until they are moved."""
    asked(lambda connection: service.drain(connection, nfc(name), draining=not undo))


@further.command("balance")
def balance_databases() -> None:
    """Propose which projects to move, so that databases hold alike; nothing is moved by this."""
    with opening.database() as (settings, postgres):
        opening.bring_up(settings)
        loads = asyncio.run(_loads(opening.with_further(settings, embedded=postgres is not None)))
    for move in proposals(loads, opening.FIRST):
        print(
            f"vouchers project move {move.project} {move.target}  # {move.vouchers:,} vouchers, from {move.source}"
        )


async def _loads(settings: Settings) -> dict[str, Load]:
    engine = create_long_engine(settings)
    try:
        return await placing.loads(everywhere(engine), settings)
    finally:
        await engine.dispose()


def _told(state: DatabaseState | None) -> str:
    if state is None:
        return "does not answer"
    lag = "" if state.lag_seconds is None else f"  {state.lag_seconds:.1f} s behind at the most"
    return f"{state.bytes / 1024**2:,.0f} MiB  version {state.version}{lag}"


def _drained(row: DatabaseRecord) -> str:
    return "" if row.draining_since is None else f"  drained since {row.draining_since:%Y-%m-%d %H:%M}"
