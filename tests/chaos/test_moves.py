"""Projects move to another database and back under everything that callers do; the mover is killed wherever it is.

`VOUCHERS_TEST_MOVES=50` makes so many moves, of eight projects.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from app.domain.projects.moving import service
from app.platform.database_url import conninfo
from app.platform.engines import create_engine
from app.platform.postgres.server import LocalPostgres
from app.platform.projects import of_project
from app.platform.settings import Settings
from tests.chaos.mixed import Book, Callers, audit_books
from tests.chaos.promises import REFUSED, SLACK
from tests.factories import add_key, fill
from tests.logical import logical_server
from tests.receivers import Receiver
from tests.service import Service
from tests.worker import eventually

MOVES = int(os.environ.get("VOUCHERS_TEST_MOVES", "3"))
PROJECTS = 8 if MOVES > 10 else 3
CODES = 20_000
PAUSE_SECONDS = 2.0
KEPT = timedelta(hours=1)
MAPPING = {"mappings": [{"event_type": "purchase", "property": "code"}]}
HOOK = {"events": ["voucher.assigned", "voucher.released", "voucher.redeemed"], "pools": ["p"]}


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
        reachable = {"VOUCHERS_ALLOWED_HOSTS": "127.0.0.1"}
        served = Service(workers=1, DATABASE_URL=main.url, **reachable)
        try:
            await asyncio.to_thread(served.start)
            two = Two(served, {"main": main, "other": other})
            added = await asyncio.to_thread(served.run, "database", "add", "other", "--url", other.url)
            assert added.returncode == 0, added.stderr
            yield two
        finally:
            await asyncio.to_thread(served.__exit__)


async def test_projects_move_under_everything_that_callers_do():
    async with two_databases() as two, contextlib.AsyncExitStack() as stack:
        shops = [await two.shop(f"shop{n}") for n in range(PROJECTS)]
        receiver = Receiver()
        await receiver.up()
        stack.push_async_callback(receiver.down)
        callers = []
        for shop in shops:
            async with two.service.client() as client:
                client.headers["Authorization"] = f"Bearer {shop.key}"
                assert (await client.put("/v1/redemption-mapping", json=MAPPING)).status_code == 200
                if shop is shops[0]:
                    made = await client.post("/v1/webhooks", json={**HOOK, "url": receiver.url})
                    assert made.status_code == 201, made.text
            many = Callers(two.service, random.randrange(2**32), many=3, key=shop.key)
            many.book.within = REFUSED
            callers.append(await stack.enter_async_context(many))
        await eventually(lambda: len(callers[0].book.keys) > 20, 30)
        page = (await callers[0].ask("GET", "/v1/assignments?limit=5")).json()
        at = dict.fromkeys(range(PROJECTS), "main")
        pauses: list[float] = []
        said: list[str] = []
        for n in range(MOVES):
            moved = 0 if n < 2 else random.randrange(PROJECTS)
            at[moved] = "other" if at[moved] == "main" else "main"
            before = [len(many.book.keys) for many in callers]
            arguments = (two.settings("main"), shops[moved].name, at[moved], KEPT, said.append)
            pauses.append(await asyncio.to_thread(service.move, *arguments))
            sys.stdout.write(
                f"\n{n + 1}. {shops[moved].name} to {at[moved]}: a pause of {pauses[-1]:.2f} s\n"
            )
            for many, count in zip(callers, before, strict=True):
                await eventually(lambda: len(many.book.keys) > count + 20, 30)  # noqa: B023  (called at once)
        for many in callers:
            await many.rest()
        sys.stdout.write("\n".join(str(dict(many.book.statuses)) for many in callers))
        assert max(pauses) <= PAUSE_SECONDS * SLACK, pauses
        for many in callers:
            await audit_books(many)
        rest = await callers[0].ask("GET", f"/v1/assignments?limit=5&cursor={page['next_cursor']}")
        assert rest.status_code == 200
        assert rest.json()["items"]
        assert not {row["id"] for row in page["items"]} & {row["id"] for row in rest.json()["items"]}
        await _told(receiver, made.json()["secret"], callers[0].book)
        checked = await asyncio.to_thread(two.service.run, "check")
        assert checked.returncode == 0, checked.stdout


async def _told(receiver: Receiver, secret: str, book: Book) -> None:
    """Hold what a webhook was told against what happened: all of it, in order, whichever database it happened in."""
    expected = {("voucher.assigned", code) for code in book.held()}
    expected |= {("voucher.redeemed", code) for code in book.used.values()}

    def arrived() -> list[dict[str, Any]]:
        payloads = [request.verified_at_any_age(secret) for request in receiver.received]
        events = [event for payload in payloads for event in payload["data"]["events"]]
        return list(
            {event["id"]: event for event in events}.values()
        )  # in the order in which each came first

    await eventually(lambda: expected <= {(event["type"], event["data"]["code"]) for event in arrived()}, 60)
    times = [event["timestamp"] for event in arrived()]
    assert times == sorted(times, key=lambda moment: moment.ljust(27, "0"))
