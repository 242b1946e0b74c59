"""Projects have their turns at the job queue, and none takes all places of a worker."""

import pytest
from procrastinate import PsycopgConnector
from procrastinate.jobs import Status
from sqlalchemy import text

from app.platform.database import transaction
from app.platform.engines import job_pool_arguments
from app.platform.fair_queue import FairJobs, places_of
from app.platform.jobs import FETCHES, LONG, URGENT
from app.platform.projects import everywhere

QUEUE = text("""
INSERT INTO procrastinate_jobs (queue_name, task_name, lock, priority, args)
VALUES (:queue, 'run_import', :lock, :priority, CAST(:args AS jsonb))
""")


@pytest.fixture
async def handing(settings):
    """Hands out jobs: two of a project at a time, in each queue."""
    connector = PsycopgConnector(**job_pool_arguments(settings))
    await connector.open_async()
    manager = FairJobs(connector, {LONG: 2, FETCHES: 2, URGENT: 2})
    yield manager, await manager.register_worker()
    await connector.close_async()


@pytest.fixture
def queue(engine):
    async def queue(*projects, queue=LONG, lock=None, priority=0):
        async with transaction(everywhere(engine)) as connection:
            for project in projects:
                shown = "{}" if project is None else f'{{"project": {project}}}'
                values = {"queue": queue, "lock": lock, "priority": priority, "args": shown}
                await connection.execute(QUEUE, values)

    return queue


async def handed_out(handing, n, queue=LONG):
    """The projects of the next jobs; None where nothing may be begun."""
    manager, worker = handing
    jobs = [await manager.fetch_job([queue], worker) for _ in range(n)]
    return [None if job is None else job.task_kwargs.get("project", 0) for job in jobs], jobs


async def test_ten_long_imports_of_a_project_leave_a_place_to_the_others(handing, queue):
    manager, _ = handing
    assert places_of(2) == 3
    await queue(*[2] * 10)
    projects, running = await handed_out(handing, 3)
    assert projects == [2, 2, None]  # a place is free, and not for this one
    await queue(3, 3)
    assert (await handed_out(handing, 2))[0] == [3, None]
    await manager.finish_job(running[0], Status.SUCCEEDED, delete_job=True)
    assert (await handed_out(handing, 1))[0] == [None]  # the last free place is for a project that has none
    await queue(4)
    assert (await handed_out(handing, 1))[0] == [4]


async def test_a_full_queue_of_one_project_keeps_no_other_waiting_for_its_turn(handing, queue):
    manager, worker = handing
    await queue(*[2] * 20, *[3] * 2, 5, queue=URGENT)
    order = []
    for _ in range(8):
        job = await manager.fetch_job([URGENT], worker)
        order.append(job.task_kwargs["project"])
        await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
    assert order == [2, 3, 5, 2, 3, 2, 2, 2]


async def test_what_the_clock_starts_comes_first_and_is_kept_to_no_share(handing, queue):
    await queue(2, 2, 3)
    await queue(None, None)
    assert (await handed_out(handing, 3))[0] == [0, 0, 2]


async def test_of_jobs_with_one_lock_one_is_run_and_a_later_hour_is_waited_for(handing, queue, engine):
    await queue(2, 2, lock="redemptions/2")
    await queue(2)
    async with transaction(everywhere(engine)) as connection:
        later = "UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 hour' WHERE lock IS NULL"
        await connection.execute(text(later))
    manager, _ = handing
    projects, jobs = await handed_out(handing, 2)
    assert projects == [2, None]
    await manager.finish_job(jobs[0], Status.SUCCEEDED, delete_job=True)
    projects, again = await handed_out(handing, 2)
    assert projects == [2, None]
    assert again[0].id > jobs[0].id


async def test_of_a_project_the_more_important_job_comes_first_and_queues_are_apart(handing, queue):
    await queue(2)
    await queue(2, priority=5)
    await queue(2, queue=FETCHES)
    _, jobs = await handed_out(handing, 2)
    assert [job.priority for job in jobs] == [5, 0]
    assert (await handed_out(handing, 1, FETCHES))[0] == [2]


async def test_a_job_is_found_behind_many_projects_that_have_none_for_now(handing, queue, engine):
    later = "UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 hour'"
    await queue(*range(2, 150))
    async with transaction(everywhere(engine)) as connection:
        await connection.execute(text(later))
    assert (await handed_out(handing, 1))[0] == [None]
    await queue(150, 5)
    assert (await handed_out(handing, 3))[0] == [5, 150, None]
