"""The database that a command works on: the one that the settings name, or the embedded one for the time."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated, TypeVar

import psycopg
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.leaving import leave_cleanly
from app.domain.access.keys import service as auth
from app.domain.projects.databases import service as further
from app.platform import logs, migrate, secret_key
from app.platform.connections import connect, connect_sync, is_refused, wait_for
from app.platform.database import transaction
from app.platform.databases import is_behind, unsealed
from app.platform.engines import create_long_engine
from app.platform.errors import CommandError, DomainError
from app.platform.pooler import set_for_role
from app.platform.postgres.server import LocalPostgres, ServerStartError
from app.platform.projects import DEFAULT, everywhere, of_project
from app.platform.setting_sources import DATABASES, environment_without
from app.platform.settings import Settings, get_settings

Result = TypeVar("Result")
Project = Annotated[str, typer.Option("--project", metavar="NAME", help="Project in which it is done.")]
FIRST = "default"
"""Name of the project that is there from the first start; it keeps it."""
MIGRATIONS = 4
"""Databases that are migrated at the same time."""
LOOK_SECONDS = 5.0
"""Longest wait for the version of one."""
MOST_PAUSE = 5.0
"""Longest pause between two tries to start the embedded database."""


@contextmanager
def database() -> Iterator[tuple[Settings, LocalPostgres | None]]:
    """Give the settings with a database that runs: the one they name, or the embedded one for the time."""
    settings = get_settings()
    logs.configure(settings.log_level)
    leave_cleanly()
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
    """Bring a database to this release; by itself this is the control database."""
    migrate.migrate(settings.direct_url)
    set_for_role(settings)


def bring_up_further(settings: Settings) -> bool:
    """Bring the further databases to this release, some side by side; return whether all are, and tell which are not.

    One that is broken off goes on the next time with the migration that it was at.
    """
    rows = asyncio.run(transact(settings, further.list_all, None))[1:]
    with ThreadPoolExecutor(MIGRATIONS) as pool:
        faults = list(pool.map(lambda row: _bring_up_one(settings, row.url), rows))
    for row, fault in zip(rows, faults, strict=True):
        if fault is not None:
            print(f"Database {row.name} is not brought to this release: {fault}", file=sys.stderr, flush=True)
    return not any(faults)


def bring_up_beside(settings: Settings) -> None:
    """Bring the further databases to this release in a process of its own; meanwhile their projects are refused."""
    if len(asyncio.run(transact(settings, further.list_all, None))) > 1:
        _beside.append(subprocess.Popen([sys.executable, "-m", "app.cli", "migrate"]))


_beside: list[subprocess.Popen[bytes]] = []
"""Processes that nobody waits for."""


def _bring_up_one(settings: Settings, sealed: bytes | None) -> str | None:
    """Migrate a database, in a process of its own, for Alembic does one at a time; return what was wrong with it."""
    try:
        other = unsealed(settings, sealed)
        with connect_sync(other, seconds=LOOK_SECONDS) as connection:
            row = connection.execute("SELECT max(version_num) FROM alembic_version").fetchone()
    except DomainError as error:
        return error.detail
    except psycopg.Error as error:
        return type(error).__name__
    if row is not None and not is_behind(row[0]):
        return None
    environment = environment_without(*DATABASES) | {"DATABASE_URL": other.direct_url}
    command = [sys.executable, "-m", migrate.__name__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  (ours)
    return done.stderr.strip().rpartition("\n")[2] or "failed" if done.returncode else None


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


def on_database(act: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Do something in one transaction on the migrated database, in the first project."""
    with database() as (settings, postgres):
        bring_up(settings)
        keyed = with_secret_key(settings, embedded=postgres is not None)
        return asyncio.run(transact(keyed, act))


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


@contextmanager
def in_project(project: str) -> Iterator[tuple[Settings, int]]:
    """Give the settings of the database that a project lives in, which is migrated, and the project's id.

    Raises:
        CommandError: there is none of this name, or it is being deleted; or its database cannot be used.
    """
    with database() as (settings, postgres):
        bring_up(settings)
        home = asyncio.run(transact(settings, lambda connection: further.home_of(connection, project)))
        if home is None:
            raise CommandError(f"There is no project {project!r}.")
        if home.url is None:
            yield settings, home.project_id
            return
        other = unsealed(with_secret_key(settings, embedded=postgres is not None), home.url)
        bring_up(other)
        yield other, home.project_id


def with_secret_key(settings: Settings, *, embedded: bool, patient: bool = False) -> Settings:
    """Return the settings with the key that seals, for this process and those that it starts.

    What a setting gives each of them reads by itself: a file may hold another one by then. A `patient` process waits
    for a database that is not there yet, or not migrated yet.
    """
    if settings.secret_key is not None:
        return settings
    while True:
        try:
            key = secret_key.ensure(settings, embedded=embedded)
            break
        except psycopg.Error:
            if not patient:
                raise
            time.sleep(1)
    os.environ["VOUCHERS_SECRET_KEY"] = key
    get_settings.cache_clear()
    return get_settings()


def with_further(settings: Settings, *, embedded: bool) -> Settings:
    """Return the settings with the key that opens the URLs of further databases, where there are any."""
    if len(asyncio.run(transact(settings, further.list_all, None))) == 1:
        return settings
    return with_secret_key(settings, embedded=embedded)


def bootstrap(settings: Settings) -> None:
    """Make the first key, where there is none, and print it."""
    given = settings.bootstrap_key.get_secret_value() if settings.bootstrap_key else None
    secret = asyncio.run(transact(settings, lambda connection: auth.bootstrap(connection, given)))
    if secret is not None:
        print(f"API key with scope admin, shown once: {secret}", flush=True)
