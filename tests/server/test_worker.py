"""Jobs that the release before has queued are run by this one: a task's name is stored with each job."""

import pytest
from sqlalchemy import text

from app.platform.jobs import jobs
from app.server import worker as program
from tests.factories import fill
from tests.worker import eventually, worker_process

# As version 0.1.0 stored them: the path of the task's module at the time.
NAMES = [
    "app.alerts.tasks.tell_expiring",
    "app.alerts.tasks.tell_fallen",
    "app.deliveries.tasks.deliver",
    "app.deliveries.tasks.forget_deliveries",
    "app.forecast.tasks.keep_stock_history",
    "app.holds.tasks.sweep_holds",
    "app.imports.tasks.run_import",
    "app.jobs.retry_stalled_jobs",
    "app.redemptions.tasks.replay_mapping",
    "app.redemptions.tasks.resolve_redemptions",
    "app.redemptions.tasks.sweep_redemptions",
    "app.schedules.tasks.begin_due_schedules",
    "app.vouchers.tasks.sweep_vouchers",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_known_by_its_old_name(name):
    assert program.TASKS
    assert jobs.tasks[name] is jobs.tasks[name.rpartition(".")[2]]


async def test_an_import_that_was_queued_under_the_old_name_is_run(client, engine, settings):
    await fill(engine, "p", ["A-1"])
    file = {"file": ("c.csv", "code\nA-1\nA-2\n")}
    location = (await client.post("/v1/pools/p/imports", files=file)).headers["Location"]
    async with engine.begin() as connection:
        renamed = await connection.execute(
            text("UPDATE procrastinate_jobs SET task_name = 'app.imports.tasks.run_import'")
        )
        assert renamed.rowcount == 1

    async def done():
        found = (await client.get(location)).json()
        return found if found["status"] == "succeeded" else None

    with worker_process(settings):
        found = await eventually(done)
    assert (found["imported"], found["ignored"]) == (1, 1)
