"""`vouchers database add` takes an empty database, and touches none that is somebody else's."""

import asyncio
from contextlib import nullcontext

import psycopg
import pytest
from sqlalchemy.exc import ProgrammingError
from typer.testing import CliRunner

from app.cli import further_databases as commands
from app.cli import opening
from app.cli.main import cli
from app.domain.projects.databases.errors import DatabaseNotOursError
from app.platform.database_url import conninfo
from app.platform.databases import settings_of
from app.platform.engines import create_engine
from app.platform.projects import DEFAULT, of_project
from tests.conftest import another_database
from tests.factories import KEY, add_key
from tests.two_databases import copy_of


@pytest.fixture
def migrated(monkeypatch):
    """Lets no database be migrated, and tells for which it was asked."""
    asked = []
    monkeypatch.setattr(commands, "migrate", asked.append)
    return asked


@pytest.fixture
def add(settings, monkeypatch):
    """Take the database of a URL into the service, by the command line; return what it printed."""
    monkeypatch.setattr(opening, "database", lambda: nullcontext((settings, None)))
    monkeypatch.setattr(opening, "bring_up", lambda _: None)
    monkeypatch.setattr(opening, "with_secret_key", lambda settings, **_: settings)

    def run(url):
        result = CliRunner().invoke(cli, ["database", "add", "second", "--url", url])
        if result.exception is not None:
            raise result.exception
        return result.output

    return run


@pytest.fixture
def bare(server_url):
    with another_database(server_url, "bare") as url:
        yield url


@pytest.fixture
def copied(database_url, server_url, cleaner):
    cleaner.close()  # what is copied has no sessions
    with copy_of(server_url, "second") as url:
        yield url


def test_an_empty_database_is_taken_and_may_be_given_another_address(add, copied, migrated):
    assert add(copied) == "Added.\n"
    assert add(copied) == "Added.\n"
    assert len(migrated) == 2


OF_OURS = "CREATE TABLE alembic_version (); CREATE TABLE procrastinate_jobs ();"


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        ("CREATE TABLE orders ()", "tables of something else"),
        (f"{OF_OURS} CREATE TABLE voucher (); INSERT INTO voucher DEFAULT VALUES", "API keys or vouchers"),
    ],
    ids=["another program's", "an older release's"],
)
def test_a_database_that_is_in_use_is_refused_before_it_is_migrated(holds, said, add, bare, migrated):
    with psycopg.connect(conninfo(bare), autocommit=True) as connection:
        connection.execute(holds)
    with pytest.raises(DatabaseNotOursError, match=said):
        add(bare)
    assert migrated == []


def test_a_database_of_another_service_is_refused_before_it_is_migrated(add, copied, settings, migrated):
    async def open_shop():
        engine = create_engine(settings_of(settings, copied))
        await add_key(of_project(engine, DEFAULT), KEY, "admin")
        await engine.dispose()

    asyncio.run(open_shop())
    with pytest.raises(DatabaseNotOursError, match="it holds API keys"):
        add(copied)
    assert migrated == []


@pytest.mark.parametrize("holds", ["CREATE TABLE alembic_version ()", f"{OF_OURS} CREATE TABLE voucher ()"])
def test_a_database_that_was_left_half_migrated_is_migrated_on(holds, add, bare, migrated):
    with psycopg.connect(conninfo(bare), autocommit=True) as connection:
        connection.execute(holds)
    with pytest.raises(ProgrammingError, match="does not exist"):
        add(bare)
    assert len(migrated) == 1
