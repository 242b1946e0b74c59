"""The command line: `vouchers`.

Each command loads what it needs by itself: that of `serve` stays in memory, and all of them start the sooner.
"""

import asyncio
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from app.cli import bulk, persons
from app.cli.backup import back_up as make_backup
from app.cli.backup import restore as put_backup
from app.cli.database import database as further
from app.cli.databases import (
    FIRST,
    Project,
    bootstrap,
    bring_up,
    bring_up_beside,
    bring_up_further,
    database,
    in_project,
    with_further,
    with_secret_key,
)
from app.cli.keys import api_key
from app.cli.projects import project
from app.platform import tracing
from app.platform.databases import MAIN_NAME
from app.platform.errors import CommandError
from app.platform.settings import Settings

cli = typer.Typer(no_args_is_help=True, help="Pools of voucher codes.")
cli.add_typer(api_key, name="api-key")
cli.add_typer(project, name="project")
cli.add_typer(further, name="database")
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
        typer.Option(help="Port of /health/live and /health/ready; 0 takes a free one. Unset: none."),
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
    from app.server.worker_health import Pulse, serve_health  # noqa: PLC0415

    pulse = None
    if health_port is not None:
        pulse = Pulse()
        port = serve_health(pulse, health_host, health_port).server_address[1]
        print(f"Health: http://{health_host}:{port}/health/live", flush=True)
    with database() as (settings, postgres):
        keyed = with_secret_key(settings, embedded=postgres is not None, patient=True)
        collector.collect_rarely()
        own = MAIN_NAME if not names or MAIN_NAME in names else names[0]
        served = keyed if own == MAIN_NAME else asyncio.run(settings_for(keyed, own))
        crew = Crew(keyed, begin_jobs, names or (), own)
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


@cli.command("import")
def import_file(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="Name of the pool; made if it is not there.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, help="CSV, XLSX, XLS or ODS, packed or not."
        ),
    ],
    column: Annotated[
        str | None, typer.Option(help="Name or 0-based index of the column with the codes.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="What stands between columns.")] = None,
    encoding: Annotated[str | None, typer.Option(help="How the file is encoded.")] = None,
    has_header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first row names the columns.")
    ] = None,
    skip_lines: Annotated[int | None, typer.Option(help="Lines before the table.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of a spreadsheet, by name or index.")] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="Column that comes with the code, as a PIN; may be given several times."),
    ] = None,
    valid_from: Annotated[
        str | None, typer.Option("--valid-from-column", help="From when a code may be drawn.")
    ] = None,
    customer_id: Annotated[
        str | None,
        typer.Option("--customer-id-column", help="Of codes that were given elsewhere: to whom."),
    ] = None,
    assigned_at: Annotated[
        str | None, typer.Option("--assigned-at-column", help="When; else when it was used, or now.")
    ] = None,
    campaign_id: Annotated[
        str | None, typer.Option("--campaign-id-column", help="For which campaign.")
    ] = None,
    redeemed_at: Annotated[
        str | None, typer.Option("--redeemed-at-column", help="When the code was used.")
    ] = None,
    accept_suspicious: Annotated[
        bool, typer.Option("--accept-suspicious", help="Take also what is unlike the rest of the file.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report, and write nothing.")] = False,
    project: Project = FIRST,
) -> None:
    """Import a file of codes into a pool, with a progress bar and the figures at the end."""
    from app.cli.import_file import run  # noqa: PLC0415  (see above)

    with in_project(project) as (settings, project_id):
        options = {
            "column": column,
            "delimiter": delimiter,
            "encoding": encoding,
            "has_header": has_header,
            "skip_lines": skip_lines,
            "sheet": sheet,
            "attribute_columns": attribute or None,
            "valid_from_column": valid_from,
            "customer_id_column": customer_id,
            "assigned_at_column": assigned_at,
            "campaign_id_column": campaign_id,
            "redeemed_at_column": redeemed_at,
            "accept_suspicious": accept_suspicious,
            "dry_run": dry_run,
        }
        raise typer.Exit(run(settings, project_id, pool, file, options))


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
