"""Jobs that the release before has queued are run by this one: a task's name is stored with each job."""

import asyncio
import contextlib
from types import SimpleNamespace
from unittest.mock import Mock

import psycopg
import pytest
from procrastinate.exceptions import ConnectorException
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.domain.redemptions import service as redemptions
from app.platform import background
from app.platform.jobs import jobs
from app.server import worker as program
from tests.factories import add_key, add_projects, fill
from tests.worker import PROJECT, eventually, worker_process, working

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


def test_the_worker_knows_every_module_that_defines_tasks():
    defining = {
        ".".join(file.relative_to(PROJECT).with_suffix("").parts)
        for file in (PROJECT / "app").rglob("*.py")
        if "@jobs.task(" in file.read_text()
    }
    assert defining == {module.__name__ for module in (*program.TASKS, program)}


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_known_by_its_old_name(name):
    assert program.TASKS
    assert jobs.tasks[name] is jobs.tasks[name.rpartition(".")[2]]


@pytest.mark.long
async def test_jobs_of_the_release_before_and_those_of_another_project_are_run_where_they_belong(
    client, engine, settings
):
    await fill(engine, "p", ["A-1"])
    file = {"file": ("c.csv", "code\nA-1\nA-2\n")}
    location = (await client.post("/v1/pools/p/imports", files=file)).headers["Location"]
    before = (
        "UPDATE procrastinate_jobs SET task_name = 'app.imports.tasks.run_import', args = args - 'project'"
    )
    async with engine.begin() as connection:
        renamed = await connection.execute(text(before))
        assert renamed.rowcount == 1
    (other,) = await add_projects(engine, "other")
    await add_key(engine, "o" * 40, "admin", project_id=other)
    theirs = {"Authorization": f"Bearer {'o' * 40}"}
    elsewhere = (await client.post("/v1/pools/p/imports", files=file, headers=theirs)).headers["Location"]
    use = {"event_id": "e", "customer_id": "c", "event_type": "purchase", "properties": {"code": "A-1"}}
    await client.post("/v1/events", json={"events": [use]}, headers=theirs)
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    await client.put("/v1/redemption-mapping", json=mapping, headers=theirs)

    async def done():
        found = [
            (await client.get(place, headers=headers)).json()
            for place, headers in ((location, {}), (elsewhere, theirs))
        ]
        redeemed = (await client.get("/v1/pools/p/counts", headers=theirs)).json()["redeemed"]
        return redeemed and [each["status"] for each in found] == ["succeeded"] * 2 and found

    with worker_process(settings):
        found = await eventually(done)
    assert [(each["imported"], each["ignored"]) for each in found] == [(1, 1), (2, 0)]
    assert (await client.get("/v1/pools/p/counts")).json()["redeemed"] == 0
    assert (await client.get(elsewhere)).status_code == 404


@pytest.mark.long
async def test_a_stalled_job_whose_next_run_is_queued_holds_up_no_other(engine, settings):
    """Two jobs of a dead worker: one has a successor with the same queueing lock, the other is run again."""
    async with engine.begin() as connection:
        dead = (
            await connection.execute(
                text(
                    "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour') RETURNING id"
                )
            )
        ).scalar_one()
        for status, task, lock in (("doing", "sweep_redemptions", "swept"), ("todo", "sweep_redemptions", "swept"),
                                   ("doing", "sweep_vouchers", "other")):  # fmt: skip
            await connection.execute(
                text(
                    "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, args, status, worker_id,"
                    " scheduled_at) VALUES ('default', :task, :lock, '{\"timestamp\": 0}', CAST(:status AS"
                    " procrastinate_job_status), :worker, CASE WHEN :status = 'todo' THEN now() + interval '1h' END)"
                ),
                {"task": task, "lock": lock, "status": status, "worker": dead if status == "doing" else None},
            )

    async def ended():
        async with engine.connect() as connection:
            query = (
                "SELECT DISTINCT status::text FROM procrastinate_jobs WHERE queueing_lock = :lock ORDER BY 1"
            )
            return [
                [row.status for row in await connection.execute(text(query), {"lock": lock})]
                for lock in ("swept", "other")
            ] == [["failed", "todo"], []]  # what succeeded is deleted

    with worker_process(settings):
        await eventually(ended, seconds=30)


def test_what_no_clock_begins_goes_on_where_its_worker_was_told_to_stop():
    """Of `resolve_redemptions` the sweep does the same within a minute."""
    by_the_clock = {each.task.name for each in jobs.periodic_registry.periodic_tasks.values()}
    asked_for = [task for task in jobs.tasks.values() if not task.name.startswith("builtin:")]
    stopped = {"exception": asyncio.CancelledError(), "job": SimpleNamespace(id=1, attempts=0)}
    assert {
        task.name
        for task in asked_for
        if task.name not in by_the_clock and task.get_retry_exception(**stopped) is None
    } == {"resolve_redemptions"}


@pytest.mark.long
async def test_a_replay_amid_which_its_worker_is_stopped_is_done_by_the_next_one(
    client, engine, settings, monkeypatch
):
    codes = await fill(engine, "p", 3)
    uses = [{"customer_id": "c", "event_type": "purchase", "properties": {"code": code}} for code in codes]
    await client.post("/v1/events", json={"events": uses})
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    await client.put("/v1/redemption-mapping", json=mapping)
    begun = asyncio.Event()

    async def endless(*_):
        begun.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(redemptions, "_replay_some", endless)
        async with working(settings.model_copy(update={"stop_seconds": 6})):  # jobs have a second of it
            await eventually(begun.is_set)

    async def all_redeemed():
        return (await client.get("/v1/pools/p/counts")).json()["redeemed"] == len(codes)

    assert not await all_redeemed()
    async with working(settings):
        await eventually(all_redeemed)


async def test_a_task_that_loses_its_cancellation_is_told_again():
    """As `asyncio.wait_for` does before Python 3.12, when what it waits for comes at the same moment."""

    async def lose_one() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    task = asyncio.create_task(lose_one())
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await program._end([task], 0.05)
    assert task.cancelled()


async def test_a_runner_that_loses_its_cancellation_stops_all_the_same():
    """It would else take the whole time that jobs have to finish, though it runs none."""

    class Runner:
        def __init__(self) -> None:
            self.stopped = asyncio.Event()

        def stop(self) -> None:
            self.stopped.set()

        async def run(self) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            await self.stopped.wait()

    async with asyncio.timeout(5):
        await program._until_one_ends([Runner(), Runner()], asyncio.sleep(0), seconds=60)


async def test_only_what_tells_of_the_database_is_told_as_its_loss_and_the_worker_goes_on_after_all(
    settings, monkeypatch
):
    lost = [psycopg.OperationalError(), ConnectorException(), TimeoutError(), SQLAlchemyError()]
    ends = [*lost, ValueError("of ours"), None]

    async def run(stop, *_):
        if (end := ends.pop(0)) is not None:
            raise end
        stop.set()

    async def wait_for(*_, **__):
        pass

    for module, name, value in (
        (program, "_run", run),
        (program, "wait_for", wait_for),
        (program, "PAUSE_SECONDS", 0.01),
        (program, "log", told := Mock()),
        (background, "PAUSE_SECONDS", 0.01),
        (background, "log", faults := Mock()),
    ):
        monkeypatch.setattr(module, name, value)
    async with asyncio.timeout(10):
        await program.work(settings)
    assert [call.kwargs["error"] for call in told.error.call_args_list] == [
        type(each).__name__ for each in lost
    ]
    faults.exception.assert_called_once()
    assert faults.exception.call_args.kwargs["task"] == "jobs"


@pytest.mark.long
async def test_a_worker_that_is_stopped_as_it_starts_ends_soon_and_leaves_no_pool_behind(settings):
    """The tasks of a pool that is left open outlive their cancellation, and so would the process."""
    for n in range(30):
        task = asyncio.create_task(program.work(settings))
        await asyncio.sleep(n / 200)
        task.cancel()
        async with asyncio.timeout(settings.stop_seconds / 2):
            await asyncio.gather(task, return_exceptions=True)
        left = [each.get_name() for each in asyncio.all_tasks() if each.get_name().startswith("pool-")]
        assert left == [], n
