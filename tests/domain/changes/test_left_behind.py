"""Changes whose command line was killed have no job, and go on all the same; one that is broken off is cancelled."""

import asyncio
from types import SimpleNamespace

from sqlalchemy import text

from app.cli import many
from app.domain.changes import service, tasks
from app.domain.changes.schemas import BulkChangeCreate
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.factories import fill

OLD = "UPDATE bulk_change SET created_at = now() - interval '2 minutes'"
QUEUED = "SELECT args ->> 'change_id' FROM procrastinate_jobs WHERE task_name = 'run_bulk_change'"


async def sweep(engine):
    """Run the sweep; return the ids of the changes that have jobs then."""
    await tasks.take_up_bulk_changes.func(SimpleNamespace(additional_context={"engine": engine}), 0)
    async with transaction(engine) as connection:
        return list((await connection.execute(text(QUEUED))).scalars())


async def test_a_change_that_was_left_behind_goes_on(client, engine):
    await fill(engine, "p", 5)
    wanted = BulkChangeCreate.model_validate({"action": "void", "filter": {"pool": "p"}})
    async with transaction(engine) as connection:
        left, _ = await service.begin(connection, None, wanted, by_job=False)
    assert await sweep(engine) == []  # it may only just begin
    async with transaction(engine) as connection:
        await connection.execute(text(OLD))
    assert await sweep(engine) == [str(left.id)]
    assert await sweep(engine) == [str(left.id)]  # once is enough
    await service.run(engine, left.id)
    assert (await client.get("/v1/pools/p/counts")).json()["void"] == 5
    async with transaction(engine) as connection:
        await connection.execute(text("DELETE FROM procrastinate_jobs"))
    assert await sweep(engine) == []  # it has ended


async def test_a_command_that_is_broken_off_cancels_its_change(client, engine, settings, monkeypatch, capsys):
    await fill(engine, "p", 5)
    begun = asyncio.Event()

    async def endless(_, __):
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(service, "run", endless)
    wanted = BulkChangeCreate.model_validate({"action": "void", "filter": {"pool": "p"}})
    typed = asyncio.create_task(many._run(settings, DEFAULT, wanted))
    await begun.wait()
    typed.cancel()  # as Ctrl-C does
    await asyncio.wait([typed])
    assert typed.cancelled()
    assert "Broken off. 0 are changed" in capsys.readouterr().out
    (change,) = (await client.get("/v1/bulk-changes")).json()["items"]
    assert change["status"] == "cancelled"
