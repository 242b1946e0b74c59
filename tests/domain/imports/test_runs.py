"""Runs that are killed, doubled or raced: figures add up whatever happens."""

import asyncio
import errno
import signal
import sys
import threading
import uuid
from contextlib import suppress
from types import SimpleNamespace

import psycopg
import pytest

from app.domain.imports import tasks
from app.domain.imports.merging import given, merge, pipeline
from app.domain.lifecycle.check import violations
from app.domain.persons.service import MergingError
from app.platform import disk
from app.platform.database_url import conninfo
from app.platform.jobs import PROJECT
from app.platform.projects import DEFAULT
from app.server.worker import work
from tests.domain.imports.imported import figures, listing, queue, shown
from tests.domain.imports.servers import until

WORKER = """
import asyncio
from app.server.worker import work
from app.platform.settings import Settings
asyncio.run(work(Settings()))
"""


@pytest.mark.long
async def test_a_worker_killed_in_the_middle_is_followed_by_one_that_goes_on(
    client, engine, connection, settings
):
    """SIGKILL, twice. 40,000 rows: some are in the pool, some in another, some invalid, some twice."""
    # At their end before the other begins: imports that run at once share the codes as it happens.
    for pool, numbers in (("other", range(1000)), ("p", range(1000, 2000))):
        earlier = await queue(engine, listing(numbers), pool)
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, earlier)
    text = listing(range(38_000)) + listing(range(2000, 3000))[5:] + '""\n' * 1000
    made = await client.post("/v1/pools/p/imports", json={"source": {"type": "text", "text": text}})
    import_id = made.json()["id"]
    rows = 40_000

    at_kills = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER)
        reached = at_kills[-1] if at_kills else 0

        async def further(reached=reached):
            return (await shown(client, import_id))["imported"] > reached

        await until(further)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        done = await shown(client, import_id)
        assert done["status"] == "running", "the import ended before it could be killed"
        figures(done)
        at_kills.append(done["imported"])
        # A worker is taken for dead after ten seconds without a sign; here its job is handed on at once.
        async with engine.begin() as other:
            await other.exec_driver_sql(
                "UPDATE procrastinate_jobs SET status = 'todo' WHERE status = 'doing' AND task_name = 'run_import'"
            )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER)

    async def ended():
        return (await shown(client, import_id))["status"] == "succeeded"

    await until(ended)
    process.send_signal(signal.SIGTERM)
    await process.wait()
    done = await shown(client, import_id)
    assert figures(done) == (rows, 36_000, 2000, 2000)
    assert done["rejected_by"] == {"in_other_pool": 1000, "invalid": 1000, "suspicious": 0}
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 37_000
    assert await violations(connection) == []


async def test_a_job_that_runs_twice_at_once_imports_once(client, engine, connection, settings):
    import_id = await queue(engine, listing(range(500)) + "\n\x07\n")
    await asyncio.gather(*(asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id) for _ in range(3)))
    assert figures(await shown(client, import_id)) == (501, 500, 0, 1)
    assert await violations(connection) == []


@pytest.mark.long
async def test_two_imports_of_the_same_codes_into_two_pools_share_them(client, engine, connection, settings):
    imports = [await queue(engine, listing(range(3000)), pool) for pool in ("p", "q")]
    await asyncio.gather(
        *(asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id) for import_id in imports)
    )
    p, q = [await shown(client, import_id) for import_id in imports]
    assert p["imported"] + q["imported"] == 3000
    assert p["rejected_by"]["in_other_pool"] == q["imported"]
    assert q["rejected_by"]["in_other_pool"] == p["imported"]
    figures(p)
    figures(q)
    assert await violations(connection) == []


async def test_codes_are_drawn_while_they_are_imported(client, engine, connection, settings):
    import_id = await queue(engine, listing(range(5000)))
    job = asyncio.create_task(asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id))
    drawn = 0
    while not job.done():
        drawn += (await client.post("/v1/pools/p/assignments", json={})).status_code == 201
    await job
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["assigned"], counts["available"]) == (drawn, 5000 - drawn)
    assert drawn > 0
    assert await violations(connection) == []


async def test_a_pool_that_is_deleted_meanwhile_fails_the_import_and_stays_deleted(
    client, engine, settings, monkeypatch
):
    import_id = await queue(engine, listing(range(500)))
    chunk, calls = merge.chunk, []

    def delete_after_two(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            with psycopg.connect(**_libpq(settings), autocommit=True) as connection:
                connection.execute("DELETE FROM voucher")
                connection.execute("DELETE FROM pool")
        return chunk(*arguments)

    monkeypatch.setattr(merge, "chunk", delete_after_two)
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    done = await shown(client, import_id)
    assert done["status"] == "failed"
    assert "'p' was deleted" in done["error"]
    assert figures(done) == (0, 0, 0, 0)
    assert (await client.get("/v1/pools/p")).status_code == 404


def _libpq(settings):
    return psycopg.conninfo.conninfo_to_dict(conninfo(settings.sqlalchemy_url))


async def test_a_fault_of_the_service_ends_the_import_and_not_the_worker(
    client, upload, connection, monkeypatch
):
    def fault(*_):
        raise ZeroDivisionError("SECRET-CODE")

    with monkeypatch.context() as patch:
        patch.setattr(merge, "order", fault)
        done = (await upload("code\nA1\n")).json()
    assert done["status"] == "failed"
    assert "fault of the service" in done["error"]
    assert figures(done) == (0, 0, 0, 0)
    assert (await upload("code\nA1\n")).json()["imported"] == 1
    left = await connection.exec_driver_sql("SELECT count(*) FROM import_chunk")
    assert left.scalar_one() == 0


def failing_once(monkeypatch, error):
    """Have the next run meet an error, and those after it none."""
    order, errors = merge.order, [error]

    def meet(*arguments):
        with suppress(IndexError):  # shares are ordered side by side: one of them meets it
            raise errors.pop()
        return order(*arguments)

    monkeypatch.setattr(merge, "order", meet)


def attempt(settings, number):
    held = {PROJECT: DEFAULT, "settings": settings}
    return SimpleNamespace(job=SimpleNamespace(attempts=number), additional_context=held)


FULL = pytest.mark.parametrize(
    "error",
    [psycopg.errors.DiskFull("no room"), OSError(errno.ENOSPC, "no room")],
    ids=["database", "service"],
)


@FULL
async def test_an_import_that_meets_a_full_disk_tells_what_it_waits_for_and_goes_on(
    error, client, engine, settings, monkeypatch
):
    room = threading.Event()

    def check_disks(_):
        if not room.is_set():
            raise disk.NoRoomError

    failing_once(monkeypatch, error)
    monkeypatch.setattr(disk, "check_disks", check_disks)
    monkeypatch.setattr(tasks, "LOOK_SECONDS", 0.01)
    import_id = str(await queue(engine, "code\nA1\n"))
    run = asyncio.create_task(tasks.run_import(attempt(settings, 0), import_id))

    async def waits():
        return (await shown(client, import_id))["note"]

    await until(waits)
    found = await shown(client, import_id)
    assert (found["status"], found["error"], found["finished_at"]) == ("running", None, None)
    assert found["note"] == f"{tasks.DISK_FULL} {tasks.GOES_ON}"
    assert not run.done()
    room.set()
    with pytest.raises(type(error)):  # so the queue begins it again
        await run
    await tasks.run_import(attempt(settings, 1), import_id)
    done = await shown(client, import_id)
    assert (done["status"], done["note"]) == ("succeeded", None)
    assert figures(done) == (1, 1, 0, 0)


@FULL
async def test_an_import_that_found_no_room_to_the_last_says_so(error, client, engine, settings, monkeypatch):
    failing_once(monkeypatch, error)
    import_id = str(await queue(engine, "code\nA1\n"))
    await tasks.run_import(attempt(settings, tasks.ATTEMPTS), import_id)
    done = await shown(client, import_id)
    assert (done["status"], done["note"]) == ("failed", None)
    assert done["error"].startswith(f"{tasks.DISK_FULL} Import again")


async def test_a_run_that_goes_on_leaves_an_import_alone_that_was_cancelled_meanwhile(
    client, engine, connection, settings, monkeypatch
):
    """What was set aside by the run before is accepted by then: it is set aside no more."""
    import_id = await queue(engine, f"{listing(range(400))}total 400\n")
    chunk, turns, loop = merge.chunk, iter(range(1000)), asyncio.get_running_loop()

    def broken_off(*arguments):
        if next(turns) == 2:
            raise ZeroDivisionError
        chunk(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(merge, "chunk", broken_off)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    half = await shown(client, import_id)
    assert (half["status"], half["rejected_by"]["suspicious"]) == ("running", 1)
    set_aside = pipeline._Run._set_aside

    async def cancel_and_accept():
        for act in ("cancel", "accept-suspicious"):
            assert (await client.post(f"/v1/imports/{import_id}/{act}")).status_code == 200

    def late(*arguments):
        set_aside(*arguments)
        asyncio.run_coroutine_threadsafe(cancel_and_accept(), loop).result()

    monkeypatch.setattr(pipeline._Run, "_set_aside", late)
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    done = await shown(client, import_id)
    assert (done["status"], done["rejected_by"]["suspicious"]) == ("failed", 0)
    assert (
        done["imported"] == half["imported"] + 1 == (await client.get("/v1/pools/p/counts")).json()["total"]
    )
    assert await violations(connection) == []


@pytest.mark.parametrize(
    "error", [MergingError(), psycopg.errors.UniqueViolation("another was faster")], ids=repr
)
async def test_an_import_that_others_are_in_the_way_of_for_long_is_tried_again(
    error, client, engine, settings, monkeypatch
):
    """As a merge of two customers with a long history is, where codes that were given elsewhere come in."""
    chunk, errors = given._chunk, [error]

    def meet(*arguments):
        if errors:
            raise errors[0]
        chunk(*arguments)

    monkeypatch.setattr(given, "_chunk", meet)
    monkeypatch.setattr(given, "ATTEMPTS", 2)
    import_id = str(await queue(engine, "code;customer\nA1;anna\n", customer_id_column="customer"))
    with pytest.raises(type(error)):  # so the queue begins it again
        await tasks.run_import(attempt(settings, 0), import_id)
    assert (await shown(client, import_id))["status"] == "running"
    errors.clear()
    await tasks.run_import(attempt(settings, 1), import_id)
    done = await shown(client, import_id)
    assert (done["status"], figures(done)) == ("succeeded", (1, 1, 0, 0))


async def test_an_import_that_brings_down_its_worker_each_time_is_given_up(client, connection, settings):
    made = await client.post("/v1/pools/p/imports", json={"source": {"type": "text", "text": "code\nA1\n"}})
    await connection.exec_driver_sql(f"UPDATE procrastinate_jobs SET attempts = {tasks.ATTEMPTS + 1}")
    await connection.exec_driver_sql("COMMIT")
    worker = asyncio.create_task(work(settings))

    async def ended():
        return (await shown(client, made.json()["id"]))["status"] == "failed"

    await until(ended)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    done = await shown(client, made.json()["id"])
    assert "fault of the service" in done["error"]
    assert figures(done) == (0, 0, 0, 0)


async def test_an_import_that_has_ended_is_not_given_up(client, engine, settings):
    import_id = await queue(engine, "code;n\n;1\n", column="code")
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    await asyncio.to_thread(pipeline.give_up, settings, DEFAULT, import_id, "A fault.")
    done = await shown(client, import_id)
    assert (done["status"], done["error"]) == ("succeeded", None)
    assert figures(done) == (1, 0, 0, 1)


async def test_an_import_that_is_unknown_is_left_alone(settings):
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, uuid.uuid4())
