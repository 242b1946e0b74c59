"""The two databases of a move, and what it uses in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.domain.projects.moving import tables
from app.domain.projects.moving.guard import Guard
from app.domain.projects.moving.slots import Slot
from app.domain.projects.moving.tables import Connection, Table
from app.platform.connections import OF_PROJECT, connect_sync
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


@contextmanager
def source_of(settings: Settings, project: int) -> Iterator[Source]:
    """Give the source of a project's move."""
    with connect_sync(settings, autocommit=True) as connection:
        found = tables.read(connection)
        guard = Guard(connection, found, project, with_jobs=True)
        yield Source(settings, connection, found, guard, Slot(connection, project))


@contextmanager
def target_of(settings: Settings, project: int) -> Iterator[Target]:
    """Give the target of a project's move."""
    with connect_sync(settings, autocommit=True) as connection:
        found = tables.read(connection)
        yield Target(settings, connection, found, Guard(connection, found, project))


@contextmanager
def reader(source: Source) -> Iterator[Connection]:
    """Give a connection that reads the source; nobody waits for what it might write."""
    with connect_sync(source.settings, autocommit=True) as connection:
        connection.execute("SELECT set_config('application_name', %s, false)", [READS])
        yield connection


@contextmanager
def writer(target: Target, project: int) -> Iterator[Connection]:
    """Give a connection that stores rows as they are: no trigger acts, and no foreign key is looked at meanwhile."""
    extra = f"-c application_name={OF_PROJECT}{project}"
    with connect_sync(target.settings, extra=extra, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection
