"""Which rows of a project change at the source: told by PostgreSQL's logical replication, in the order of commits.

The publication has a row filter for the project, and of the columns only the keys: who follows copies the rows as they
are by then. So what is told twice does no harm, and what follows can be killed at any time: the slot tells again all
that was not confirmed.
"""

import contextlib
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from app.domain.projects.moving.errors import LateError, MoveError
from app.domain.projects.moving.tables import Key
from app.platform.connections import arguments
from app.platform.database_url import parameters
from app.platform.settings import Settings

MARKERS = "vouchers"
"""Prefix of the markers among what is written to the log."""
CONFIRM_SECONDS = 1.0
MOST_WAITING = 500_000
"""Keys that are kept; what comes then waits at the source."""
_EPOCH = 946_684_800
"""Replication counts microseconds from the year 2000 on."""


@dataclass(slots=True)
class Transaction:
    """What a transaction changed of the project."""

    xid: int
    changed: dict[str, set[Key]] = field(default_factory=dict)
    end: int = 0
    """Position behind its commit."""


class Stream:
    """Follows a slot in a thread of its own; what it was told is taken from `told`."""

    def __init__(self, settings: Settings, slot: str, publication: str) -> None:
        patient = "-c tcp_user_timeout=0"  # what waits at the source may wait as long as rows are copied
        given = {**parameters(settings.direct_url), **arguments(settings, direct=True, extra=patient)}
        self._conninfo = make_conninfo("", **{**given, "replication": "database"})
        self._slot, self._publication = slot, publication
        self._told: deque[Transaction] = deque()
        self._markers: set[str] = set()
        self._news = threading.Condition()
        self._waiting = 0
        self._confirmed = 0
        self._done = threading.Event()
        self._failed: Exception | None = None
        self._columns: dict[int, tuple[str, tuple[bool, ...]]] = {}
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Follow the slot for the block."""
        self._connection: psycopg.Connection[TupleRow] = psycopg.Connection.connect(
            self._conninfo, autocommit=True
        )
        try:
            self._begin()
            self._thread.start()
            yield
        finally:
            self._done.set()
            if self._thread.is_alive():
                self._thread.join()
            self._connection.pgconn.finish()

    def until(self, marker: str, seconds: float) -> list[Transaction]:
        """Return all that was told since the last call, up to a marker that was written at the source.

        Raises:
            LateError: the marker was not told in time.
            MoveError: the source tells no more.
        """
        end = time.monotonic() + seconds
        found: list[Transaction] = []
        with self._news:
            while True:
                found += self._told  # what is told is taken all the time, or the source would be made to wait
                self._told.clear()
                self._waiting = 0
                if marker in self._markers:
                    self._markers.discard(marker)
                    return found
                if self._failed is not None:
                    raise MoveError(
                        f"The source tells no more what changes: {self._failed}"
                    ) from self._failed
                if time.monotonic() > end:
                    self._told.extendleft(reversed(found))
                    raise LateError("The source did not tell in time what changed: try again.")
                self._news.wait(0.1)

    def confirm(self, position: int) -> None:
        """Tell the source that all up to a position is stored: it need not tell that again."""
        self._confirmed = max(self._confirmed, position)

    def _begin(self) -> None:
        query = sql.SQL(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {}, messages 'true')"
        ).format(sql.Identifier(self._slot), sql.Literal(f'"{self._publication}"'))
        result = self._connection.pgconn.exec_(query.as_bytes(self._connection))
        if result.status != pq.ExecStatus.COPY_BOTH:
            said = (result.error_message or b"").decode(errors="replace")
            raise MoveError(f"The source does not tell what changes: {said.strip()}")

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001  (whoever waits is told)
            with self._news:
                self._failed = error
                self._news.notify_all()

    def _follow(self) -> None:
        connection, said = self._connection.pgconn, 0.0
        current = Transaction(0)
        while not self._done.is_set():
            if time.monotonic() - said > CONFIRM_SECONDS:
                self._confirm_now()
                said = time.monotonic()
            if self._waiting > MOST_WAITING:
                time.sleep(0.1)
                continue
            size, data = connection.get_copy_data(1)
            if size == 0:
                select.select([connection.socket], [], [], 0.1)
                connection.consume_input()
                continue
            if size < 0:
                raise MoveError(connection.get_error_message())
            message = bytes(data)
            if message[:1] == b"k":
                if message[17]:
                    self._confirm_now()
            else:
                current = self._take(message[25:], current)
        self._confirm_now()

    def _confirm_now(self) -> None:
        at = self._confirmed
        now = int((time.time() - _EPOCH) * 1_000_000)  # noqa: TID251  (of no weight to the source)
        self._connection.pgconn.put_copy_data(struct.pack("!cQQQqB", b"r", at, at, at, now, 0))
        self._connection.pgconn.flush()

    def _take(self, message: bytes, current: Transaction) -> Transaction:
        """Read one message of the protocol; return the transaction that it belongs to."""
        kind = message[:1]
        if kind == b"B":
            return Transaction(int.from_bytes(message[17:21], "big"))
        if kind == b"R":
            self._learn(message)
        elif kind in {b"I", b"U", b"D"}:
            name, keys = self._changed(message)
            current.changed.setdefault(name, set()).update(keys)
        elif kind == b"C":
            current.end = int.from_bytes(message[10:18], "big")
            with self._news:
                self._told.append(current)
                self._waiting += sum(map(len, current.changed.values()))
        elif kind == b"M":
            end = message.index(b"\0", 10)
            if message[10:end].decode() == MARKERS:  # others may write messages to the log too
                with self._news:
                    self._markers.add(message[end + 5 :].decode())
                    self._news.notify_all()
        return current

    def _learn(self, message: bytes) -> None:
        """Keep what a table's columns are called."""
        relation = int.from_bytes(message[1:5], "big")
        _, name, rest = message[5:].split(b"\0", 2)
        count, at, is_key = int.from_bytes(rest[1:3], "big"), 3, []
        for _ in range(count):
            end = rest.index(b"\0", at + 1)
            is_key.append(rest[at + 1 : end] != b"project_id")
            at = end + 9
        self._columns[relation] = (name.decode(), tuple(is_key))

    def _changed(self, message: bytes) -> tuple[str, list[Key]]:
        """Return the table and the key of a row that was inserted, updated or deleted; both keys where it changed."""
        name, is_key = self._columns[int.from_bytes(message[1:5], "big")]
        keys, at = [], 5
        while at < len(message):  # a tuple: its kind, the number of columns, and each with its kind and size
            key, at = [], at + 3
            for wanted in is_key:
                size = int.from_bytes(message[at + 1 : at + 5], "big")
                if wanted:
                    if message[at : at + 1] != b"t":
                        raise MoveError(f"The source does not tell the key of a changed row of {name}.")
                    key.append(message[at + 5 : at + 5 + size].decode())
                at += 5 + size
            keys.append(tuple(key))
        return name, keys
