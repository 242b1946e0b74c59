"""The command line: `vouchers`.

Each command loads what it needs by itself: that of `serve` stays in memory, and all of them start the sooner.
"""

import asyncio
import io
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from app.cli import bulk, imports, persons
from app.cli.backup import back_up as make_backup
from app.cli.backup import restore as put_backup
from app.cli.further_databases import further
from app.cli.keys import api_key
from app.cli.opening import (
    bootstrap,
    bring_up,
    bring_up_beside,
    bring_up_further,
    database,
    with_further,
    with_secret_key,
)
from app.cli.projects import project
from app.platform import tracing
from app.platform.databases import MAIN_NAME
from app.platform.errors import CommandError
from app.platform.metrics import counting_together
from app.platform.settings import Settings
from app.schema.names import nfc

cli = typer.Typer(no_args_is_help=True, help="Pools of voucher codes.")
cli.add_typer(api_key, name="api-key")
cli.add_typer(project, name="project")
cli.add_typer(further, name="database")
imports.add_to(cli)
bulk.add_to(cli)
persons.add_to(cli)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"vouchers {version('voucher-pools')}")
        raise typer.Exit


@cli.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Pools of voucher codes."""


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
        from app.server.supervisor import Supervisor  # noqa: PLC0415  (see above)

        tracing.check(settings)
        supervisor = Supervisor(host, port, workers, with_jobs=not no_jobs, postgres=postgres)
        bring_up(settings)
        bootstrap(with_secret_key(settings, embedded=postgres is not None))
        bring_up_beside(settings)

        def ready() -> None:
            seconds = time.perf_counter() - started
            print(f"Ready after {seconds:.1f} s: http://{host}:{supervisor.port}/docs", flush=True)

        supervisor.run(ready)


@cli.command()
def worker(
    health_port: Annotated[
        int | None,
        typer.Option(help="Port of /health/live, /health/ready, /metrics; 0 takes a free one. Unset: none."),
    ] = None,
    health_host: Annotated[str, typer.Option(help="Address of these.")] = "127.0.0.1",
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--database", metavar="NAME", help="Only those of this database; may be given several times."
        ),
    ] = None,
) -> None:
    """Do jobs only: imports, schedules, alerts, webhooks; those of all databases, each in a process of its own."""
    from app.server import collector  # noqa: PLC0415  (see above)
    from app.server import worker as jobs_worker  # noqa: PLC0415
    from app.server.crew import Crew, settings_for  # noqa: PLC0415
    from app.server.spawned import begin_jobs  # noqa: PLC0415
    from app.server.worker_figures import Figures  # noqa: PLC0415
    from app.server.worker_health import Pulse, serve_health  # noqa: PLC0415

    with counting_together():
        pulse = None
        if health_port is not None:
            pulse = Pulse()
            port = serve_health(pulse, Figures().told_to, health_host, health_port).server_address[1]
            print(f"Health: http://{health_host}:{port}/health/live", flush=True)
        with database() as (settings, postgres):
            keyed = with_secret_key(settings, embedded=postgres is not None, patient=True)
            collector.collect_rarely()
            wanted = list(map(nfc, names or ()))
            own = MAIN_NAME if not wanted or MAIN_NAME in wanted else wanted[0]
            served = keyed if own == MAIN_NAME else asyncio.run(settings_for(keyed, own))
            crew = Crew(keyed, begin_jobs, wanted, own)
            asyncio.run(jobs_worker.work(served, pulse=pulse, crew=crew, further=own != MAIN_NAME))


@cli.command()
def migrate() -> None:
    """Bring the database to the present schema, and the further ones too."""
    with database() as (settings, postgres):
        bring_up(settings)
        bootstrap(settings)
        if not bring_up_further(with_further(settings, embedded=postgres is not None)):
            raise typer.Exit(1)


@cli.command()
def demo(
    codes: Annotated[int, typer.Option(min=100_000, help="How many codes to import.")] = 1_000_000,
    quick: Annotated[bool, typer.Option("--quick", help="Import 10,000, and end within seconds.")] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Go on serving what was made, for its pages, until Ctrl-C."),
    ] = False,
) -> None:
    """Show the main job from end to end on a temporary database; ends by itself."""
    from app.cli.demo import QUICK, run  # noqa: PLC0415  (see above)

    run(QUICK if quick else codes, keep=keep)


@cli.command()
def check() -> None:
    """Recount everything, project by project, and prove that the books agree; exit 1 and a list where they do not."""
    from app.cli.checking import AGREE, violations_of_all  # noqa: PLC0415  (see above)

    with database() as (settings, postgres):
        bring_up(settings)
        broken = asyncio.run(violations_of_all(with_further(settings, embedded=postgres is not None)))
    for line in broken:
        print(line)
    if broken:
        raise typer.Exit(1)
    print(AGREE)


@cli.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="Where to; it is replaced.")],
) -> None:
    """Write the whole database to a file, while the service goes on."""
    with database() as (settings, postgres):
        print(make_backup(settings, file))
        if postgres is not None and settings.secret_key is None:
            print(
                f"Keep {postgres.home}/secret.key too: without it, stored sources of imports cannot be read."
            )


@cli.command()
def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="What `backup` wrote.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Throw away what the database holds now.")
    ] = False,
) -> None:
    """Put a backup into an empty database, and bring it to this release. Codes given since look available again."""
    with database() as (settings, _):
        put_backup(settings, file, replace=replace)
        bring_up(settings)
    print(
        "Restored. Codes that were given after the backup look available: see docs/operation.md before you serve."
    )


@cli.command("rotate-secrets")
def rotate_secrets() -> None:
    """Seal with the first key of VOUCHERS_SECRET_KEY what was sealed with the others; then these may go."""
    from app.cli.resealing import seal_all  # noqa: PLC0415  (see above)

    sealed, lost = seal_all()
    print(f"Sealed anew: {sealed}. Opened by none of the keys: {lost}.")
    if lost:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know an arrow
            stream.reconfigure(errors="backslashreplace")
    try:
        cli()
    except CommandError as error:
        print(f"vouchers: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except (psycopg.OperationalError, OperationalError) as error:
        print(f"vouchers: the database cannot be used: {_reason(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        for wrong in error.errors(include_input=False, include_url=False):  # what was given may be a secret
            print(f"vouchers: {_variable(wrong['loc'])}: {wrong['msg']}", file=sys.stderr)
        raise SystemExit(1) from None


def _variable(place: tuple[int | str, ...]) -> str:
    """Return the variable of the environment that a setting is read from."""
    if not place:
        return "settings"
    name = str(place[0])
    return name if name.isupper() or name.startswith("VOUCHERS_") else f"VOUCHERS_{name.upper()}"


def _reason(error: Exception) -> str:
    """Return the first line of what the driver said; it names host and user, never the password."""
    cause = error.orig if isinstance(error, OperationalError) else error
    return next(iter(str(cause).splitlines()), type(cause).__name__)


if __name__ == "__main__":
    main()
