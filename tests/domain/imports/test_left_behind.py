"""Imports whose command line was killed have no job, and go on all the same."""

import asyncio
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app.domain.imports import beginning, tasks
from app.domain.imports.merging import pipeline
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import codes, queue, shown

OLD = "UPDATE import SET created_at = now() - interval '2 minutes'"
QUEUED = "SELECT args ->> 'import_id' FROM procrastinate_jobs WHERE task_name = 'run_import' ORDER BY id"


@pytest.fixture
def sweep(engine):
    """Run the sweep; the ids of the imports that have jobs then."""

    async def run():
        await tasks.take_up_imports.func(SimpleNamespace(additional_context={"engine": engine}), 0)
        async with transaction(engine) as connection:
            return list((await connection.execute(text(QUEUED))).scalars())

    return run


async def test_an_import_that_was_left_behind_goes_on(client, engine, settings, sweep):
    left = await queue(engine, "code\nA1\nA2\n")
    assert await sweep() == []  # it may only just begin
    async with transaction(engine) as connection:
        await connection.execute(text(OLD))
    assert await sweep() == [str(left)]
    assert await sweep() == [str(left)]  # once is enough
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, left)
    assert (await shown(client, left))["status"] == "succeeded"
    assert await codes(client) == {"A1", "A2"}


async def test_one_that_is_run_has_a_job_or_has_ended_is_left_alone(engine, settings, sweep):
    with_job, ended, running = [await queue(engine, f"code\nB{n}\n") for n in range(3)]
    async with transaction(engine) as connection:
        await beginning.begin(connection, with_job)
        await connection.execute(text(OLD))
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, ended)
    with pipeline._connect(settings, DEFAULT) as of_its_run:
        pipeline._lock(of_its_run, running, 0)
        assert await asyncio.create_task(sweep()) == [str(with_job)]
    assert await sweep() == [str(with_job), str(running)]  # it was killed
