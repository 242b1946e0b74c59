"""Long jobs rest while processes have many requests, in bounds, and do not where none has."""

import asyncio
import itertools
import threading

import psycopg
import pytest

from app.platform import giving_way
from app.platform.advisory import REQUESTS
from app.platform.database_url import conninfo
from app.platform.databases import Databases
from app.platform.giving_way import (
    APART_SECONDS,
    LONGEST_REST,
    MARK,
    PART,
    REST,
    Unhurried,
    UnhurriedSync,
    mark_requests,
)
from app.platform.metrics import RESTED
from app.web.dependencies import held_by
from tests.factories import fill
from tests.worker import eventually

HOLDERS = f"""
SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND classid = {REQUESTS} AND granted AND datname = current_database()
"""


@pytest.fixture
def looker(database_url):
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        yield connection


@pytest.fixture
def mark(database_url):
    """Some process has many requests."""
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        connection.execute(f"SELECT pg_advisory_lock_shared({MARK})")
        yield


@pytest.fixture
def rests(monkeypatch):
    """The rests that were taken, which are over at once."""
    taken = []
    monkeypatch.setattr(
        giving_way, "sleep", lambda seconds: seconds == APART_SECONDS or taken.append(seconds)
    )
    return taken


def step_of(pace, seconds, monkeypatch):
    """Do a step that takes so long by the clock; return how much it might do of a thousand."""
    monkeypatch.setattr(giving_way, "monotonic", itertools.count(0, seconds).__next__)
    with pace.step(1000) as part:
        return part


def test_who_is_alone_never_rests(looker, rests, monkeypatch):
    assert step_of(UnhurriedSync(looker), 5, monkeypatch) == 1000
    assert rests == []


def test_the_look_of_another_job_is_no_mark(database_url, looker, monkeypatch):
    with psycopg.connect(conninfo(database_url), autocommit=True) as other:
        other.execute(f"SELECT pg_advisory_lock({MARK})")  # as a look does, which is over at once
        over = f"SELECT pg_advisory_unlock({MARK})"
        monkeypatch.setattr(giving_way, "sleep", lambda _: other.execute(over))
        with UnhurriedSync(looker).step(1000) as part:
            assert part == 1000


def test_under_the_mark_steps_are_small_and_rests_are_bounded(mark, looker, rests, monkeypatch):
    pace, before = UnhurriedSync(looker), RESTED._value.get()
    assert step_of(pace, 0.125, monkeypatch) == 1000 // PART
    assert step_of(pace, 3600, monkeypatch) == 1000 // PART
    assert rests == [REST * 0.125, LONGEST_REST]
    assert RESTED._value.get() == pytest.approx(before + sum(rests))
    for usual, least, some in ((1, 1, 1), (1000, 500, 500), (100, 500, 100), (50_000, 500, 2500)):
        with pace.step(usual, least) as part:
            assert part == some


def test_a_step_that_fails_is_not_rested_for_and_leaves_its_turn(mark, looker, rests):
    pace = UnhurriedSync(looker)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), pace.step():
            raise ZeroDivisionError
    assert rests == []


def test_those_that_give_way_at_the_same_time_rest_longer(mark, looker, rests, monkeypatch):
    monkeypatch.setattr(giving_way, "monotonic", itertools.count(0, 0.125).__next__)
    with UnhurriedSync(looker).step(), UnhurriedSync(looker).step():
        pass
    with UnhurriedSync(looker).step():
        pass
    first, _, alone = rests
    assert (first, alone) == (2 * REST * 0.125, REST * 0.125)


def test_threads_of_a_job_have_their_turns_under_the_mark(mark, looker, rests):
    pace, inside, most = UnhurriedSync(looker), [], []

    def act():
        for _ in range(50):
            with pace.step():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (200, 1)


async def test_a_process_marks_while_it_has_many_requests(settings, looker, monkeypatch):
    monkeypatch.setattr(giving_way, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(giving_way, "KEPT_SECONDS", 0.05)
    each, begun = [0], [0]

    def count():
        begun[0] += each[0]
        return begun[0]

    def holders():
        return [pid for (pid,) in looker.execute(HOLDERS).fetchall()]

    marking = asyncio.create_task(mark_requests(settings, count))
    try:
        await asyncio.sleep(0.1)
        assert holders() == []
        each[0] = 1
        (holder,) = await eventually(holders)
        looker.execute("SELECT pg_terminate_backend(%s)", (holder,))
        await eventually(lambda: holders() not in ([], [holder]))
        each[0] = 0
        await eventually(lambda: holders() == [])
        each[0] = 1
        await eventually(holders)
    finally:
        marking.cancel()
        await asyncio.wait([marking])
    await eventually(lambda: holders() == [])


async def test_requests_over_http_are_marked(client, looker, monkeypatch):
    monkeypatch.setattr(giving_way, "MANY", 0.1)
    await client.post("/v1/pools", json={"name": "p"})

    async def is_marked():
        await client.post("/v1/pools/p/assignments", json={})
        return looker.execute(HOLDERS).fetchall()

    await eventually(is_marked)


@pytest.mark.parametrize("many", [True, False])
async def test_a_job_of_small_steps_rests_after_each_under_the_mark(many, engine, request, monkeypatch):
    if many:
        request.getfixturevalue("mark")
    taken = []

    async def rest(seconds):
        if seconds != APART_SECONDS:
            taken.append(seconds)

    monkeypatch.setattr(giving_way.asyncio, "sleep", rest)
    for seconds, rest_seconds in ((0.125, REST * 0.125), (3600, LONGEST_REST)):
        job = Unhurried(engine)
        monkeypatch.setattr(giving_way, "monotonic", itertools.count(0, seconds).__next__)
        assert await job.step(asyncio.to_thread, int, "7") == 7
        assert taken == ([rest_seconds] if many else [])
        taken.clear()


async def test_of_two_jobs_of_small_steps_each_rests_twice_as_long(mark, engine, monkeypatch):
    taken, at_work, resting = [], asyncio.Barrier(2), asyncio.Barrier(2)

    async def rest(seconds):
        if seconds != APART_SECONDS:
            taken.append(seconds)
            await resting.wait()

    async def act():
        await at_work.wait()

    monkeypatch.setattr(giving_way.asyncio, "sleep", rest)
    monkeypatch.setattr(giving_way, "_rest_after", lambda _: len(giving_way._giving_way))
    await asyncio.gather(*(Unhurried(engine).step(act) for _ in range(2)))
    assert taken == [2, 2]
    assert not giving_way._giving_way


async def test_who_looks_at_a_job_however_often_is_none_of_those_that_it_gives_way_to(client, app, engine):
    await fill(engine, "p", 1)
    codes = {"source": {"type": "text", "text": "code\nA-1"}}
    made = await client.post("/v1/pools/p/imports", json=codes, headers={"Prefer": "wait=30"})
    change = {"action": "void", "filter": {"pool": "p"}, "dry_run": True}
    changed = await client.post("/v1/bulk-changes", json=change)
    database = held_by(app, Databases).main

    async def begun_by(path):
        before = database.begun()
        for _ in range(50):
            assert (await client.get(path)).status_code == 200
        return database.begun() - before

    others = await begun_by("/v1/imports")
    for looked_at in (made, changed):
        assert others - await begun_by(looked_at.headers["location"]) > 40
