"""The database that a command works on: the one that the settings name, or the embedded one for the time."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

import psycopg
import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.access.keys import service as auth
from app.platform import logs, secret_key
from app.platform.connections import connect, is_refused, wait_for
from app.platform.database import transaction
from app.platform.engines import create_long_engine
from app.platform.errors import CommandError
from app.platform.migrate import migrate as apply_migrations
from app.platform.pooler import set_for_role
from app.platform.postgres.server import LocalPostgres, ServerStartError
from app.platform.projects import DEFAULT, everywhere, of_project
from app.platform.settings import Settings, get_settings
from app.schema import projects
from app.schema.names import nfc

Result = TypeVar("Result")
Project = Annotated[str, typer.Option("--project", metavar="NAME", help="Project in which it is done.")]
FIRST = "default"
"""Name of the project that is there from the first start; it keeps it."""
MOST_PAUSE = 5.0
"""Longest pause between two tries to start the embedded database."""


@contextmanager
def database() -> Iterator[tuple[Settings, LocalPostgres | None]]:
    """Give the settings with a database that runs: the one they name, or the embedded one for the time."""
    settings = get_settings()
    logs.configure(settings.log_level)
    signal.signal(signal.SIGTERM, _leave)  # so that what was started is stopped
    if settings.database_url is not None:
        asyncio.run(wait_for_database(settings))
        yield settings, None
        return
    postgres = LocalPostgres(settings.home)
    start(postgres, settings.startup_seconds)
    with postgres:
        os.environ["DATABASE_URL"] = postgres.url  # for this process and those it starts
        get_settings.cache_clear()
        yield get_settings(), postgres


def bring_up(settings: Settings) -> None:
    """Bring the database to this release."""
    apply_migrations(settings.direct_url)
    set_for_role(settings)


def start(postgres: LocalPostgres, seconds: float) -> None:
    """Start the embedded database; try again for so many seconds where it does not start.

    Raises:
        LocalPostgresError: it did not start in time, or never will.
    """
    deadline, pause = time.monotonic() + seconds, 1.0
    while True:
        try:
            postgres.start()
        except ServerStartError as error:
            if time.monotonic() + pause > deadline:
                raise
            logs.log.warning("the database does not start; trying again", error=str(error), seconds=pause)
            time.sleep(pause)
            pause = min(2 * pause, MOST_PAUSE)
        else:
            return


async def wait_for_database(settings: Settings) -> None:
    """Wait for the database as long as `VOUCHERS_STARTUP_SECONDS` tells; then raise what it says."""
    try:
        async with asyncio.timeout(settings.startup_seconds):
            await wait_for(settings, is_final=is_refused)
    except TimeoutError:
        await (await connect(settings)).close()


def _leave(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def on_database(act: Callable[[AsyncConnection], Awaitable[Result]], *, over_all: bool = False) -> Result:
    """Do something in one transaction on the migrated database: in the first project, or over all of them."""
    with database() as (settings, postgres):
        bring_up(settings)
        keyed = with_secret_key(settings, embedded=postgres is not None)
        return asyncio.run(transact(keyed, act, None if over_all else DEFAULT))


async def transact(
    settings: Settings, act: Callable[[AsyncConnection], Awaitable[Result]], project: int | None = DEFAULT
) -> Result:
    """Do something in one transaction, in a project; over all of them, where there is none."""
    engine = create_long_engine(settings)
    try:
        bound = everywhere(engine) if project is None else of_project(engine, project)
        async with transaction(bound) as connection:
            return await act(connection)
    finally:
        await engine.dispose()


def id_of(settings: Settings, project: str) -> int:
    """Return the id of a project by its name, on a database that is migrated.

    Raises:
        CommandError: there is none of this name, or it is being deleted.
    """
    query = select(projects.Project.id).where(
        projects.Project.name == nfc(project), projects.Project.deleting_since.is_(None)
    )
    found = asyncio.run(transact(settings, lambda connection: connection.scalar(query)))
    if found is None:
        raise CommandError(f"There is no project {project!r}.")
    return found


async def all_projects(connection: AsyncConnection) -> list[tuple[int, str]]:
    """Return id and name of each project."""
    query = select(projects.Project.id, projects.Project.name).order_by(projects.Project.id)
    return [(row.id, row.name) for row in await connection.execute(query)]


def with_secret_key(settings: Settings, *, embedded: bool, patient: bool = False) -> Settings:
    """Return the settings with the key that seals, for this process and those that it starts.

    A `patient` process waits for a database that is not there yet, or not migrated yet.
    """
    while True:
        try:
            key = secret_key.ensure(settings, embedded=embedded)
            break
        except psycopg.Error:
            if not patient:
                raise
            time.sleep(1)
    os.environ["VOUCHERS_SECRET_KEY"] = key
    os.environ.pop("VOUCHERS_SECRET_KEY_FILE", None)
    get_settings.cache_clear()
    return get_settings()


def bootstrap(settings: Settings) -> None:
    """Make the first key, where there is none, and print it."""
    given = settings.bootstrap_key.get_secret_value() if settings.bootstrap_key else None
    secret = asyncio.run(transact(settings, lambda connection: auth.bootstrap(connection, given)))
    if secret is not None:
        print(f"API key with scope admin, shown once: {secret}", flush=True)
