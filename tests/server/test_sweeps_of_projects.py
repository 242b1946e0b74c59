"""Sweeps over projects: each that has something due has its turn, and the others cost nothing."""

import asyncio
import inspect
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from sqlalchemy import event, text

from app.platform import sweeping
from app.platform.database import transaction
from app.platform.jobs import enqueue, in_its_project, jobs
from app.platform.projects import DEFAULT, everywhere, of_project, project_of
from app.server import worker
from tests.factories import add_projects, fill

assert worker.TASKS
SWEEPS = [periodic.task for periodic in jobs.periodic_registry.periodic_tasks.values()]


def context_of(engine, settings):
    """What a worker gives the tasks that the clock starts."""
    manager = SimpleNamespace(delete_old_jobs=AsyncMock(), get_stalled_jobs=AsyncMock(return_value=[]))
    return SimpleNamespace(
        additional_context={"engine": engine, "settings": settings}, app=SimpleNamespace(job_manager=manager)
    )


async def sweep_all(engine, settings):
    for task in SWEEPS:
        await task.func(context_of(engine, settings), 0)


async def everywhere_(engine, statement, **values):
    async with transaction(everywhere(engine)) as connection:
        return await connection.execute(text(statement), values)


@contextmanager
def counted(engine):
    """The statements that are sent meanwhile."""
    sent = []

    def note(_connection, _cursor, statement, *_):
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


DUE = """
UPDATE voucher SET expires_at = now() - interval '1 minute' WHERE code = 'p-000000';
INSERT INTO hold (pool_id, campaign_id, size, expires_at) SELECT id, 'k', 1, now() - interval '1 minute' FROM pool;
UPDATE stock SET holds = 1;
INSERT INTO alert (pool_id, webhook_url, webhook_secret) SELECT id, 'https://x.test', 's' FROM pool;
INSERT INTO alert_threshold (pool_id, threshold) SELECT id, 3 FROM pool
"""
QUIET = """
INSERT INTO project (name) SELECT 'shop-' || n FROM generate_series(1, 1000) AS n;
INSERT INTO pool (project_id, name) SELECT id, 'p' FROM project WHERE id <> 1;
INSERT INTO stock (project_id, pool_id, slot, available) SELECT project_id, id, 0, 9 FROM pool WHERE project_id <> 1;
INSERT INTO stock_history
    (project_id, pool_id, hour, taken_at, available, reserved, assigned, redeemed, expired, void)
    SELECT project_id, id, hour, now(), 9, 0, 0, 0, 0, 0
    FROM pool, generate_series(date_trunc('hour', now()), now() + interval '1 hour', interval '1 hour') AS hour;
INSERT INTO alert (project_id, pool_id) SELECT project_id, id FROM pool WHERE project_id <> 1;
INSERT INTO alert_threshold (project_id, pool_id, threshold) SELECT project_id, pool_id, 1 FROM alert;
INSERT INTO webhook (project_id, url, secret, events, ledger_at, ledger_id, change_at, change_id)
    SELECT id, 'https://x.test', 's', '{}', now(), gen_random_uuid(), now(), 0 FROM project WHERE id <> 1
"""


async def test_each_project_is_swept_and_keeps_its_own(engine, settings, client):
    (other,) = await add_projects(engine, "other")
    projects = [of_project(engine, each) for each in (DEFAULT, other)]
    for each in projects:
        await fill(each, "p", 4)  # the same codes in both
        async with transaction(each) as connection:
            for statement in DUE.split(";"):
                await connection.execute(text(statement))
    await sweep_all(engine, settings)
    await sweep_all(engine, settings)  # what the first has done lets a threshold fall
    for each in projects:
        async with transaction(each) as connection:
            seen = "SELECT status FROM voucher WHERE code = 'p-000000'"
            assert (await connection.execute(text(seen))).scalar_one() == "expired"
            for table, n in (("hold", 0), ("stock_history", 1), ("delivery", 1)):
                assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == n, (
                    table
                )
    jobs_ = await everywhere_(
        engine,
        "SELECT (args ->> 'project')::integer AS project, args ->> 'delivery_id' AS id FROM procrastinate_jobs",
    )
    told = await everywhere_(engine, "SELECT project_id, id::text FROM delivery")
    assert {tuple(row) for row in jobs_} == {tuple(row) for row in told}


async def test_a_thousand_projects_without_anything_due_cost_no_statement_more(engine, settings):
    with counted(engine) as before:
        await sweep_all(engine, settings)
    for statement in QUIET.split(";"):
        await everywhere_(engine, statement)
    with counted(engine) as after:
        await sweep_all(engine, settings)
    assert len(after) == len(before)


async def test_a_project_that_fails_or_hangs_keeps_no_other_from_its_turn(engine):
    failing, hanging, third, fourth, elsewhere = await add_projects(engine, "a", "b", "c", "d", "elsewhere")
    await everywhere_(engine, "INSERT INTO database (name) VALUES ('other')")
    await everywhere_(
        engine,
        "UPDATE project SET database_id = (SELECT id FROM database WHERE name = 'other') WHERE name = 'elsewhere'",
    )
    turns = []

    async def lookup(_):
        return [failing, hanging, third, fourth, elsewhere]

    async def turn(bound):
        turns.append(project_of(bound))
        if turns[-1] == failing:
            raise RuntimeError
        if turns[-1] == hanging:
            await asyncio.sleep(60)

    for _ in range(2):
        await sweeping.each_due(engine, "test", lookup, turn, side_by_side=1, seconds=0.05)
    twice = [failing, third, fourth]  # what hung is left out for a while; what lives elsewhere is swept there
    assert sorted(turns) == sorted([*twice, *twice, hanging])
    sweeping._taken.clear()
    await sweeping.each_due(engine, "test", lookup, turn, seconds=0.05)
    assert turns.count(hanging) == 2
    sweeping._taken.clear()


async def test_a_project_is_swept_by_one_run_at_a_time(engine):
    turns, begun, go_on = [], asyncio.Event(), asyncio.Event()

    async def lookup(_):
        return [DEFAULT]

    async def turn(bound):
        turns.append(project_of(bound))
        begun.set()
        await go_on.wait()

    first = asyncio.create_task(sweeping.each_due(engine, "test", lookup, turn))
    await begun.wait()
    await sweeping.each_due(engine, "test", lookup, turn)
    go_on.set()
    await first
    assert turns == [DEFAULT]
    assert not sweeping._taken


async def test_a_look_up_in_rounds_reads_so_much_at_a_time_and_comes_round(engine):
    ids = await add_projects(engine, *(f"shop-{n}" for n in range(5)))
    look = sweeping.Rounds(
        "SELECT id AS project_id, 0 AS key FROM project WHERE (id, 0) > {after}", "true", most=4
    )
    async with transaction(everywhere(engine)) as connection:
        found = [sorted(await look(connection)) for _ in range(4)]
    everyone = [DEFAULT, *ids]
    assert found == [everyone[:4], everyone[4:], everyone[:4], everyone[4:]]


async def test_a_job_is_run_in_the_project_that_it_was_queued_in(engine):
    (other,) = await add_projects(engine, "other")
    for project in (DEFAULT, other):
        async with transaction(of_project(engine, project)) as connection:
            await enqueue(connection, "replay_mapping", lock="redemptions")
    rows = (await everywhere_(engine, "SELECT args, lock FROM procrastinate_jobs ORDER BY id")).all()
    assert [(row.args, row.lock) for row in rows] == [
        ({"project": DEFAULT}, f"redemptions/{DEFAULT}"),
        ({"project": other}, f"redemptions/{other}"),
    ]


@pytest.mark.parametrize(
    ("arguments", "project"), [({}, DEFAULT), ({"project": 7}, 7), ({"timestamp": 0}, None)]
)
async def test_the_task_need_not_know_of_its_project(arguments, project):
    """A job that the release before has queued names none: it is of `default`; what the clock starts is of none."""
    context = SimpleNamespace(job=SimpleNamespace(task_kwargs=dict(arguments)), additional_context={})

    async def run():
        return context.job.task_kwargs

    left = await in_its_project(run, context, None)
    assert left == {name: value for name, value in arguments.items() if name == "timestamp"}
    assert context.additional_context.get("project") == project


def test_every_task_of_the_clock_is_swept_above():
    assert len(SWEEPS) >= 13
    assert all(list(inspect.signature(task.func).parameters) == ["context", "timestamp"] for task in SWEEPS)
