"""The command that imports a file; its options are those of the API, under the same names (`ImportOptions`)."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.opening import FIRST, Project, in_project

Pool = Annotated[str, typer.Argument(metavar="POOL", help="Name of the pool; made if it is not there.")]
File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, help="CSV, XLSX, XLSB, XLS or ODS, packed or not."
    ),
]
Encoding = Annotated[str | None, typer.Option(help="How the file is encoded.")]
Delimiter = Annotated[str | None, typer.Option(help="What stands between columns.")]
Quote = Annotated[str | None, typer.Option(help="What stands around values; empty or none: nothing.")]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="Whether the first row names the columns.")
]
SkipLines = Annotated[int | None, typer.Option(help="Lines before the table.")]
Sheet = Annotated[str | None, typer.Option(help="Sheet of a spreadsheet, by name or index.")]
Column = Annotated[str | None, typer.Option(help="Name or 0-based index of the column with the codes.")]
ExpiresAtColumn = Annotated[
    str | None, typer.Option(help="Until when a code is valid; a day alone means until its end.")
]
ExpiresAt = Annotated[str | None, typer.Option(help="The same for all rows that bring none, as 2030-12-31.")]
Timezone = Annotated[str | None, typer.Option(help="Of times that name none, as Europe/Prague; else UTC.")]
DateFormat = Annotated[
    str | None, typer.Option(help="How columns write times, where not in ISO 8601, as DD.MM.YYYY.")
]
Attributes = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute", help="Column that comes with the code, as a PIN; may be given several times."
    ),
]
ValidFromColumn = Annotated[str | None, typer.Option(help="From when a code may be drawn.")]
CustomerIdColumn = Annotated[str | None, typer.Option(help="Of codes that were given elsewhere: to whom.")]
AssignedAtColumn = Annotated[str | None, typer.Option(help="When; else when it was used, or now.")]
CampaignIdColumn = Annotated[str | None, typer.Option(help="For which campaign.")]
RedeemedAtColumn = Annotated[str | None, typer.Option(help="When the code was used.")]
AcceptSuspicious = Annotated[
    bool, typer.Option("--accept-suspicious", help="Take also what is unlike the rest of the file.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Report, and write nothing.")]


def add_to(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("import")(import_file)


def import_file(
    pool: Pool,
    file: File,
    column: Column = None,
    delimiter: Delimiter = None,
    quote: Quote = None,
    encoding: Encoding = None,
    has_header: Header = None,
    skip_lines: SkipLines = None,
    sheet: Sheet = None,
    attribute_columns: Attributes = None,
    expires_at_column: ExpiresAtColumn = None,
    expires_at: ExpiresAt = None,
    valid_from_column: ValidFromColumn = None,
    timezone: Timezone = None,
    date_format: DateFormat = None,
    customer_id_column: CustomerIdColumn = None,
    assigned_at_column: AssignedAtColumn = None,
    campaign_id_column: CampaignIdColumn = None,
    redeemed_at_column: RedeemedAtColumn = None,
    accept_suspicious: AcceptSuspicious = False,
    dry_run: DryRun = False,
    project: Project = FIRST,
) -> None:
    """Import a file of codes into a pool, with a progress bar and the figures at the end."""
    given = locals().items()  # each option under the name that it has in the API, and three words beside
    options = {name: value for name, value in given if name not in {"pool", "file", "project"}}
    from app.cli.import_file import run  # noqa: PLC0415  (`serve` need not load it)

    with in_project(project) as (settings, project_id):
        raise typer.Exit(run(settings, project_id, pool, file, options))
