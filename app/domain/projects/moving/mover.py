"""The way of a project from one database to another, step by step; each is done again where it was broken off.

Copying: every row, while the project is served. Following: what changes meanwhile is copied again, and each table is
compared. Paused: writes are refused for a moment, the last changes are copied and compared, and the control database
says where the project lives from then on. Until that one commit all can be undone; behind it, all goes on by itself.
"""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from app.domain.projects.moving import checks, finishing, queries, queue, tables
from app.domain.projects.moving.ends import Source, Target, reader, writer
from app.domain.projects.moving.errors import LateError, MoveError
from app.domain.projects.moving.queries import FOLLOWING, PAUSED, MoveRecord
from app.domain.projects.moving.rows import Rows
from app.domain.projects.moving.slots import Slot
from app.domain.projects.moving.snapshot import Snapshot
from app.domain.projects.moving.stream import MARKERS, Stream, Transaction
from app.domain.projects.moving.tables import Connection, Key, Table

CAUGHT_UP_SECONDS = 1.0
"""A round that takes less tells that nothing is left but what comes all the time."""
ROUND_SECONDS = 600.0
PAUSE_SECONDS = 1.5
"""Longest pause before the switch; what is not done by then is tried again later."""
WRITERS_SECONDS = 1.0
"""Of that, longest wait for transactions that wrote before."""
TRIES = 30
TRIGGER_SECONDS = 600.0
"""Longest wait for each table's triggers: a backup or a long change of many codes may be under way."""
BUSY_SECONDS = 600.0
"""Longest wait for a moment in which no transaction writes for long."""
Tell = Callable[[str], object]


class Mover:
    """Moves one project, whose lock the control connection holds."""

    def __init__(
        self, control: Connection, move: MoveRecord, source: Source, target: Target, tell: Tell
    ) -> None:
        self._control, self._move, self._tell = control, move, tell
        self._source, self._target = source, target
        self._project = move.project_id
        self._pending: list[Transaction] = []
        self.paused_seconds = 0.0

    def run(self) -> None:
        """Bring the project to the target, from wherever it is.

        Raises:
            MoveError: it cannot; it is served by the source as before.
        """
        checks.check(self._source.connection, self._target.connection)
        if self._move.step == PAUSED:  # whoever was at it is gone
            finishing.lift(self._control, self._project, self._source, self._target)
        self._begin()
        with self._following():
            self._copy()
            queries.step(self._control, self._project, FOLLOWING)
            self._source.guard.make(TRIGGER_SECONDS)
            self._catch_up()
            for table in self._rows.tables:
                self._round(table)
            self._tell("All is copied, and the same in both databases.")
            self._switch()
        try:
            finishing.arrive(self._control, self._move, self._target)
            finishing.finish(self._control, self._move, self._source, self._target)
        except psycopg.Error as error:
            self._tell(f"It lives there now. The service finishes what is left: {error}")

    def _begin(self) -> None:
        """Have changes kept from now on; where what was kept is lost, begin anew."""
        source, target = self._source, self._target
        target.guard.make(TRIGGER_SECONDS, refuse=True)
        if source.slot.is_whole():
            source.slot.free()
            return
        source.slot.drop()
        queries.begin_anew(self._control, self._project)
        self._move.progress.clear()
        Slot(target.connection, self._project).drop()  # of an earlier move, which ended without this database
        with writer(target, self._project) as connection:
            tables.empty(connection, target.tables, self._project)
        source.slot.make(source.tables)

    @contextmanager
    def _following(self) -> Iterator[None]:
        source, project = self._source, self._project
        self._stream = Stream(source.settings, source.slot.name, source.slot.name)
        with (
            reader(source) as self._reader,
            writer(self._target, project) as written,
            self._stream.following(),
        ):
            self._rows = Rows(self._reader, written, source.tables, project)
            yield

    def _copy(self) -> None:
        done = self._move.progress
        for table in self._rows.tables:
            key = done.get(table.name, [])
            if key is None:
                continue
            after: Key | None = tuple(key) or None
            while True:
                after = self._rows.copy_chunk(table, after)
                queries.copied(self._control, self._project, table.name, after)
                if after is None:
                    break
        self._tell("All rows are copied; following what changed meanwhile.")

    def _catch_up(self) -> None:
        """Copy again what changed, until it is but little."""
        for _ in range(1000):
            began = time.monotonic()
            self._round()
            queries.step(self._control, self._project, FOLLOWING)
            if time.monotonic() - began < CAUGHT_UP_SECONDS:
                return
        raise MoveError("The project changes faster than it can be copied: try again in a quieter hour.")

    def _round(self, compare: Table | None = None, seconds: float = ROUND_SECONDS) -> None:
        """Bring the target to exactly what the source is at one moment; compare what was copied, or all of a table.

        What no later round copies is not changed: so once each table was compared, all is.
        """
        marker = secrets.token_hex(8)
        with self._reader.transaction():
            self._reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            snapshot = Snapshot.of(self._reader)
            self._source.connection.execute("SELECT pg_logical_emit_message(true, %s, %s)", [MARKERS, marker])
            told = self._pending + self._stream.until(marker, seconds)
            seen = [snapshot.sees(transaction.xid) for transaction in told]
            changes: dict[str, set[Key]] = defaultdict(set)
            for transaction, is_seen in zip(told, seen, strict=True):
                if is_seen:
                    for name, keys in transaction.changed.items():
                        changes[name] |= keys
            self._rows.copy_again(changes)
            for table in self._rows.tables:
                if table is compare:
                    self._rows.compare(table)
                elif changes[table.name]:
                    self._rows.compare(table, changes[table.name])
        for transaction, is_seen in zip(told, seen, strict=True):
            if not is_seen:
                break
            self._stream.confirm(transaction.end)
        self._pending = [transaction for transaction, is_seen in zip(told, seen, strict=True) if not is_seen]

    def _switch(self) -> None:
        for attempt in range(TRIES):
            self._wait_for_quiet()
            self._catch_up()
            if self._try_to_switch():
                return
            self._tell("Others' writes take too long just now; trying again.")
            time.sleep(min(5.0, 0.2 * 2**attempt))
        raise MoveError("Others' long writes left no moment for the switch: try again in a quieter hour.")

    def _wait_for_quiet(self) -> None:
        """Wait while somebody's transaction writes for long: the pause would have to wait for it."""
        end = time.monotonic() + BUSY_SECONDS
        while self._source.guard.is_busy() and time.monotonic() < end:
            self._round()
            queries.step(self._control, self._project, FOLLOWING)
            time.sleep(0.2)

    def _try_to_switch(self) -> bool:
        """Pause the project, compare what changed last, and let it live at the target; False: not now."""
        queries.step(self._control, self._project, PAUSED)
        began = time.monotonic()
        switched = False
        try:
            if not self._source.guard.pause(WRITERS_SECONDS):
                return False
            queue.park(self._source.connection, self._project)
            self._round(seconds=PAUSE_SECONDS)
            if any(transaction.changed for transaction in self._pending):
                return False
            queries.step(self._control, self._project, PAUSED)  # fails for who hung and was given up
            finishing.prepare(self._source, self._target, self._project)
            if time.monotonic() - began > PAUSE_SECONDS:
                return False
            switched = queries.switch(self._control, self._project)
            if not switched:
                raise MoveError("Somebody deletes the project, or ended this move.")
        except LateError:
            return False
        finally:
            if not switched:
                finishing.lift(self._control, self._project, self._source, self._target)
        self.paused_seconds = time.monotonic() - began
        return True
