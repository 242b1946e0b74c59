"""`vouchers project export`: all that a project holds in one file."""

import os
import zipfile
from pathlib import Path
from typing import LiteralString

from psycopg import sql

from app.platform.connections import connect_sync
from app.platform.database import READS, READS_ALL
from app.platform.errors import CommandError
from app.platform.settings import Settings
from app.schema.inventory import IMPORTED_AT
from app.schema.ledger import IS_TEST, OCCURRENCE
from app.schema.projects import tables_of_projects

SECRETS = ["secret", "previous_secrets", "webhook_secret", "sealed", "source"]
"""Columns that stay here: with them somebody could sign for the service, or reach where it fetches codes."""
RAW = frozenset({"import_chunk", "kept_reply"})
"""Tables that stay here: the bytes of files whose import is under way, and what only a repeat of a request needs."""
_ROWS = sql.SQL("COPY (SELECT (to_jsonb({0}) || {1}) - 'project_id' - {2}::text[] FROM {0}) TO STDOUT")
_LEFT_OUT: dict[str, LiteralString] = {
    "assignment": f"jsonb_build_object('occurrence', {OCCURRENCE}, 'test', {IS_TEST})",
    "voucher": f"jsonb_build_object('imported_at', {IMPORTED_AT})",
}
"""What rows leave out and is told all the same."""


def write(settings: Settings, project_id: int, file: Path) -> str:
    """Write a ZIP with an NDJSON file for each table, as of one moment; return what to say of it.

    It appears once it is whole, and is readable by its owner only.

    Args:
        settings: of the service.
        project_id: whose rows.
        file: where to; what is there already is replaced.

    Raises:
        CommandError: it cannot be written.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    rows = 0
    try:
        unfinished.touch(mode=0o600)
        with (
            zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive,
            connect_sync(settings, project=project_id) as connection,
        ):
            # Or merges and webhooks would wait for it.
            connection.execute(f"SET LOCAL application_name = '{READS}'")
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute(READS_ALL)
            for table in tables_of_projects():
                if table in RAW:
                    continue
                left_out = sql.SQL(_LEFT_OUT.get(table, "'{}'::jsonb"))
                query = _ROWS.format(sql.Identifier(table), left_out, sql.Literal(SECRETS))
                with (
                    archive.open(f"{table}.ndjson", "w", force_zip64=True) as entry,
                    connection.cursor().copy(query) as copy,
                ):
                    copy.set_types(["text"])
                    for (row,) in copy.rows():
                        entry.write(f"{row}\n".encode())
                        rows += 1
        unfinished.replace(file)
    except OSError as error:
        raise CommandError(f"The export cannot be written to {file}: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return f"{file}: {rows:,} rows."
