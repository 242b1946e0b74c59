"""Projects move to another database and back under everything that callers do; the mover is killed wherever it is.

`VOUCHERS_TEST_MOVES=50` makes so many moves, of eight projects.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from app.domain.projects.moving import service
from app.platform.database_url import conninfo
from app.platform.engines import create_engine
from app.platform.postgres.server import LocalPostgres
from app.platform.projects import of_project
from app.platform.settings import Settings
from tests.chaos.mixed import Callers, audit_books
from tests.chaos.promises import REFUSED
from tests.factories import add_key, fill
from tests.logical import logical_server
from tests.service import Service
from tests.worker import eventually

MOVES = int(os.environ.get("VOUCHERS_TEST_MOVES", "3"))
PROJECTS = 8 if MOVES > 10 else 3
CODES = 20_000
PAUSE_SECONDS = 2.0
KEPT = timedelta(hours=1)


@dataclass
class Shop:
    """A project, and a key to it."""

    name: str
    id: int
    key: str


@dataclass
class Two:
    """The service, and the two databases of its projects."""

    service: Service
    servers: dict[str, LocalPostgres]

    def ask(self, database: str, query: str) -> list[tuple]:
        with psycopg.connect(conninfo(self.servers[database].url), autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def settings(self, database: str) -> Settings:
        return Settings(DATABASE_URL=self.servers[database].url, log_level="ERROR")

    async def shop(self, name: str, codes: int = CODES) -> Shop:
        """Make a project in `main`, with a pool."""
        ((number,),) = self.ask("main", f"INSERT INTO project (name) VALUES ('{name}') RETURNING id")
        engine = of_project(create_engine(self.settings("main")), number)
        key = f"key-of-{name}-0123456789-0123456789-0123456789"
        await add_key(engine, key, "admin", project_id=number)
        await fill(engine, "p", [f"{name}-{n:06}" for n in range(codes)])
        await engine.dispose()
        return Shop(name, number, key)


@contextlib.asynccontextmanager
async def two_databases() -> AsyncIterator[Two]:
    with logical_server() as main, logical_server() as other:
        served = Service(workers=1, DATABASE_URL=main.url)
        try:
            await asyncio.to_thread(served.start)
            two = Two(served, {"main": main, "other": other})
            added = await asyncio.to_thread(served.run, "database", "add", "other", "--url", other.url)
            assert added.returncode == 0, added.stderr
            yield two
        finally:
            await asyncio.to_thread(served.__exit__)


async def test_projects_move_under_everything_that_callers_do(record_property):
    async with two_databases() as two, contextlib.AsyncExitStack() as stack:
        shops = [await two.shop(f"shop{n}") for n in range(PROJECTS)]
        callers = []
        for shop in shops:
            many = Callers(two.service, random.randrange(2**32), many=3, key=shop.key)
            many.book.within = REFUSED
            callers.append(await stack.enter_async_context(many))
            mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
            assert (await many.ask("PUT", "/v1/redemption-mapping", mapping)).status_code == 200
        at = dict.fromkeys(range(PROJECTS), "main")
        pauses, said = [], []
        for n in range(MOVES):
            moved = 0 if n < 2 else random.randrange(PROJECTS)
            at[moved] = "other" if at[moved] == "main" else "main"
            before = [len(many.book.keys) for many in callers]
            arguments = (two.settings("main"), shops[moved].name, at[moved], KEPT, said.append)
            pauses.append(await asyncio.to_thread(service.move, *arguments))
            for many, count in zip(callers, before, strict=True):
                await eventually(lambda: len(many.book.keys) > count + 20, 30)  # noqa: B023  (called at once)
        for many in callers:
            await many.rest()
        record_property("said", [f"pauses {pauses}", *(dict(many.book.statuses) for many in callers)])
        assert max(pauses) <= PAUSE_SECONDS, pauses
        for many in callers:
            await audit_books(many)
        checked = await asyncio.to_thread(two.service.run, "check")
        assert checked.returncode == 0, checked.stdout
