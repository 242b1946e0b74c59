"""The job of an import, from its bytes to its vouchers. It may be killed at any point, and run again.

It runs in a thread with connections of its own: `main` holds the staged rows and merges them, `side` reads
the chunks and tells the progress meanwhile.
"""

import io
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from psycopg import Connection, errors, sql
from psycopg.rows import dict_row
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from app.database import SERVER_OPTIONS, conninfo
from app.errors import DomainError, UnreadableError
from app.imports import chunks, merge, rows, sources
from app.imports.reader.table import Format, Table, open_table
from app.settings import Settings

STAGING = 0.3
"""The share of the work that staging is, for the progress."""
TELL_SECONDS = 0.5
LOCK_SECONDS = 60

# The server notices within seconds that a worker died, and gives its lock to the next one.
WORKSPACE = "-c work_mem=128MB -c maintenance_work_mem=64MB -c temp_buffers=32MB"
OPTIONS = f"{SERVER_OPTIONS} -c client_connection_check_interval=2s {WORKSPACE}"

LOCK = "SELECT pg_advisory_lock(hashtextextended(%s::text, 0))"
BEGIN = """
UPDATE import SET status = 'running', started_at = COALESCE(started_at, now())
WHERE id = %s AND status IN ('queued', 'running') RETURNING *
"""
STORED = """
UPDATE import SET size = %(size)s, sha256 = %(sha256)s, repeats = (
    SELECT id FROM import AS earlier
    WHERE earlier.pool_id = import.pool_id AND earlier.sha256 = %(sha256)s AND earlier.status = 'succeeded'
        AND NOT earlier.dry_run AND earlier.id <> import.id
    ORDER BY earlier.created_at LIMIT 1
) WHERE id = %(id)s
"""
TELL = "UPDATE import SET progress = %s WHERE id = %s"
REJECT = """
INSERT INTO import_reject (import_id, line, value, reason)
SELECT %s, * FROM unnest(%s::bigint[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING
"""
STAGED = "UPDATE import SET total = %s, invalid = %s WHERE id = %s"
FINISH = """
UPDATE import SET status = 'succeeded', progress = 1, finished_at = now()
WHERE id = %s AND imported + ignored + in_other_pool + invalid = total RETURNING id
"""
FAIL = "UPDATE import SET status = 'failed', error = %s, finished_at = now() WHERE id = %s"
NO_FIGURES = (
    "UPDATE import SET imported = 0, ignored = 0, in_other_pool = 0, invalid = 0, total = NULL WHERE id = %s"
)

Watch = Callable[[float], None]


def run(settings: Settings, import_id: uuid.UUID, watch: Watch = lambda _: None) -> None:
    """Run an import to its end, unless it has ended before. `watch` hears of the progress, from 0 to 1.

    What is wrong with the source, or with where it goes, is written on the import. Whatever else goes wrong
    is raised, and the run may be repeated.
    """
    with _connect(settings) as main, _connect(settings) as side:
        main.execute(sql.SQL("SET lock_timeout = {}").format(f"{LOCK_SECONDS}s"))
        main.execute(LOCK, (import_id,))
        main.execute("RESET lock_timeout")
        row = main.cursor(row_factory=dict_row).execute(BEGIN, (import_id,)).fetchone()
        if row is None:
            return
        try:
            _Run(settings, main, side, row, watch).run()
        except DomainError as error:
            nothing_merged = row["merged_to"] is None or row["dry_run"]
            fail(main, import_id, error.detail, nothing_merged=nothing_merged)
        except merge.PoolGoneError:
            gone = f"Pool {row['pool']!r} was deleted while the import ran; its codes went with it."
            fail(main, import_id, gone, nothing_merged=True)


def give_up(settings: Settings, import_id: uuid.UUID) -> None:
    """End an import that met a fault of the service; what is merged stays, and its figures stand."""
    with _connect(settings) as connection:
        row = connection.execute("SELECT merged_to FROM import WHERE id = %s", (import_id,)).fetchone()
        why = "A fault of the service, and logged. Import again: what is in the pool by then is ignored."
        fail(connection, import_id, why, nothing_merged=row is None or row[0] is None)


def fail(connection: Connection[Any], import_id: uuid.UUID, why: str, *, nothing_merged: bool) -> None:
    """End an import that cannot succeed; where nothing of it is in the pool, its figures say so."""
    with connection.transaction():
        connection.execute(FAIL, (why, import_id))
        connection.execute("DELETE FROM import_chunk WHERE import_id = %s", (import_id,))
        if nothing_merged:
            connection.execute(NO_FIGURES, (import_id,))
            connection.execute("DELETE FROM import_reject WHERE import_id = %s", (import_id,))


@contextmanager
def _connect(settings: Settings) -> Iterator[Connection[Any]]:
    url = conninfo(settings.sqlalchemy_url)
    connection = psycopg.connect(url, autocommit=True, options=OPTIONS, connect_timeout=5)
    with connection:
        yield connection


class _Run:
    def __init__(
        self,
        settings: Settings,
        main: Connection[Any],
        side: Connection[Any],
        row: dict[str, Any],
        watch: Watch,
    ) -> None:
        self.settings, self.main, self.side, self.row, self.watch = settings, main, side, row, watch
        self.id: uuid.UUID = row["id"]
        self.told = time.monotonic()

    def run(self) -> None:
        if self.row["size"] is None:
            self._store()
        staged, invalid = self._stage()
        merge.order(self.main, self.row["seed"], self.row["merged_to"])
        self._merge(staged)
        self._finish(staged + invalid)

    def _store(self) -> None:
        """Fetch the source into the chunks, whole or not at all."""
        source = sources.unseal(self.settings, self.row["sealed"])
        with self.main.transaction():
            blocks = sources.fetch(self.settings, source)
            size, digest = chunks.write(self.main, self.id, blocks)
            self.main.execute(STORED, {"size": size, "sha256": digest, "id": self.id})
        self.row["size"] = size

    def _stage(self) -> tuple[int, int]:
        """Read and sort all rows; how many are staged, and how many are invalid."""
        options = self.row["options"]
        raw = chunks.ChunkFile(self.side, self.id, self.row["size"])
        wanted = Format(*(options.get(name) for name in ("encoding", "delimiter", "quote", "has_header")))
        table = open_table(cast(Any, io.BufferedReader(raw, chunks.CHUNK)), wanted)
        counts = {"staged": 0, "invalid": 0}
        merge.stage(self.main, self._sorted(table, options, raw, counts))
        if not sum(counts.values()) and self.row["source"]["type"] not in sources.MAY_BE_EMPTY:
            raise UnreadableError("The file has a header, but no row below it.")
        self.side.execute(STAGED, (sum(counts.values()), counts["invalid"], self.id))
        return counts["staged"], counts["invalid"]

    def _sorted(
        self, table: Table, options: dict[str, Any], raw: chunks.ChunkFile, counts: dict[str, int]
    ) -> Iterator[str]:
        column = table.column(options.get("column"))
        expiry = options.get("expires_at_column")
        expires_at_column = None if expiry is None else table.column(expiry)
        for batch in table.batches:
            sorted_ = rows.sort(batch, column, expires_at_column)
            counts["staged"] += sorted_.count
            counts["invalid"] += len(sorted_.rejects)
            if sorted_.rejects:
                lines, values, reasons = zip(
                    *((r.line, r.value, r.reason) for r in sorted_.rejects), strict=True
                )
                self.side.execute(REJECT, (self.id, list(lines), list(values), list(reasons)))
            self._tell(STAGING * raw.place / max(1, self.row["size"]))
            yield sorted_.block

    def _merge(self, staged: int) -> None:
        expires_at = self.row["options"].get("expires_at")
        target = merge.Target(
            self.id, self.row["pool_id"], expires_at and rows.expires_at(expires_at), self.row["dry_run"]
        )
        again = Retrying(
            retry=retry_if_exception_type(errors.DeadlockDetected),
            stop=stop_after_attempt(20),
            wait=wait_random(0, 0.5),
            reraise=True,
        )
        after = merge.LEAST if self.row["merged_to"] is None else self.row["merged_to"]
        for upto in merge.chunk_ends(staged, self.settings.import_chunk_rows):
            if upto > after:
                progress = STAGING + (1 - STAGING) * (upto - merge.LEAST) / 2**64
                again(merge.chunk, self.main, target, after, upto, progress)
                after = self.row["merged_to"] = upto
                self.watch(progress)

    def _finish(self, total: int) -> None:
        with self.main.transaction():
            if self.main.execute(FINISH, (self.id,)).fetchone() is None:
                raise AssertionError(f"the figures of import {self.id} do not add up to its {total} rows")
            self.main.execute("DELETE FROM import_chunk WHERE import_id = %s", (self.id,))

    def _tell(self, progress: float) -> None:
        self.watch(progress)
        if time.monotonic() - self.told > TELL_SECONDS:
            self.told = time.monotonic()
            self.side.execute(TELL, (progress, self.id))
