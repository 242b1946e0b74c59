"""Commands that change many codes at once."""

import uuid
from datetime import datetime
from typing import Annotated

import typer

from app.cli.opening import FIRST, Project, in_project
from app.platform.errors import CommandError
from app.schema.base import VoucherStatus

Pool = Annotated[str | None, typer.Option(help="Of this pool.")]
Campaign = Annotated[str | None, typer.Option(help="Given in this campaign.")]
Import = Annotated[uuid.UUID | None, typer.Option("--import", help="Brought by this import.")]
Status = Annotated[VoucherStatus | None, typer.Option(help="In this state.")]
Code = Annotated[list[str] | None, typer.Option(help="This code; may be given several times.")]
Reason = Annotated[str | None, typer.Option(help="Why; kept in history and audit.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell how many, and change nothing.")]


def add_to(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command("void")(void)
    cli.command("release")(release)
    cli.command("reinstate")(reinstate)
    cli.command("set-expiry")(set_expiry)
    cli.command("move")(move)


def void(
    pool: Pool = None,
    campaign: Campaign = None,
    import_id: Import = None,
    status: Status = None,
    code: Code = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    project: Project = FIRST,
) -> None:
    """Take many codes out at once: those of a campaign, an import, a pool, or some codes."""
    chosen = _chosen(pool, campaign, import_id, status, code)
    _run(project, "void", chosen, reason=reason, dry_run=dry_run)


def release(
    pool: Pool = None,
    campaign: Campaign = None,
    import_id: Import = None,
    test: Annotated[
        bool | None, typer.Option("--test/--no-test", help="Those of test sends, or of all others.")
    ] = None,
    code: Code = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    project: Project = FIRST,
) -> None:
    """Take back many codes that were given and not used, so that they are available again."""
    chosen = {**_chosen(pool, campaign, import_id, None, code), "test": test}
    _run(project, "release", chosen, reason=reason, dry_run=dry_run)


def reinstate(
    pool: Pool = None,
    campaign: Campaign = None,
    import_id: Import = None,
    code: Code = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    project: Project = FIRST,
) -> None:
    """Take the void of many codes back: each is what it was, but for those that were used."""
    chosen = _chosen(pool, campaign, import_id, None, code)
    _run(project, "reinstate", chosen, reason=reason, dry_run=dry_run)


def set_expiry(
    expires_at: Annotated[
        str, typer.Argument(metavar="TIME", help="As 2030-12-31T23:59:59Z, or `never`; a later one revives.")
    ],
    pool: Pool = None,
    campaign: Campaign = None,
    import_id: Import = None,
    status: Status = None,
    code: Code = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    project: Project = FIRST,
) -> None:
    """Move the expiry of many codes, as the shop has done."""
    until = None if expires_at == "never" else _time(expires_at)
    chosen = _chosen(pool, campaign, import_id, status, code)
    _run(project, "set_expiry", chosen, reason=reason, dry_run=dry_run, expires_at=until)


def move(
    pool: Annotated[str, typer.Argument(help="Pool that has the codes.")],
    to: Annotated[str, typer.Argument(help="Pool to which they move.")],
    count: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    import_id: Import = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    project: Project = FIRST,
) -> None:
    """Move available codes to another pool, all or so many; what holds keep stays."""
    chosen = _chosen(pool, None, import_id, None, None)
    _run(project, "move", chosen, reason=reason, dry_run=dry_run, to=to, count=count)


def _chosen(
    pool: str | None,
    campaign: str | None,
    import_id: uuid.UUID | None,
    status: VoucherStatus | None,
    codes: list[str] | None,
) -> dict[str, object]:
    return {
        "pool": pool,
        "campaign_id": campaign,
        "import_id": import_id,
        "status": status,
        "codes": codes or None,
    }


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise CommandError("TIME is a date and time with its zone, such as 2030-12-31T23:59:59Z, or `never`.")
    return time


def _run(project: str, action: str, chosen: dict[str, object], **about: object) -> None:
    from app.cli.many import run  # noqa: PLC0415  (`serve` need not load it)

    with in_project(project) as (settings, project_id):
        raise typer.Exit(run(settings, project_id, action, chosen, **about))
