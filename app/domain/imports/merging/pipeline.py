"""The job of an import, from its bytes to its vouchers. It may be killed at any point, and run again.

It runs in a thread with connections of its own: each share of the rows has one that holds and merges it, and
`side` reads the chunks and tells the progress meanwhile.
"""

import io
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from psycopg import Connection, errors, sql
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from app.domain.imports.errors import ImportCancelledError, ImportUndecidedError
from app.domain.imports.merging import chunks, given, leftovers, merge, reading, rows
from app.domain.imports.reader import dates
from app.domain.imports.reader.table import Table, open_table
from app.domain.imports.sources import fetching
from app.domain.imports.stored import StoredOptions, StoredSource
from app.domain.lifecycle import draw_keys, order
from app.platform.clock import clock
from app.platform.connections import connect_sync
from app.platform.errors import DomainError
from app.platform.giving_way import UnhurriedSync
from app.platform.metrics import IMPORTS
from app.platform.settings import Settings

STAGING = 0.3
"""The part of the work that staging is, for the progress."""
TELL_SECONDS = 0.5
LOCK_SECONDS = 60

# The server notices within seconds that a worker died, and gives its locks to the next one.
WORKSPACE = "-c work_mem=128MB -c maintenance_work_mem=64MB -c temp_buffers=32MB"

LOCK_SHARE = "SELECT pg_advisory_lock(hashtextextended(%s::text, %s))"
BEGIN = """
UPDATE import SET status = 'running', started_at = COALESCE(started_at, now()), error = NULL,
    merged_to = COALESCE(merged_to, %(before)s::bigint[])
WHERE project_id = %(project)s AND id = %(id)s AND status IN ('queued', 'running')
RETURNING id, pool, pool_id, dry_run, source, sealed, options, seed, size, merged_to
"""
STORED = """
UPDATE import SET size = %(size)s, fetched = %(size)s, sha256 = %(sha256)s, repeats = (
    SELECT id FROM import AS earlier
    WHERE earlier.project_id = %(project)s AND earlier.pool_id = import.pool_id AND earlier.sha256 = %(sha256)s
        AND earlier.status = 'succeeded'
        AND NOT earlier.dry_run AND earlier.id <> import.id
    ORDER BY earlier.created_at LIMIT 1
) WHERE project_id = %(project)s AND id = %(id)s
"""
FETCHED = """
UPDATE import SET fetched = %(size)s WHERE project_id = %(project)s AND id = %(id)s AND status = 'running'
"""
TELL = """
UPDATE import SET progress = %(progress)s WHERE project_id = %(project)s AND id = %(id)s AND status = 'running'
"""
REJECT = """
INSERT INTO import_reject (project_id, import_id, line, value, reason)
SELECT %(project)s, %(id)s, * FROM unnest(%(lines)s::bigint[], %(values)s::text[], %(reasons)s::text[])
ON CONFLICT DO NOTHING
"""
STAGED = """
UPDATE import SET total = %(total)s, invalid = %(invalid)s, suspicious = %(suspicious)s
WHERE project_id = %(project)s AND id = %(id)s AND status = 'running'
"""
# Once for all runs: one that goes on must find the same rows past and to come as the one that was killed.
JUDGED_AT = """
UPDATE import
SET options = options || jsonb_build_object('judged_at', coalesce(options ->> 'judged_at', %(now)s::text))
WHERE project_id = %(project)s AND id = %(id)s RETURNING options
"""
BESIDE = "UPDATE import SET columns_not_imported = %(beside)s WHERE project_id = %(project)s AND id = %(id)s"
FINISH = """
UPDATE import SET status = 'succeeded', progress = 1, finished_at = now()
WHERE project_id = %(project)s AND id = %(id)s AND status = 'running'
    AND imported + ignored + in_other_pool + invalid + suspicious + conflicting = total
RETURNING id
"""
FAIL = """
UPDATE import SET status = 'failed', error = %(error)s, choices = %(choices)s, finished_at = now()
WHERE project_id = %(project)s AND id = %(id)s AND status IN ('queued', 'running')
"""
WAIT = """
UPDATE import SET error = %(error)s
WHERE project_id = %(project)s AND id = %(id)s AND status IN ('queued', 'running')
"""
STATUS = "SELECT status FROM import WHERE project_id = %(project)s AND id = %(id)s"
ENDED = """
SELECT pool.name, import.status::text
FROM import JOIN pool ON pool.project_id = %(project)s AND pool.id = import.pool_id
WHERE import.project_id = %(project)s AND import.id = %(id)s AND NOT dry_run
"""

Watch = Callable[[float], None]


def run(settings: Settings, project: int, import_id: uuid.UUID, watch: Watch = lambda _: None) -> None:
    """Run an import to its end, unless it has ended before. `watch` hears of the progress, from 0 to 1.

    What is wrong with the source, or with where it goes, is written on the import. Whatever else goes wrong
    is raised, and the run may be repeated.
    """
    with ExitStack() as stack:
        connections = [stack.enter_context(_connect(settings, project)) for _ in range(rows.SHARES)]
        side = stack.enter_context(_connect(settings, project))
        for share, connection in enumerate(connections):  # a killed run may still be at its last chunk
            _lock(connection, import_id, share)
        main = connections[0]
        begin = {"before": [merge.before(share) for share in range(rows.SHARES)], "id": import_id}
        row = main.cursor(row_factory=class_row(ImportRow)).execute(BEGIN, begin).fetchone()
        if row is None:
            # Cancelled before it was begun, or while its worker died.
            if _status(main, import_id) == "failed":
                leftovers.clear(main, import_id)
            return
        try:
            _Run(settings, project, connections, side, row, watch).run()
        except ImportCancelledError:
            leftovers.clear(main, import_id)
        except DomainError as error:
            choices = error.choices if isinstance(error, ImportUndecidedError) else None
            fail(main, import_id, error.detail, choices)
        except merge.PoolGoneError:
            fail(
                main,
                import_id,
                f"Pool {row.pool!r} was deleted while the import ran; its codes went with it.",
            )


def tell_wait(settings: Settings, project: int, import_id: uuid.UUID, why: str) -> None:
    """Note what an import waits for that has begun; its next run takes the note away."""
    with _connect(settings, project) as connection:
        connection.execute(WAIT, {"error": why, "id": import_id})


def give_up(settings: Settings, project: int, import_id: uuid.UUID, why: str) -> None:
    """End an import that the service cannot bring to its end; what is merged stays, and its figures stand."""
    with _connect(settings, project) as connection:
        fail(connection, import_id, f"{why} Import again: what is in the pool by then is ignored.")


def fail(connection: Connection[TupleRow], import_id: uuid.UUID, why: str, choices: object = None) -> None:
    """End an import that cannot succeed, if it has not; where nothing of it is in the pool, its figures say so."""
    with connection.transaction():
        leftovers.lock_pool(connection, import_id)
        failed = {"error": why, "choices": choices and Jsonb(choices), "id": import_id}
        if not connection.execute(FAIL, failed).rowcount:
            return
        _tell_end(connection, import_id)
        leftovers.clear(connection, import_id)
    IMPORTS.labels("failed").inc()


def _tell_end(connection: Connection[TupleRow], import_id: uuid.UUID) -> None:
    """Note that an import has ended, for those who asked to be told of it; its pool may go with it after that."""
    found = connection.execute(ENDED, {"id": import_id}).fetchone()
    if found is not None:
        pool, status = found
        about = {"pool": pool, "import_id": str(import_id), "status": status}
        order.record_on(connection, pool, "import.finished", about)


def _status(connection: Connection[TupleRow], import_id: uuid.UUID) -> str | None:
    found = connection.execute(STATUS, {"id": import_id}).fetchone()
    return None if found is None else str(found[0])


def _lock(connection: Connection[TupleRow], import_id: uuid.UUID, share: int) -> None:
    """Lock a share of an import for as long as the connection lasts."""
    connection.execute(sql.SQL("SET lock_timeout = {}").format(f"{LOCK_SECONDS}s"))
    connection.execute(LOCK_SHARE, (import_id, share))
    connection.execute("RESET lock_timeout")


@contextmanager
def _connect(settings: Settings, project: int) -> Iterator[Connection[TupleRow]]:
    with connect_sync(settings, project=project, extra=WORKSPACE, autocommit=True) as connection:
        yield connection


@dataclass(slots=True)
class ImportRow:
    """What a run has to know of its import."""

    id: uuid.UUID
    pool: str
    pool_id: int | None
    dry_run: bool
    source: StoredSource
    sealed: bytes | None
    options: StoredOptions
    seed: int
    size: int | None
    merged_to: list[int]


class _Run:
    def __init__(
        self,
        settings: Settings,
        project: int,
        connections: list[Connection[TupleRow]],
        side: Connection[TupleRow],
        row: ImportRow,
        watch: Watch,
    ) -> None:
        self.settings, self.project, self.connections, self.side = settings, project, connections, side
        self.main = connections[0]
        self.row, self.watch = row, watch
        self.id = row.id
        self.merged_to = row.merged_to
        self.size = 0
        self.staged, self.invalid, self.suspicious = [0] * rows.SHARES, 0, 0
        self.codes_alone = False
        self.given = 0
        self.told = self.asked = time.monotonic()
        self.pace = UnhurriedSync(side)
        self.broken_off = False
        """Whether a share has failed, or the process is to end: then the others end after their chunks."""

    def run(self) -> None:
        self.size = self._store() if self.row.size is None else self.row.size
        with ExitStack() as stack:
            self._stage(stack)
        with ThreadPoolExecutor(rows.SHARES) as threads:  # it waits for all
            merges = [threads.submit(self._merge, share) for share in range(rows.SHARES)]
            try:
                for merged in as_completed(merges):
                    merged.result()
            except BaseException:
                self.broken_off = True
                raise
        self._finish()

    def _store(self) -> int:
        """Fetch the source into the chunks; they count once its size is told, and a run that was killed begins anew."""
        source = fetching.unseal(self.settings, self.row.sealed or b"")
        source["column"] = self.row.options.get("column")  # a query's values are judged by it
        chunks.forget(self.main, self.id)
        # Each chunk is committed by itself: no transaction is open while a foreign host is waited for.
        with closing(fetching.fetch(self.settings, source, self._unwanted, project=self.project)) as blocks:
            size, digest = chunks.write(self.main, self.id, self._counted(blocks))
        self.main.execute(STORED, {"size": size, "sha256": digest, "id": self.id})
        return size

    def _counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the blocks, and tell at times how many bytes they are."""
        size = 0
        for block in blocks:
            size += len(block)
            if time.monotonic() - self.told > TELL_SECONDS:
                self.told = time.monotonic()
                self.side.execute(FETCHED, {"size": size, "id": self.id})
            yield block

    def _stage(self, stack: ExitStack) -> None:
        """Read all rows, and stage each in its share; those that were given elsewhere are brought in before the rest.

        So a code that is in the file both ways cannot be drawn in between.
        """
        now = {"now": clock.now().isoformat(), "id": self.id}
        (options,) = cast(tuple[StoredOptions], self.side.execute(JUDGED_AT, now).fetchone())
        raw = chunks.ChunkFile(self.side, self.id, self.size)
        names = [name for name in reading.columns_named(options) if isinstance(name, str)]
        table = open_table(
            cast(BinaryIO, io.BufferedReader(raw, chunks.BLOCK_BYTES)), reading.format_of(options), names
        )
        queried = self.row.source["type"] in fetching.MAY_BE_EMPTY
        sorter = reading.sorter(table, options, queried=queried, seed=self.row.seed)
        self.codes_alone = sorter.codes_alone
        self.side.execute(BESIDE, {"beside": reading.beside(table, options, sorter.column), "id": self.id})
        beside = (
            stack.enter_context(_connect(self.settings, self.project)) if sorter.past is not None else None
        )
        rows_ = self._sorted(table, sorter, raw, beside)
        merge.stage(self.connections, rows_, self.pace, with_attributes=bool(sorter.attributes))
        self._set_aside(sorter.unlike(), beside)
        total = sum(self.staged) + self.given + self.invalid + self.suspicious
        if not total and self.row.source["type"] not in fetching.MAY_BE_EMPTY:
            raise reading.no_rows()
        counts = {"total": total, "invalid": self.invalid, "suspicious": self.suspicious, "id": self.id}
        if not self.side.execute(STAGED, counts).rowcount:
            raise ImportCancelledError("The import was cancelled.")
        if beside is not None:
            if self.given:
                merge.know_brought(self.connections, given.codes(beside))
            after = self.merged_to[given.PLACE] if len(self.merged_to) > given.PLACE else draw_keys.FIRST
            given.bring_in(
                beside,
                self._target(0),
                self.row.seed,
                self.given,
                after,
                self.pace,
                lambda: self._tell(STAGING),
            )

    def _sorted(
        self, table: Table, sorter: rows.Sorter, raw: chunks.ChunkFile, beside: Connection[TupleRow] | None
    ) -> Iterator[list[list[str]]]:
        if beside is not None:
            given.begin(beside)
        for batch in table.batches:
            sorted_ = sorter.sort(batch)
            if beside is not None and sorted_.given:
                given.stage(beside, sorted_.given)
                self.given += len(sorted_.given)
            yield self._rejected(sorted_, raw)

    def _rejected(self, sorted_: rows.Sorted, raw: chunks.ChunkFile) -> list[list[str]]:
        """Count what was sorted, and write down its rejects; return the rows of each share."""
        for share, block in enumerate(sorted_.shares):
            self.staged[share] += len(block)
        self.invalid += len(sorted_.rejects)
        if sorted_.rejects:
            lines, values, reasons = zip(*((r.line, r.value, r.reason) for r in sorted_.rejects), strict=True)
            rejects = {"lines": list(lines), "values": list(values), "reasons": list(reasons), "id": self.id}
            self.side.execute(REJECT, rejects)
        self._tell(STAGING * raw.place / max(1, self.size))
        return sorted_.shares

    def _set_aside(self, lines: list[int], beside: Connection[TupleRow] | None) -> None:
        """Make rejects of the staged rows of these lines, which are unlike the rest of the file."""
        if lines:
            if beside is not None:
                gone = given.set_aside(beside, self.id, lines)
                self.given -= gone
                self.suspicious += gone
            for share, connection in enumerate(self.connections):
                gone = merge.set_aside(connection, self.id, lines)
                self.staged[share] -= gone
                self.suspicious += gone

    def _target(self, share: int) -> merge.Target:
        expires_at = self.row.options.get("expires_at")
        return merge.Target(
            share,
            self.id,
            self.row.pool_id,
            dates.moment(expires_at) if expires_at else None,
            self.row.dry_run,
            codes_alone=self.codes_alone and not expires_at,
            brought=self.given > 0,
        )

    def _merge(self, share: int) -> None:
        target = self._target(share)
        again = Retrying(
            retry=retry_if_exception_type(errors.DeadlockDetected),
            stop=stop_after_attempt(20),
            wait=wait_random(0, 0.5),
            reraise=True,
        )
        connection, after = self.connections[share], self.merged_to[share]
        keys = merge.keys_of(share)
        with self.pace.step():
            merge.order(connection, self.row.seed, share, after)
        while after < keys.stop - 1 and not self.broken_off:
            with self.pace.step(self.settings.import_chunk_rows, merge.LEAST_ROWS) as limit:
                upto = merge.end_of_chunk(after, self.staged[share], limit, keys)
                self.merged_to[share] = upto
                places = enumerate(self.merged_to[: rows.SHARES])
                done = sum(place - merge.before(of) for of, place in places) / draw_keys.COUNT
                progress = STAGING + (1 - STAGING) * done
                again(merge.chunk, connection, target, after, upto, progress)
            after = upto
            self.watch(progress)

    def _finish(self) -> None:
        with self.main.transaction():
            if self.main.execute(FINISH, {"id": self.id}).fetchone() is None:
                if _status(self.main, self.id) != "running":
                    raise ImportCancelledError("The import was cancelled.")
                raise AssertionError(f"the figures of import {self.id} do not add up to its rows")
            chunks.forget(self.main, self.id)
            _tell_end(self.main, self.id)
        IMPORTS.labels("succeeded").inc()

    def _tell(self, progress: float) -> None:
        self.watch(progress)
        if time.monotonic() - self.told > TELL_SECONDS:
            self.told = time.monotonic()
            if not self.side.execute(TELL, {"progress": progress, "id": self.id}).rowcount:
                raise ImportCancelledError("The import was cancelled.")

    def _unwanted(self) -> bool:
        """Tell whether the import was cancelled; it is asked for at times, not for each block."""
        if time.monotonic() - self.asked < TELL_SECONDS:
            return False
        self.asked = time.monotonic()
        return _status(self.side, self.id) != "running"
