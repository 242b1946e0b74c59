"""SQL of the import job: rows are staged, put into draw order, and merged chunk by chunk.

A chunk is one transaction: its vouchers, its rejects, the counts and how far the import has come. A run that
is killed leaves whole chunks behind, and the next one goes on after them.

The rows are dealt into shares; each has a connection that orders and merges it, side by side with the others.
"""

import itertools
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import Connection, errors
from psycopg.rows import TupleRow

from app.domain.imports.errors import ImportCancelledError
from app.domain.imports.merging import ignored, rows
from app.domain.lifecycle import draw_keys, intake
from app.domain.lifecycle.stock import SLOT
from app.domain.lifecycle.thresholds import fall
from app.domain.lifecycle.uses import settle_chunk
from app.platform.database import waited_for_by_nobody
from app.platform.giving_way import UnhurriedSync

BATCHES = 20
"""Batches of rows that are staged by one statement."""
LEAST_ROWS = 500
"""Fewer are not merged in a transaction for the sake of others, unless the setting says so."""

STAGED = (
    'CREATE TEMP TABLE staged (line bigint, code text COLLATE "C", expires_at timestamptz, attributes jsonb)'
)
COPY = "COPY staged (line, code, expires_at) FROM STDIN"
COPY_ALL = "COPY staged (line, code, expires_at, attributes) FROM STDIN"

# Codes that rows of the file which tell of their past (`given.py`) bring in before these.
BROUGHT = 'CREATE TEMP TABLE brought (code text COLLATE "C" PRIMARY KEY)'
COPY_BROUGHT = "COPY brought FROM STDIN"

# Kept whole, so that it can be taken after all. The lines are joined, for `= ANY` would look through all of them for
# each row.
SET_ASIDE = f"""
WITH gone AS (DELETE FROM staged WHERE line IN (SELECT unnest(%(lines)s::bigint[])) RETURNING *),
    kept AS (
        INSERT INTO import_reject (project_id, import_id, line, value, reason, staged)
        SELECT %(project)s, %(id)s, line, left(code, {rows.MOST_KEPT}), 'suspicious', to_jsonb(gone) FROM gone
        ON CONFLICT DO NOTHING
    )
SELECT count(*) FROM gone
"""  # noqa: S608  (made of constants)

# A table in draw order is read from front to back, whatever its size. What is merged already is left out.
_DRAW_KEY = "GREATEST((hashtextextended(code, {seed}) & {most}) + {first}, {least} + 1)"
ORDERED = f"""
CREATE TEMP TABLE ordered AS
SELECT line, code, expires_at, attributes, {_DRAW_KEY} AS draw_key FROM staged
WHERE {_DRAW_KEY} > {{after}} ORDER BY draw_key, line
"""  # noqa: S608  (made of constants)
INDEX = "CREATE INDEX ON ordered (draw_key)"

OF_CHUNK = "FROM ordered WHERE draw_key > %(after)s AND draw_key <= %(upto)s"
ROWS = f"SELECT count(*) {OF_CHUNK}"
POOL = "SELECT FROM pool WHERE project_id = %(project)s AND id = %(pool_id)s FOR KEY SHARE"
ROWS_OF_CHUNK: LiteralString = f"SELECT code, draw_key, expires_at, attributes, line {OF_CHUNK}"
LINES: LiteralString = f"SELECT line, code {OF_CHUNK}"
# A code that was brought in stands before the first line.
LINES_BEHIND: LiteralString = f"""
{LINES}
UNION ALL SELECT 0, code FROM brought WHERE code IN (SELECT code {OF_CHUNK})
"""  # noqa: S608  (made of constants)
IN_OTHER_POOL: LiteralString = f"""
INSERT INTO import_reject (project_id, import_id, line, value, reason, other_pool)
SELECT %(project)s, %(import_id)s, chunk.line, chunk.code, 'in_other_pool', pool.name
FROM ({LINES}) AS chunk
JOIN voucher USING (code) JOIN pool ON pool.project_id = %(project)s AND pool.id = voucher.pool_id
WHERE voucher.project_id = %(project)s AND voucher.pool_id IS DISTINCT FROM %(pool_id)s
ON CONFLICT DO NOTHING
"""  # noqa: S608  (made of constants)
FIGURES = """
UPDATE import SET
    imported = imported + %(imported)s, ignored = ignored + %(ignored)s,
    in_other_pool = in_other_pool + %(in_other_pool)s, merged_to[%(share)s + 1] = %(upto)s,
    progress = GREATEST(progress, %(progress)s)
WHERE project_id = %(project)s AND id = %(import_id)s AND status = 'running'
"""
NEW: LiteralString = f"""
SELECT count(DISTINCT code) {OF_CHUNK}
    AND NOT EXISTS (SELECT FROM voucher WHERE voucher.project_id = %(project)s AND voucher.code = ordered.code)
"""  # noqa: S608  (made of constants)
NOT_BROUGHT: LiteralString = "AND NOT EXISTS (SELECT FROM brought WHERE brought.code = ordered.code)"
FALL: LiteralString = fall("(%(pool_id)s)", "%(project)s")
KEYS = range(draw_keys.FIRST, draw_keys.LAST + 1)
VOUCHERS: LiteralString = intake.VOUCHERS.format(rows=ROWS_OF_CHUNK)
PLAIN: LiteralString = intake.PLAIN.format(rows=ROWS_OF_CHUNK)
EXPIRED: LiteralString = intake.EXPIRED.format(rows=ROWS_OF_CHUNK)


@dataclass(slots=True)
class Target:
    """What is merged, and where."""

    share: int
    import_id: uuid.UUID
    pool_id: int | None
    expires_at: datetime | None
    dry_run: bool
    codes_alone: bool = False
    """Whether the codes bring neither an expiry nor anything else."""
    brought: bool = False
    """Whether there are codes that `know_brought` told of."""
    all_new: bool = True
    """Whether no code of the share was there before, as far as is known."""


class PoolGoneError(Exception):
    """The pool was deleted."""


def stage(
    connections: Sequence[Connection[TupleRow]],
    batches: Iterator[list[list[str]]],
    pace: UnhurriedSync,
    *,
    with_attributes: bool,
) -> None:
    """Copy the rows of each share into its staging table while they are still being read."""
    for connection in connections:
        connection.execute(STAGED)
    statement = COPY_ALL if with_attributes else COPY
    ended = False
    while not ended:
        with pace.step(BATCHES) as most:
            ended = _copy(connections, itertools.islice(batches, most), statement) < most


def know_brought(connections: Sequence[Connection[TupleRow]], codes: Iterable[bytes]) -> None:
    """Tell each share which codes other rows of the file bring in before, as COPY takes them."""
    with ExitStack() as stack:
        copies = []
        for connection in connections:
            connection.execute(BROUGHT)
            cursor = stack.enter_context(connection.cursor())
            copies.append(stack.enter_context(cursor.copy(COPY_BROUGHT)))
        for block in codes:
            for copy in copies:
                copy.write(block)


def _copy(
    connections: Sequence[Connection[TupleRow]], batches: Iterable[list[list[str]]], statement: LiteralString
) -> int:
    """Copy batches, and return how many there were."""
    n = 0
    with ExitStack() as stack:
        copies = [
            stack.enter_context(stack.enter_context(connection.cursor()).copy(statement))
            for connection in connections
        ]
        for n, batch in enumerate(batches, 1):  # noqa: B007  (the last one counts them)
            for copy, block in zip(copies, batch, strict=True):
                copy.write("".join(block))
    return n


def set_aside(connection: Connection[TupleRow], import_id: uuid.UUID, lines: list[int]) -> int:
    """Make rejects of the staged rows of these lines; return how many there were in this share."""
    with waited_for_by_nobody(connection):
        row = connection.execute(SET_ASIDE, {"lines": lines, "id": import_id}).fetchone()
    return int(row[0]) if row else 0


def keys_of(share: int) -> range:
    """Return the draw keys of a share.

    Where both went through all of them, each would put its rows between those of the other: pages of the index that
    were filled in order would be split in the middle, and stay little more than half full.
    """
    width = draw_keys.COUNT // rows.SHARES
    return range(draw_keys.FIRST + share * width, draw_keys.FIRST + (share + 1) * width)


def before(share: int) -> int:
    """Return the draw key behind which a share begins."""
    return max(draw_keys.FIRST, keys_of(share).start - 1)


def order(connection: Connection[TupleRow], seed: int, share: int, after: int) -> None:
    """Put the rows of a share into draw order, but for what is merged already."""
    keys = keys_of(share)
    most = keys.stop - keys.start - 1
    values = {"seed": seed, "most": most, "first": keys.start, "least": draw_keys.FIRST, "after": after}
    ordered = ORDERED.format(**{name: f"('{value}'::bigint)" for name, value in values.items()})
    with waited_for_by_nobody(connection):  # it may take a minute
        connection.execute(ordered.encode())
        connection.execute("DROP TABLE staged")
        connection.execute(INDEX)


def end_of_chunk(after: int, staged: int, limit: int, keys: range = KEYS) -> int:
    """Return where the chunk behind `after` ends: draw keys are evenly spread, so a range holds some `limit` rows.

    Args:
        after: where the chunk before ended.
        staged: rows in all of `keys`.
        limit: rows that the chunk is to hold.
        keys: the draw keys that the rows may have.
    """
    return min(keys.stop - 1, after - (-(keys.stop - keys.start) * limit // max(1, staged)))


def chunk(connection: Connection[TupleRow], target: Target, after: int, upto: int, progress: float) -> None:
    """Merge the rows with draw keys beyond `after`, up to `upto`, in one transaction.

    Raises:
        PoolGoneError: the pool was deleted meanwhile.
        ImportCancelledError: the import was cancelled meanwhile; nothing was done.
        DeadlockDetected: two imports want the same codes; nothing was done, try again.
    """
    values: dict[str, object] = {
        "share": target.share,
        "import_id": target.import_id,
        "pool_id": target.pool_id,
        "expires_at": target.expires_at,
        "slot": SLOT,
        "after": after,
        "upto": upto,
        "progress": progress,
    }
    with connection.transaction():
        if target.dry_run:
            new = NEW + NOT_BROUGHT if target.brought else NEW
            found, imported = _number(connection, ROWS, values), _number(connection, new, values)
        else:
            # The end of the import waits for the disk. A chunk that is lost with the server is merged again.
            connection.execute("SET LOCAL synchronous_commit = off")
            if connection.execute(POOL, values).fetchone() is None:
                raise PoolGoneError
            found, imported = _insert(connection, target, values)
        in_other_pool = connection.execute(IN_OTHER_POOL, values).rowcount if imported < found else 0
        values |= {
            "imported": imported,
            "in_other_pool": in_other_pool,
            "ignored": found - imported - in_other_pool,
        }
        if values["ignored"]:
            ignored.note(connection, LINES_BEHIND if target.brought else LINES, values)
        if not connection.execute(FIGURES, values).rowcount:
            raise ImportCancelledError("The import was cancelled.")
        if not target.dry_run and imported:
            values["expired"] = 0 if target.codes_alone else _number(connection, EXPIRED, values)
            settle_chunk(connection, f"SELECT DISTINCT code {OF_CHUNK}", values)
            connection.execute(FALL, values)
            connection.execute(intake.STOCK, values)  # last, because draws wait for it


def _insert(connection: Connection[TupleRow], target: Target, values: dict[str, object]) -> tuple[int, int]:
    """Make vouchers of a chunk; its rows, and how many of them became one.

    Hoping that every code is new saves a sixth, until one is not.
    """
    vouchers = PLAIN if target.codes_alone else VOUCHERS
    if target.all_new:
        try:
            with connection.transaction():
                all_of_it = connection.execute(vouchers, values).rowcount
                return all_of_it, all_of_it
        except errors.UniqueViolation:
            target.all_new = False
    imported = connection.execute(vouchers + "ON CONFLICT (project_id, code) DO NOTHING", values).rowcount
    return _number(connection, ROWS, values), imported


def _number(connection: Connection[TupleRow], query: LiteralString, values: dict[str, object]) -> int:
    row = connection.execute(query, values).fetchone()
    return int(row[0]) if row else 0
