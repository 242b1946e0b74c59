"""The two databases of a move, and what it uses in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.domain.projects.moving import tables
from app.domain.projects.moving.guard import Guard
from app.domain.projects.moving.slots import Slot
from app.domain.projects.moving.tables import Connection, Table
from app.platform.connections import LONG_SECONDS, OF_PROJECT, connect_sync, server_limit
from app.platform.database import READS
from app.platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Source:
    """The database that the project leaves."""

    settings: Settings
    connection: Connection
    """Of the owner, each statement a transaction of its own."""
    tables: list[Table]
    guard: Guard
    slot: Slot


@dataclass(frozen=True, slots=True)
class Target:
    """The database that the project goes to. Nobody but the mover writes its rows there until it has arrived."""

    settings: Settings
    connection: Connection
    tables: list[Table]
    guard: Guard
    seconds: float
    """Its longest statement."""


@contextmanager
def source_of(settings: Settings, project: int, seconds: float = LONG_SECONDS) -> Iterator[Source]:
    """Give the source of a project's move, whose statements may take so long."""
    with _connect(settings, seconds) as connection:
        found = tables.read(connection)
        guard = Guard(connection, found, project, with_jobs=True)
        yield Source(settings, connection, found, guard, Slot(connection, project))


@contextmanager
def target_of(settings: Settings, project: int, seconds: float = LONG_SECONDS) -> Iterator[Target]:
    """Give the target of a project's move, whose statements may take so long."""
    with _connect(settings, seconds) as connection:
        found = tables.read(connection)
        yield Target(settings, connection, found, Guard(connection, found, project), seconds)


@contextmanager
def reader(source: Source) -> Iterator[Connection]:
    """Give a connection that reads the source; nobody waits for what it might write."""
    with connect_sync(source.settings, autocommit=True) as connection:
        connection.execute("SELECT set_config('application_name', %s, false)", [READS])
        yield connection


@contextmanager
def writer(target: Target, project: int) -> Iterator[Connection]:
    """Give a connection that stores rows as they are: no trigger acts, and no foreign key is looked at meanwhile."""
    with _connect(
        target.settings, target.seconds, f"-c application_name={OF_PROJECT}{project}"
    ) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def _connect(settings: Settings, seconds: float, extra: str = "") -> Connection:
    """Open a connection of the owner; what is given up here ends at the server too, and changes nothing later."""
    limit = f"-c {server_limit(seconds)}"
    return connect_sync(settings, seconds=seconds, extra=f"{limit} {extra}", autocommit=True)
