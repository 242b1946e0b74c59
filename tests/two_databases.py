"""A service with a further database, on the same server as the control database, and a project in each."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import psycopg
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.projects import elsewhere, service
from app.domain.projects.databases import service as databases
from app.domain.projects.databases.placing import choose
from app.platform.database import transaction
from app.platform.database_url import conninfo
from app.platform.databases import settings_of
from app.platform.engines import create_engine
from app.platform.projects import everywhere, of_project
from app.platform.settings import Settings
from tests.conftest import DATABASE, drop
from tests.factories import add_key
from tests.shops import Shop, client_of

SECOND = "second"


@contextmanager
def copy_of(server_url: str, name: str) -> Iterator[str]:
    """A migrated, empty database beside the one of the tests, which nobody is connected to."""
    server = make_url(server_url).set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(conninfo(server), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE}")
        try:
            yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
        finally:
            drop(connection, name)


@dataclass
class Two:
    """A project in the control database and one in the further one, and that database."""

    here: Shop
    there: Shop
    settings: Settings
    """Of the further database."""
    second: AsyncEngine
    """To it, over all projects."""
    database_id: int


async def add(engine: AsyncEngine, settings: Settings, name: str, url: str) -> None:
    """Take a database into the service."""
    other = create_engine(settings_of(settings, url), 1)
    try:
        async with transaction(everywhere(engine)) as connection, everywhere(other).connect() as there:
            await databases.add(connection, there, settings, name, url)
    finally:
        await other.dispose()


async def open_shop(app, engine: AsyncEngine, settings: Settings, name: str, database: str, url: str) -> Shop:
    """A project in a database, with a key that may do everything in it."""
    database_id = await choose(engine, settings, database)
    async with transaction(engine) as connection:
        project = await service.create(connection, None, name, database_id)
    await elsewhere.tell(engine, settings, project.id)
    secret = f"key-of-{name}-0123456789-0123456789-0123456789"
    await add_key(engine, secret, "admin", project_id=project.id)
    own = of_project(create_engine(settings_of(settings, url), 2), project.id)
    return Shop(project.id, name, secret, client_of(app, secret), own)


@asynccontextmanager
async def two_databases(app, engine: AsyncEngine, settings: Settings, url: str) -> AsyncIterator[Two]:
    """A shop in each of two databases."""
    await add(engine, settings, SECOND, url)
    database_id = await choose(engine, settings, SECOND)
    assert settings.database_url is not None
    here = await open_shop(app, engine, settings, "here", "main", settings.database_url)
    there = await open_shop(app, engine, settings, "there", SECOND, url)
    try:
        yield Two(here, there, settings_of(settings, url), everywhere(there.engine), database_id)
    finally:
        for shop in (here, there):
            await shop.client.aclose()
            await shop.engine.dispose()
