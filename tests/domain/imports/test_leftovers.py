"""What an import leaves that brought nothing: no pool that it made itself, and every pool that is somebody else's."""

import asyncio
from datetime import UTC, datetime

import pytest

from app.domain.imports.merging import leftovers, pipeline
from app.domain.imports.schedules import service
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import listing, queue, shown

DAMAGED = "code\nA1\n" + '"never closed\n'


async def run(settings, import_id):
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)


async def pool_is_there(client, pool="p"):
    return (await client.get(f"/v1/pools/{pool}")).status_code == 200


async def test_an_import_that_fails_takes_the_empty_pool_with_it_that_it_made(client, engine, settings):
    import_id = await queue(engine, DAMAGED)
    assert await pool_is_there(client)
    await run(settings, import_id)
    failed = await shown(client, import_id)
    assert (failed["status"], failed["pool"]) == ("failed", "p")
    assert not await pool_is_there(client)


async def test_a_cancelled_one_does_the_same(client, engine, settings):
    import_id = await queue(engine, "code\nA1\n")
    await client.post(f"/v1/imports/{import_id}/cancel")
    await run(settings, import_id)
    assert not await pool_is_there(client)


async def test_a_pool_that_was_there_before_stays(client, engine, settings):
    await client.post("/v1/pools", json={"name": "p"})
    await run(settings, await queue(engine, DAMAGED))
    assert await pool_is_there(client)


async def test_the_last_of_several_failures_takes_the_pool(client, engine, settings):
    first, second = await queue(engine, DAMAGED), await queue(engine, DAMAGED)
    await run(settings, first)
    assert await pool_is_there(client)  # the second waits for it
    await run(settings, second)
    assert not await pool_is_there(client)


async def test_what_another_import_brought_keeps_it(client, engine, settings):
    first, second = await queue(engine, DAMAGED), await queue(engine, "code\nA1\n")
    await run(settings, second)
    await run(settings, first)
    assert (await client.get("/v1/pools/p/counts")).json()["total"] == 1
    await client.post(f"/v1/imports/{second}/undo")
    await run(settings, await queue(engine, DAMAGED))
    assert await pool_is_there(client)  # an import succeeded in it


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/pools/p/alerts", {"thresholds": [10], "webhook_url": "https://example.org/hook"}),
        ("PATCH", "/v1/pools/p", {"description": "for spring"}),
        (
            "POST",
            "/v1/webhooks",
            {"url": "https://example.org/hook", "events": ["import.finished"], "pools": ["p"]},
        ),
        (
            "POST",
            "/v1/import-schedules",
            {"pool": "p", "source": {"type": "url", "url": "https://example.org/a.csv"}, "cron": "0 6 * * *"},
        ),
    ],
)
async def test_a_pool_that_somebody_has_done_something_with_stays(
    client, engine, settings, method, path, body
):
    import_id = await queue(engine, DAMAGED)
    done = await client.request(method, path, json=body)
    assert done.status_code < 300, done.text
    await run(settings, import_id)
    assert await pool_is_there(client)


async def test_an_upload_that_comes_while_the_pool_goes_makes_it_anew(client, engine, settings, monkeypatch):
    import_id = await queue(engine, DAMAGED)
    loop, uploads = asyncio.get_running_loop(), []
    remove = leftovers.REMOVE_POOL

    class Late(str):
        """The statement that removes the pool, sent once an upload has come that waits for it."""

        __slots__ = ()

        def encode(self, *arguments):
            future = asyncio.run_coroutine_threadsafe(queue(engine, listing(range(3))), loop)
            uploads.append(future)
            with pytest.raises(TimeoutError):
                future.result(0.3)
            return str(self).encode(*arguments)

    monkeypatch.setattr(leftovers, "REMOVE_POOL", Late(remove))
    await run(settings, import_id)
    second = await asyncio.wrap_future(uploads[0])
    await run(settings, second)
    assert (await shown(client, second))["imported"] == 3
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 3


async def test_a_schedule_whose_runs_fail_leaves_no_pool(client, engine, settings):
    source = {"type": "storage", "url": "file:none.csv"}
    body = {"pool": "p", "source": source, "cron": "0 6 * * *"}
    await client.post("/v1/import-schedules", json=body)
    async with transaction(engine) as connection:
        await connection.exec_driver_sql("UPDATE import_schedule SET next_run = now()")
    async with transaction(engine) as connection:
        await service.begin_due(connection, datetime.now(UTC), set())
    (begun,) = (await client.get("/v1/imports")).json()["items"]
    assert await pool_is_there(client)
    await run(settings, begun["id"])
    assert not await pool_is_there(client)
