"""Fifty projects on four connections: whatever fails, is cancelled or undone, nothing happens in the wrong one."""

import asyncio
import os
import random
from contextlib import suppress

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.domain.assignments.assigner import Assigner
from app.domain.lifecycle.requests import AssignmentRequest
from app.platform.database import transaction
from app.platform.driver_pool import create_driver_pool
from app.platform.engines import create_engine
from app.platform.errors import OverloadedError
from app.platform.ids import ordered_id
from app.platform.projects import everywhere, of_project
from tests.factories import add_projects

OPERATIONS = int(os.environ.get("VOUCHERS_TEST_OPERATIONS", "250"))
"""So many; 100,000 by hand."""
PROJECTS, CONNECTIONS, AT_ONCE = 50, 4, 24

# The same pools and codes but for the project's number, by which each row is known.
POOLS = text("INSERT INTO pool (project_id, name) SELECT id, 'p' FROM unnest(CAST(:ids AS integer[])) AS id")
CODES = text("""
INSERT INTO voucher (project_id, code, pool_id, draw_key)
SELECT project_id, project_id || '-' || n, pool.id, hashtextextended(n::text, 0)
FROM pool, generate_series(1, :codes) AS n WHERE project_id = ANY (CAST(:ids AS integer[]))
""")
STOCK = text("""
INSERT INTO stock (project_id, pool_id, slot, available)
SELECT project_id, id, slot, CASE slot WHEN 0 THEN :codes ELSE 0 END
FROM pool, generate_series(0, :slots - 1) AS slot WHERE project_id = ANY (CAST(:ids AS integer[]))
""")
WRITE = text("INSERT INTO customer (id, properties) VALUES (:id, '{}')")
SEE = text("""
SELECT current_setting('app.project')::integer, current_user,
    (SELECT array_agg(DISTINCT project_id) FROM pool), (SELECT array_agg(DISTINCT project_id) FROM customer)
""")
WRONG = text("""
SELECT (SELECT count(*) FROM customer WHERE id NOT LIKE project_id || '-%')
    + (SELECT count(*) FROM assignment WHERE code || customer_id NOT LIKE project_id || '-%' || project_id || '-%')
    + (SELECT count(*) FROM voucher WHERE code NOT LIKE project_id || '-%')
""")


REFUSALS = (OverloadedError, OperationalError, psycopg.OperationalError)
"""What a machine that is busy with other things answers at times."""


class UndoneError(Exception):
    """What an operation was undone for."""


class Shop:
    """What is done in one project, over connections that all of them share."""

    def __init__(self, project, engine, direct):
        self.project, self.engine = project, of_project(engine, project)
        self.assigner = Assigner(self.engine, direct.of(project))

    async def assign(self, n):
        request = AssignmentRequest(ordered_id(), customer_id=f"{self.project}-{n}")
        entry = await self.assigner.assign("p", request)
        assert entry.code.startswith(f"{self.project}-")

    async def write(self, n):
        async with transaction(self.engine) as connection:
            await connection.execute(WRITE, {"id": f"{self.project}-{n}"})
            await self.look(connection)

    async def look(self, connection):
        project, role, pools, customers = (await connection.execute(SEE)).one()
        assert (project, role, pools) == (self.project, "vouchers_service", [self.project])
        assert customers in (None, [self.project])

    async def read(self, _):
        async with transaction(self.engine) as connection:
            await self.look(connection)

    async def undo(self, n):
        with suppress(UndoneError):
            async with transaction(self.engine) as connection:
                await connection.execute(WRITE, {"id": f"undone-{n}"})
                raise UndoneError

    async def fail(self, _):
        with suppress(Exception):
            async with transaction(self.engine) as connection:
                await connection.execute(text("SELECT 1 / (count(*) - count(*)) FROM pool"))

    async def leave(self, n):
        """Be cancelled at any moment."""
        task = asyncio.create_task(random.choice((self.assign, self.write, self.read))(n))
        await asyncio.sleep(random.random() * 0.004)
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert ended is None or isinstance(ended, (asyncio.CancelledError, *REFUSALS)), ended


async def test_fifty_projects_on_four_connections_do_nothing_in_the_wrong_one(engine, settings):
    ids = await add_projects(engine, *(f"shop-{n}" for n in range(PROJECTS)))
    codes = OPERATIONS // PROJECTS + 20
    async with transaction(everywhere(engine)) as connection:
        for statement in (POOLS, CODES, STOCK):
            await connection.execute(statement, {"ids": ids, "codes": codes, "slots": 8})
    few = settings.model_copy(update={"database_connections": CONNECTIONS})
    shared = create_engine(few, checkout=60)
    kinds = ("assign", "assign", "assign", "write", "read", "undo", "fail", "leave")
    places = asyncio.Semaphore(AT_ONCE)
    async with create_driver_pool(few) as direct:
        shops = [Shop(project, shared, direct) for project in ids]

        async def operate(n):
            async with places:
                await getattr(random.choice(shops), random.choice(kinds))(n)

        results = await asyncio.gather(*(operate(n) for n in range(OPERATIONS)), return_exceptions=True)
    assert [result for result in results if result is not None and not isinstance(result, REFUSALS)] == []
    async with transaction(everywhere(engine)) as connection:
        assert (await connection.execute(WRONG)).scalar_one() == 0
        assert (await connection.execute(text("SELECT count(*) FROM assignment"))).scalar_one() > 0
        undone = "SELECT count(*) FROM customer WHERE id LIKE 'undone-%'"
        assert (await connection.execute(text(undone))).scalar_one() == 0
    # What goes back into the pool is in no project.
    for _ in range(CONNECTIONS):
        async with shared.connect() as connection:
            left = (
                await connection.execute(text("SELECT current_setting('app.project', true)"))
            ).scalar_one()
            assert not left
    await shared.dispose()
