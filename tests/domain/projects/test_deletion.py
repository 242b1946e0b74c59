"""A project is deleted with all that it holds, in small transactions, and nothing of another one is touched."""

import asyncio
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app.domain.pools import service as pools
from app.domain.projects import deletion, queries, service, tasks
from app.platform.database import transaction
from app.platform.projects import everywhere
from tests.factories import fill
from tests.shops import furnish, shops


async def held(engine, project_id):
    """How many rows of a project each table has."""
    async with transaction(everywhere(engine)) as connection:
        found = {}
        for table in [*queries.tables(), "api_key"]:
            query = text(f'SELECT count(*) FROM "{table}" WHERE project_id = :id')
            found[table] = (await connection.execute(query, {"id": project_id})).scalar_one()
        count = text(
            "SELECT count(*) FROM procrastinate_jobs WHERE args ->> 'project' = :id AND task_name <> 'delete_project'"
        )
        found["jobs"] = (await connection.execute(count, {"id": str(project_id)})).scalar_one()
        return found


async def begin(engine, name):
    async with transaction(engine) as connection:
        await service.delete(connection, None, name, name)


@pytest.fixture
def dying(monkeypatch):
    """Has the deletion die after each fourth batch, ten times."""
    some, seen = queries.delete_some, []

    async def die(connection, table, project_id, after, rows):
        last = await some(connection, table, project_id, after, rows)
        seen.append(table)
        if len(seen) <= 40 and len(seen) % 4 == 0:
            raise ConnectionError
        return last

    monkeypatch.setattr(queries, "delete_some", die)


async def test_all_of_one_project_goes_wherever_it_is_broken_off_and_nothing_of_another(app, engine, dying):
    async with shops(app, engine, "doomed", "other") as (doomed, other):
        for shop in (doomed, other):
            await furnish(shop, "x")
            once = {"Idempotency-Key": "k"}
            await shop.client.post("/v1/pools", json={"name": "kept"}, headers=once)
        theirs, before = await held(engine, doomed.id), await held(engine, other.id)
        assert theirs == before
        assert sum(n > 0 for n in theirs.values()) > 20
        await begin(engine, "doomed")
        for _ in range(10):
            with pytest.raises(ConnectionError):
                await deletion.run(engine, doomed.id, 0, rows=5)
        await deletion.run(engine, doomed.id, 0, rows=5)
        assert set((await held(engine, doomed.id)).values()) == {0}
        assert await held(engine, other.id) == before
        async with transaction(engine) as connection:
            names = [each.name for each in await service.list_page(connection, None, None)]
        assert names == ["default", "other"]
        async with transaction(doomed.engine) as connection:
            await pools.ensure(connection, "late")
        await deletion.run(engine, doomed.id, 0)
        assert set((await held(engine, doomed.id)).values()) == {0}


async def test_a_transaction_deletes_no_more_than_so_many_rows(app, engine, monkeypatch):
    async with shops(app, engine, "doomed") as (doomed,):
        async with transaction(doomed.engine) as connection:
            for n in range(12):
                await pools.ensure(connection, f"p{n}")
        some, sizes = queries.delete_some, []

        async def counted(connection, table, project_id, after, rows):
            if table != "pool":
                return await some(connection, table, project_id, after, rows)
            left = text("SELECT count(*) FROM pool")
            before = (await connection.execute(left)).scalar_one()
            last = await some(connection, table, project_id, after, rows)
            sizes.append(before - (await connection.execute(left)).scalar_one())
            return last

        monkeypatch.setattr(queries, "delete_some", counted)
        await begin(engine, "doomed")
        await deletion.run(engine, doomed.id, 0, rows=5)
        assert sizes == [5, 5, 2]


async def test_what_a_request_writes_that_was_let_in_before_goes_too(app, engine, monkeypatch):
    forget, passes = queries.forget_jobs, []

    async def written_meanwhile(connection, project_id, task):
        await forget(connection, project_id, task)
        passes.append(project_id)
        if len(passes) < 3:
            await pools.ensure(connection, f"late{len(passes)}")

    monkeypatch.setattr(queries, "forget_jobs", written_meanwhile)
    async with shops(app, engine, "doomed") as (doomed,):
        await begin(engine, "doomed")
        await deletion.run(engine, doomed.id, 0)
        assert len(passes) == 3
        assert set((await held(engine, doomed.id)).values()) == {0}


async def test_the_project_stands_as_long_as_a_key_may_still_be_honoured(app, engine):
    async with shops(app, engine, "doomed") as (doomed,):
        await begin(engine, "doomed")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await deletion.run(engine, doomed.id, 3600)
        async with transaction(engine) as connection:
            assert (await service.get(connection, "doomed")).deleting_since is not None


async def test_the_job_deletes_a_project_also_the_one_whose_key_asked_for_it(
    app, engine, settings, monkeypatch
):
    monkeypatch.setattr(service, "LINGER_SECONDS", 0)
    async with shops(app, engine, "doomed") as (doomed,):
        await begin(doomed.engine, "doomed")
        context = SimpleNamespace(
            additional_context={"engine": engine, "settings": settings, "project": doomed.id}
        )
        await tasks.delete_project(context, doomed=doomed.id)
        assert set((await held(engine, doomed.id)).values()) == {0}


async def test_no_project_is_deleted_that_nobody_asked_to_delete(app, engine):
    async with shops(app, engine, "asked", "other") as (_, other):
        for own in (engine, other.engine):
            await fill(own, "p", 3)
        before = [await held(engine, project_id) for project_id in (1, other.id)]
        await begin(engine, "asked")
        for project_id in (1, other.id):
            await deletion.run(engine, project_id, 0)
        after = [await held(engine, project_id) for project_id in (1, other.id)]
        assert [each["voucher"] for each in after] == [3, 3]
        assert after[1] == before[1]
