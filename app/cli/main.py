"""The command line: `vouchers`."""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import psycopg
import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.demo import run as run_demo
from app.cli.import_file import run as run_import
from app.domain.access.keys import queries as keys
from app.domain.access.keys import service as auth
from app.domain.access.scopes import Scope
from app.domain.lifecycle.check import violations
from app.platform import logs
from app.platform.database import connect, create_long_engine, transaction, wait_for
from app.platform.errors import CommandError
from app.platform.migrate import migrate as apply_migrations
from app.platform.postgres.server import LocalPostgres
from app.platform.settings import Settings, get_settings
from app.server import worker as jobs_worker

Result = TypeVar("Result")

cli = typer.Typer(no_args_is_help=True, add_completion=False, help="Pools of voucher codes.")
api_key = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")
cli.add_typer(api_key, name="api-key")


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer HTTP.")] = 1,
    no_jobs: Annotated[bool, typer.Option("--no-jobs", help="Leave jobs to `vouchers worker`.")] = False,
) -> None:
    """Migrate, then serve API and jobs; without DATABASE_URL on a PostgreSQL of its own."""
    started = time.perf_counter()
    with database() as (settings, postgres):
        from app.server.supervisor import Supervisor  # noqa: PLC0415  (only this command speaks HTTP)

        supervisor = Supervisor(host, port, workers, with_jobs=not no_jobs, postgres=postgres)
        apply_migrations(settings.sqlalchemy_url)
        _bootstrap(settings)

        def ready() -> None:
            seconds = time.perf_counter() - started
            print(f"Ready after {seconds:.1f} s: http://{host}:{supervisor.port}/docs", flush=True)

        supervisor.run(ready)


@cli.command()
def worker() -> None:
    """Do jobs only: imports, schedules, alerts, webhooks."""
    with database() as (settings, _):
        asyncio.run(jobs_worker.work(settings))


@cli.command()
def migrate() -> None:
    """Bring the database to the present schema."""
    with database() as (settings, _):
        apply_migrations(settings.sqlalchemy_url)
        _bootstrap(settings)


@cli.command()
def demo(
    codes: Annotated[int, typer.Option(min=100_000, help="How many codes to import.")] = 1_000_000,
) -> None:
    """Show the main job from end to end on a temporary database; ends by itself."""
    run_demo(codes)


@cli.command()
def check() -> None:
    """Recount everything and prove that the books agree; exit 1 and a list where they do not."""
    broken = _on_database(violations)
    for line in broken:
        print(line)
    if broken:
        raise typer.Exit(1)
    print("All counts agree with the rows, no code is assigned twice, every assignment is in the ledger.")


@cli.command("import")
def import_file(
    pool: Annotated[str, typer.Argument(metavar="POOL")],
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    column: Annotated[
        str | None, typer.Option(help="Name or 0-based index of the column with the codes.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="What stands between columns.")] = None,
    encoding: Annotated[str | None, typer.Option(help="How the file is encoded.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report, and write nothing.")] = False,
) -> None:
    """Import a file of codes into a pool, with a progress bar and the figures at the end."""
    with database() as (settings, _):
        apply_migrations(settings.sqlalchemy_url)
        raise typer.Exit(
            run_import(
                settings, pool, file, column=column, delimiter=delimiter, encoding=encoding, dry_run=dry_run
            )
        )


@api_key.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be given several times.")],
) -> None:
    """Make a key. Its secret is shown once and stored nowhere."""
    _, secret = _on_database(lambda connection: auth.create(connection, name, scope))
    print(secret)


@api_key.command("list")
def list_keys() -> None:
    """List the keys."""
    for row in _on_database(keys.all_keys):
        state = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}" if row.revoked_at else "active"
        print(f"{row.id}  {row.created_at:%Y-%m-%d %H:%M}  {','.join(row.scopes):20}  {row.name}  {state}")


@api_key.command("revoke")
def revoke_key(key_id: Annotated[uuid.UUID, typer.Argument(metavar="ID")]) -> None:
    """Revoke a key: it stops working within seconds."""
    if not _on_database(lambda connection: auth.revoke(connection, key_id)):
        print(f"There is no active key {key_id}.", file=sys.stderr)
        raise typer.Exit(1)


@contextmanager
def database() -> Iterator[tuple[Settings, LocalPostgres | None]]:
    """The settings with a database that runs: the one they name, or the embedded one for the time."""
    settings = get_settings()
    logs.configure(settings.log_level)
    signal.signal(signal.SIGTERM, _leave)  # so that what was started is stopped
    if settings.database_url is not None:
        asyncio.run(_wait_for_database(settings))
        yield settings, None
        return
    with LocalPostgres(settings.home) as postgres:
        os.environ["DATABASE_URL"] = postgres.url  # for this process and those it starts
        get_settings.cache_clear()
        yield get_settings(), postgres


async def _wait_for_database(settings: Settings) -> None:
    """Wait for the database as long as `VOUCHERS_STARTUP_SECONDS` tells; then raise what it says."""
    try:
        async with asyncio.timeout(settings.startup_seconds):
            await wait_for(settings)
    except TimeoutError:
        await (await connect(settings)).close()


def _leave(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _on_database(act: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Do something in one transaction on the migrated database."""
    with database() as (settings, _):
        apply_migrations(settings.sqlalchemy_url)
        return asyncio.run(_transact(settings, act))


async def _transact(settings: Settings, act: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    engine = create_long_engine(settings)
    try:
        async with transaction(engine) as connection:
            return await act(connection)
    finally:
        await engine.dispose()


def _bootstrap(settings: Settings) -> None:
    given = settings.bootstrap_key.get_secret_value() if settings.bootstrap_key else None
    secret = asyncio.run(_transact(settings, lambda connection: auth.bootstrap(connection, given)))
    if secret is not None:
        print(f"API key with scope admin, shown once: {secret}", flush=True)


def main() -> None:
    """The entry point."""
    try:
        cli()
    except CommandError as error:
        print(f"vouchers: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except (psycopg.OperationalError, OperationalError) as error:
        print(f"vouchers: the database cannot be used: {_reason(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except ValidationError as error:
        for wrong in error.errors(include_input=False, include_url=False):
            print(f"vouchers: setting {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", file=sys.stderr)
        raise SystemExit(1) from None


def _reason(error: Exception) -> str:
    """Return the first line of what the driver said; it names host and user, never the password."""
    cause = error.orig if isinstance(error, OperationalError) else error
    return next(iter(str(cause).splitlines()), type(cause).__name__)


if __name__ == "__main__":
    main()
