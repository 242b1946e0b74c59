"""A real PostgreSQL, migrated by Alembic once and emptied after each test, and clients of the service."""

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.platform.database import transaction
from app.platform.database_url import conninfo
from app.platform.engines import create_engine
from app.platform.migrate import migrate
from app.platform.postgres.server import LocalPostgres
from app.platform.postgres.settings import FIXED
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings
from app.schema.base import Base
from app.server.application import create_app, running, with_hot_path
from tests.engines import learning
from tests.factories import KEY, add_key
from tests.held_once import hold_once
from tests.named import Watch, watching

DATABASE = "test"
os.environ["VOUCHERS_SECRET_KEY"] = "dGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktdGVzdCE="
"""No test makes a key in the home of the one who runs it."""
STAYS = ("project", "database")
TABLES = [
    *(f'"{table.name}"' for table in reversed(Base.metadata.sorted_tables) if table.name not in STAYS),
    "procrastinate_events",
    "procrastinate_periodic_defers",
    "procrastinate_jobs",
    "procrastinate_workers",
]
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
END_SECONDS = 30.0
EMPTY = ";".join(
    (
        *(f"DELETE FROM {table}" for table in TABLES),
        *(f"DELETE FROM {table} WHERE id <> 1" for table in STAYS),
    )
)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The migrated database of this test run, on a server of its own."""
    # Not pytest's own folder: a socket's path has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="vp-"))
    server = LocalPostgres(home)
    try:
        with pytest.MonkeyPatch.context() as patch:  # nobody needs what it holds after a power cut
            patch.setitem(FIXED, "fsync", "off")
            server.start()
        with server:
            with psycopg.connect(conninfo(server.url), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            url = make_url(server.url).set(database=DATABASE).render_as_string(hide_password=False)
            migrate(url)
            yield url
    finally:
        shutil.rmtree(home)


class Cleaner:
    """Empties the database of this test run. It keeps its session, whose begin takes longer than the work."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: psycopg.Connection | None = None

    def empty(self) -> None:
        """End all other sessions, and delete every row but that of the project `default`."""
        try:
            self._empty(self._connected())
        except psycopg.OperationalError:  # a test has ended this session as well
            self.close()
            self._empty(self._connected())

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _connected(self) -> psycopg.Connection:
        if self._session is None:
            self._session = psycopg.connect(conninfo(self._url), autocommit=True)
        return self._session

    def _empty(self, session: psycopg.Connection) -> None:
        deadline = time.monotonic() + END_SECONDS
        while session.execute(END_OTHERS).rowcount and time.monotonic() < deadline:
            time.sleep(0.001)  # what is amid a commit ends after it
        session.execute(EMPTY)  # faster than TRUNCATE here


@pytest.fixture(scope="session")
def cleaner(server_url: str) -> Iterator[Cleaner]:
    cleaner = Cleaner(server_url)
    yield cleaner
    cleaner.close()


@pytest.fixture
def database_url(server_url: str, cleaner: Cleaner) -> Iterator[str]:
    """An empty, migrated database, in which commits are real. It is emptied after the test, not rolled back."""
    yield server_url
    cleaner.empty()


@pytest.fixture(scope="session", autouse=True)
def engines_learn() -> Iterator[None]:
    with learning():
        yield


@pytest.fixture(scope="session")
def watch() -> Iterator[Watch]:
    with watching() as watch:
        yield watch


@pytest.fixture(autouse=True)
def statements_name_their_project(watch: Watch) -> Iterator[None]:
    """No statement of the application leaves its project to row-level security."""
    before = len(watch.found)
    yield
    assert watch.found[before:] == []


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(DATABASE_URL=database_url, log_level="ERROR", key_cache_seconds=0)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Of the project `default`."""
    engine = create_engine(settings)
    yield of_project(engine, DEFAULT)
    await engine.dispose()


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction on the test's database, for looking and for rules that need no HTTP."""
    async with transaction(engine) as connection:
        yield connection


@cache
def application(max_body_bytes: int) -> FastAPI:
    """Return the application, which takes its settings as it starts but for this one.

    The framework works out a route's parameters when it first meets it: a third of a test's time, where each had an
    application of its own.
    """
    return create_app(Settings(log_level="ERROR", max_body_bytes=max_body_bytes))


@pytest.fixture
def held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_once(monkeypatch)


@pytest.fixture
async def app(settings: Settings, engine: AsyncEngine, held_once: None) -> AsyncIterator[FastAPI]:
    """The application, started, with a key that may do everything."""
    await add_key(engine, KEY, "admin")
    app = application(settings.max_body_bytes)
    async with running(settings)(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Talks HTTP to the application, with the key that may do everything."""
    transport = httpx.ASGITransport(with_hot_path(app), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """The URL of a database without a table."""
    with another_database(server_url, "migrated") as url:
        yield url


@contextmanager
def another_database(server_url: str, name: str) -> Iterator[str]:
    """Make a database on the server and yield its URL; drop it at the end."""
    with psycopg.connect(conninfo(server_url), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
        finally:
            drop(connection, name)


def drop(connection: psycopg.Connection, name: str) -> None:
    """End what is still connected to a database, and drop it.

    `WITH (FORCE)` would be refused while the server's own vacuum is in it; without it, PostgreSQL sends that away.
    """
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = %s AND backend_type = 'client backend'",
        (name,),
    )
    connection.execute(f"DROP DATABASE {name}")
