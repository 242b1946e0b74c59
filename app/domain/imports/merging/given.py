"""Rows of codes that were given elsewhere or come later: staged beside the others, and brought in before them."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import LiteralString

from psycopg import Connection, errors
from psycopg.rows import TupleRow
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from app.domain.imports.errors import ImportCancelledError
from app.domain.imports.merging import ignored, merge, rows
from app.domain.lifecycle import draw_keys, past
from app.domain.lifecycle.stock import SLOT
from app.domain.persons import service as persons
from app.domain.persons.service import MergingError
from app.platform.database import waited_for_by_nobody
from app.platform.giving_way import UnhurriedSync

PLACE = rows.SHARES
"""Place in `import.merged_to`: after the shares."""
CHUNK_ROWS = 2_000
"""Their codes are locked while a chunk is brought in."""
ATTEMPTS = 200
"""How often a chunk is tried that others are in the way of, for about a minute; then the job is tried again later."""
STAGED = """
CREATE TEMP TABLE given (
    line bigint, code text COLLATE "C", expires_at timestamptz, attributes jsonb, id uuid, customer_id text,
    campaign_id text, given_at timestamptz, used_at timestamptz, valid_from timestamptz
)
"""
COPY = """
COPY given (
    line, code, expires_at, attributes, id, customer_id, campaign_id, given_at, used_at, valid_from
) FROM STDIN
"""
CODES = "COPY (SELECT DISTINCT code FROM given WHERE valid_from IS NULL) TO STDOUT"
# Kept whole where the code only comes later. One that was given is not kept to be accepted: what is accepted is a code
# that anybody may draw.
SET_ASIDE = f"""
WITH gone AS (DELETE FROM given WHERE line IN (SELECT unnest(%(lines)s::bigint[])) RETURNING *), kept AS (
    INSERT INTO import_reject (project_id, import_id, line, value, reason, staged)
    SELECT %(project)s, %(id)s, line, left(code, {rows.MOST_KEPT}), 'suspicious',
        CASE WHEN valid_from IS NOT NULL THEN to_jsonb(gone) END
    FROM gone ON CONFLICT DO NOTHING
)
SELECT count(*) FROM gone
"""  # noqa: S608  (made of constants)
ORDERED = """
CREATE TEMP TABLE ordered_given AS
SELECT given.*, GREATEST(hashtextextended(code, {seed}), {least} + 1) AS draw_key FROM given
WHERE GREATEST(hashtextextended(code, {seed}), {least} + 1) > {after} ORDER BY draw_key, line
"""
INDEX = "CREATE INDEX ON ordered_given (draw_key)"
CHUNK: LiteralString = "SELECT * FROM ordered_given WHERE draw_key > %(after)s AND draw_key <= %(upto)s"
REJECTED = """
INSERT INTO import_reject (project_id, import_id, line, value, reason, other_pool)
SELECT %(project)s, %(import_id)s, judged.line, judged.code,
    CASE verdict WHEN 'elsewhere' THEN 'in_other_pool' ELSE verdict END, pool.name
FROM judged
LEFT JOIN voucher ON verdict = 'elsewhere' AND voucher.project_id = %(project)s AND voucher.code = judged.code
LEFT JOIN coming_voucher AS coming
    ON verdict = 'elsewhere' AND coming.project_id = %(project)s AND coming.code = judged.code
LEFT JOIN pool ON pool.project_id = %(project)s AND pool.id = coalesce(voucher.pool_id, coming.pool_id)
WHERE verdict IN ('elsewhere', 'given_to_another', 'not_available')
ON CONFLICT DO NOTHING
"""
IGNORED = """
INSERT INTO import_ignored (project_id, import_id, line, code)
SELECT %(project)s, %(import_id)s, line, code FROM judged WHERE verdict = 'same'
LIMIT greatest(0, %(most)s - (
    SELECT count(*) FROM import_ignored WHERE project_id = %(project)s AND import_id = %(import_id)s
))
ON CONFLICT DO NOTHING
"""
FIGURES = """
UPDATE import SET imported = imported + %(imported)s, ignored = ignored + %(ignored)s,
    in_other_pool = in_other_pool + %(in_other_pool)s, conflicting = conflicting + %(conflicting)s,
    merged_to[%(place)s + 1] = %(upto)s
WHERE project_id = %(project)s AND id = %(import_id)s AND status = 'running'
"""


def begin(connection: Connection[TupleRow]) -> None:
    """Make room for the rows."""
    connection.execute(STAGED)


def stage(connection: Connection[TupleRow], rows_: Iterable[str]) -> None:
    """Copy rows, as PostgreSQL's COPY takes them."""
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        copy.write("".join(rows_))


def set_aside(connection: Connection[TupleRow], import_id: uuid.UUID, lines: list[int]) -> int:
    """Make rejects of the staged rows of these lines; return how many there were."""
    with waited_for_by_nobody(connection):
        row = connection.execute(SET_ASIDE, {"lines": lines, "id": import_id}).fetchone()
    return int(row[0]) if row else 0


def codes(connection: Connection[TupleRow]) -> Iterator[bytes]:
    """Yield the codes that are brought in at once, not at a later time, as COPY gives and takes them."""
    with connection.cursor() as cursor, cursor.copy(CODES) as copy:
        yield from map(bytes, copy)


def order(connection: Connection[TupleRow], seed: int, after: int) -> None:
    """Put the rows beyond the draw key `after` into draw order."""
    values = {"seed": seed, "least": draw_keys.FIRST, "after": after}
    ordered = ORDERED.format(**{name: f"('{value}'::bigint)" for name, value in values.items()})
    with waited_for_by_nobody(connection):  # it may take a minute
        connection.execute(ordered.encode())
        connection.execute(INDEX)
        connection.execute("ANALYZE ordered_given")


def bring_in(
    connection: Connection[TupleRow],
    target: merge.Target,
    seed: int,
    staged: int,
    after: int,
    pace: UnhurriedSync,
    watch: Callable[[], None],
) -> None:
    """Bring in all that is staged beyond the draw key `after`; a run that is killed goes on after its last chunk.

    Raises:
        PoolGoneError: the pool was deleted meanwhile.
        ImportCancelledError: the import was cancelled meanwhile.
        MergingError: customers are being merged for long; a later run goes on.
    """
    order(connection, seed, after)
    connection.execute(past.JUDGED)
    again = Retrying(
        # Another import brings the same codes, or customers are being merged.
        retry=retry_if_exception_type((errors.DeadlockDetected, errors.UniqueViolation, MergingError)),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random(0, 0.5),
        reraise=True,
    )
    while after < draw_keys.LAST:
        with pace.step(CHUNK_ROWS, merge.LEAST_ROWS) as limit:
            upto = merge.end_of_chunk(after, staged, limit)
            again(_chunk, connection, target, after, upto)
        after = upto
        watch()


def _chunk(connection: Connection[TupleRow], target: merge.Target, after: int, upto: int) -> None:
    values: dict[str, object] = {
        "import_id": target.import_id,
        "pool_id": target.pool_id,
        "expires_at": target.expires_at,
        "slot": SLOT,
        "place": PLACE,
        "after": after,
        "upto": upto,
    }
    with connection.transaction():
        persons.keep_merges_off(connection)
        if not target.dry_run:
            # The end of the import waits for the disk. A chunk that is lost with the server is merged again.
            connection.execute("SET LOCAL synchronous_commit = off")
            if connection.execute(merge.POOL, values).fetchone() is None:
                raise merge.PoolGoneError
        verdicts = past.judge(connection, CHUNK, values)
        connection.execute(REJECTED, values)
        connection.execute(IGNORED, {**values, "most": ignored.MOST})
        values |= {
            "imported": sum(verdicts.get(verdict, 0) for verdict in past.DONE),
            "ignored": verdicts.get("same", 0),
            "in_other_pool": verdicts.get("elsewhere", 0),
            "conflicting": verdicts.get("given_to_another", 0) + verdicts.get("not_available", 0),
        }
        if not connection.execute(FIGURES, values).rowcount:
            raise ImportCancelledError("The import was cancelled.")
        if not target.dry_run and values["imported"]:
            past.bring_in(connection, values, verdicts)
