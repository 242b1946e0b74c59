"""Which rows were ignored, because their code was in the pool or stands twice in the file: a bounded list of them."""

from typing import LiteralString

from psycopg import Connection
from psycopg.rows import TupleRow

from app.schema.inventory import of_import

MOST = 50_000
"""Rows that are kept of an import: one that a schedule repeats each night may ignore nearly all of a large file."""

OF_IMPORT = of_import("%(import_id)s", "%(project)s")
# The first of the lines with a new code is the one that was imported.
NOTE: LiteralString = f"""
INSERT INTO import_ignored (project_id, import_id, line, code)
SELECT %(project)s, %(import_id)s, chunk.line, chunk.code
FROM (
    SELECT line, code, row_number() OVER (PARTITION BY code ORDER BY line) AS turn FROM ({{rows}}) AS chunk
) AS chunk LEFT JOIN voucher ON voucher.project_id = %(project)s AND voucher.code = chunk.code
WHERE chunk.line > 0 AND (
    (turn > 1 AND voucher.code IS NULL)
    OR (voucher.pool_id = %(pool_id)s AND (turn > 1 OR {OF_IMPORT} IS NOT TRUE))
)
LIMIT greatest(0, %(most)s - (
    SELECT count(*) FROM import_ignored WHERE project_id = %(project)s AND import_id = %(import_id)s
))
ON CONFLICT DO NOTHING
"""  # noqa: S608  (made of constants)


def note(connection: Connection[TupleRow], rows: LiteralString, values: dict[str, object]) -> None:
    """Write down which of these rows (`line`, `code`) were ignored, once they are merged; not beyond a number.

    One of line 0 stands for what brought its code in before them.
    """
    connection.execute(NOTE.format(rows=rows).encode(), {**values, "most": MOST})
