"""Those who follow imports: however many they are, an import is read once for all of them, ten times a second."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.imports import service
from app.domain.imports.schemas import ImportRecord
from app.platform.database import transaction
from app.platform.errors import OverloadedError
from app.platform.giving_way import looking
from app.platform.projects import project_of

MOST = 200
"""Requests of a process that follow imports at a time."""
MOST_OF_PROJECT = 150
"""So many of these are of one project at the most."""

EVERY_SECONDS = 0.1
"""How old what is known of an import may be."""


class TooManyFollowersError(OverloadedError):
    """As many follow imports as a process lets."""

    headers = {"Retry-After": "5"}  # noqa: RUF012  (as the base declares it)

    def __init__(self) -> None:
        super().__init__("Too many requests follow imports; ask for the import now and then instead.")


@dataclass(slots=True)
class _Look:
    """What is known of an import, or is being read, and since when."""

    at: float
    found: asyncio.Task[ImportRecord]


class _Followers:
    """The followers of one event loop."""

    def __init__(self) -> None:
        self.of_project: Counter[int] = Counter()
        self.looks: dict[tuple[int, uuid.UUID], _Look] = {}

    def begin(self, engine: AsyncEngine, import_id: uuid.UUID) -> _Look:
        """Begin to read an import; forget what is older than anybody may be told."""
        now = time.monotonic()
        for old in [
            key for key, look in self.looks.items() if now - look.at > EVERY_SECONDS and look.found.done()
        ]:
            del self.looks[old]
        task = asyncio.create_task(read(engine, import_id))
        task.add_done_callback(_heard)
        look = self.looks[project_of(engine), import_id] = _Look(now, task)
        return look


_BY_LOOP: WeakKeyDictionary[asyncio.AbstractEventLoop, _Followers] = WeakKeyDictionary()


def _followers() -> _Followers:
    return _BY_LOOP.setdefault(asyncio.get_running_loop(), _Followers())


def _heard(task: asyncio.Task[ImportRecord]) -> None:
    """Take note of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def has_room(engine: AsyncEngine) -> bool:
    """Return whether one more may follow in this project."""
    of_project = _followers().of_project
    return of_project.total() < MOST and of_project[project_of(engine)] < MOST_OF_PROJECT


def check_room(engine: AsyncEngine) -> None:
    """Refuse a follower where there are too many, before its reply begins.

    Raises:
        TooManyFollowersError: there are.
    """
    if not has_room(engine):
        raise TooManyFollowersError


@contextmanager
def following(engine: AsyncEngine) -> Iterator[None]:
    """Count one who follows in this project, for the block."""
    of_project, project = _followers().of_project, project_of(engine)
    of_project[project] += 1
    try:
        yield
    finally:
        of_project[project] -= 1
        if not of_project[project]:
            del of_project[project]


async def read(engine: AsyncEngine, import_id: uuid.UUID) -> ImportRecord:
    """Read an import.

    Raises:
        ImportNotFoundError: there is none.
    """
    async with transaction(looking(engine)) as connection:
        return await service.get(connection, import_id)


async def look(engine: AsyncEngine, import_id: uuid.UUID) -> ImportRecord:
    """Return an import as it was a moment ago, read for all who follow it.

    Raises:
        ImportNotFoundError: there is none.
    """
    followers = _followers()
    known = followers.looks.get((project_of(engine), import_id))
    if known is None or (known.found.done() and time.monotonic() - known.at > EVERY_SECONDS):
        known = followers.begin(engine, import_id)
    return await asyncio.shield(known.found)
