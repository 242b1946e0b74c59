"""Imports under the mark of many requests: slower and in small steps, and else as ever."""

import asyncio
import threading

import psycopg
import pytest

from app.domain.imports.merging import pipeline
from app.platform import giving_way
from app.platform.database_url import conninfo
from app.platform.giving_way import APART_SECONDS, MARK
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import books_agree, counts, figures, listing, queue, shown

IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
WHERE pid = ANY (%s) AND xact_start IS NOT NULL AND query NOT LIKE '%%pg_try_advisory_xact_lock%%'
"""
"""How many of these sessions are; the other share may be looking for the mark."""
PAST = "code;customer\n" + "".join(f"G-{n:03};c{n}\n" for n in range(50))


@pytest.fixture
def holder(database_url):
    """Holds the mark."""
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        connection.execute(f"SELECT pg_advisory_lock_shared({MARK})")
        yield connection


@pytest.fixture
def own(monkeypatch):
    """The sessions of the imports of this test."""
    connect, pids = pipeline.connect_sync, []

    def noting(*arguments, **named):
        connection = connect(*arguments, **named)
        pids.append(connection.info.backend_pid)
        return connection

    monkeypatch.setattr(pipeline, "connect_sync", noting)
    return pids


@pytest.mark.parametrize("options", [{}, {"customer_id_column": "customer"}], ids=["codes", "given"])
async def test_no_transaction_is_open_while_an_import_rests(
    client, engine, settings, holder, own, monkeypatch, options
):
    open_ = []

    def look(seconds):
        if seconds != APART_SECONDS:  # between two looks another share may be at its step
            open_.extend(holder.execute(IN_TRANSACTION, (own,)).fetchone())

    monkeypatch.setattr(giving_way, "sleep", look)
    content = PAST if options else listing(range(500))
    import_id = await queue(engine, content, **options)
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    done = await shown(client, import_id)
    n = 50 if options else 500
    assert (done["status"], figures(done)) == ("succeeded", (n, n, 0, 0))
    assert len(open_) > 4
    assert not any(open_)
    await books_agree(engine)


async def test_an_import_is_cancelled_while_it_rests(client, engine, settings, holder, monkeypatch):
    resting, cancelled = threading.Event(), threading.Event()
    rests = []

    def rest(_):
        rests.append(1)
        if len(rests) == 8:
            resting.set()
            assert cancelled.wait(20)

    monkeypatch.setattr(giving_way, "sleep", rest)
    import_id = await queue(engine, listing(range(2000)))
    running = asyncio.create_task(asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id))
    assert await asyncio.to_thread(resting.wait, 20)
    assert (await client.post(f"/v1/imports/{import_id}/cancel")).status_code == 200
    cancelled.set()
    await running
    done = await shown(client, import_id)
    assert (done["status"], done["error"]) == ("failed", "It was cancelled.")
    assert 0 < done["imported"] < 2000
    assert await counts(client) == {"available": done["imported"]}
    assert (await client.post(f"/v1/imports/{import_id}/undo")).json()["taken_back"] == done["imported"]


async def test_an_import_whose_worker_dies_at_rest_goes_on_at_full_speed_once_alone(
    client, engine, settings, holder, monkeypatch
):
    rests = []

    def die(_):
        rests.append(1)
        if holder.execute("SELECT imported FROM import").fetchone()[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(giving_way, "sleep", die)
    import_id = await queue(engine, listing(range(2000)))
    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    half = await shown(client, import_id)
    assert half["status"] == "running"
    assert 0 < half["imported"] < 2000
    holder.execute("SELECT pg_advisory_unlock_all()")
    before = len(rests)
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    done = await shown(client, import_id)
    assert (done["status"], figures(done)) == ("succeeded", (2000, 2000, 0, 0))
    assert len(rests) == before
    await books_agree(engine)
