"""However long an outage was: the first who asks after it is served, for no pause grows while the database is away."""

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.platform import connections, engines
from app.platform.database import autocommit
from app.platform.driver_pool import create_driver_pool
from app.platform.engines import create_engine, job_pool_arguments

TRIES = 300
"""More than any back-off needs to reach its longest pause."""


class Outage:
    """Stands before the way to the database, and counts who tries it."""

    def __init__(self, real):
        self.real, self.tries, self.over = real, 0, False

    async def connect(self, *arguments, **options):
        self.tries += 1
        if not self.over:
            raise psycopg.OperationalError("connection refused")
        return await self.real(*arguments, **options)


@pytest.fixture(params=["engine", "direct"])
def outage(request, settings, monkeypatch):
    outage = Outage(connections.connect)
    if request.param == "engine":
        monkeypatch.setattr(engines, "connect", outage.connect)
        engine = create_engine(settings)

        async def ask():
            async with autocommit(engine) as connection:
                await connection.execute(text("SELECT 1"))

        return outage, ask, engine.dispose, OperationalError
    monkeypatch.setattr("app.platform.driver_pool.connect", outage.connect)
    pool = create_driver_pool(settings)

    async def ask():
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")

    return outage, ask, pool.close, psycopg.OperationalError


async def test_the_first_who_asks_after_an_outage_is_served(outage):
    outage, ask, close, refusal = outage
    for tried in range(1, TRIES + 1):
        with pytest.raises(refusal):
            await ask()
        assert outage.tries == tried  # each tries by itself, and none is told what another one found
    outage.over = True
    await ask()
    assert outage.tries == TRIES + 1
    await ask()
    assert outage.tries == TRIES + 1
    await close()


def test_the_pool_of_the_queue_gives_up_before_its_pauses_grow(settings):
    assert job_pool_arguments(settings)["reconnect_timeout"] <= 2
