"""What keeps a project from being written while it moves; moves themselves are in tests/chaos."""

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest

from app.domain.access.keys.ring import KeyRing
from app.domain.access.keys.service import KEYS
from app.domain.projects.moving import queries, service, tables, tasks
from app.domain.projects.moving.errors import MoveError
from app.domain.projects.moving.guard import Guard
from app.domain.projects.moving.queries import FOLLOWING, LEFT, PAUSED
from app.domain.projects.service import LINGER_SECONDS
from app.platform.connections import connect_sync
from app.platform.jobs import LONG, SWEEPS
from app.platform.moves import is_moving
from app.web.dependencies import held_by
from tests.factories import add_projects, fill
from tests.two_databases import copy_of, two_databases

WRITE = "INSERT INTO customer (id, properties) VALUES (%s, '{}')"
TRIGGERS = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'moving%'"
MOVE = """
INSERT INTO project_move (project_id, source_id, target_id, step, keep)
SELECT %s, 1, id, %s, %s FROM database WHERE name = 'second'
"""
EVENTS = "SELECT count(*) FROM event WHERE project_id = %s"
EVENT = {"events": [{"customer_id": "c", "event_type": "e", "properties": {}}]}


@pytest.fixture
def owner(settings):
    with connect_sync(settings, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def moving(engine, owner):
    """A project whose guard is made, and the guard."""
    (project,) = await add_projects(engine, "moving")
    guard = Guard(owner, tables.read(owner), project, with_jobs=True)
    guard.make(30)
    yield project, guard
    guard.remove(30)
    assert owner.execute(TRIGGERS).fetchone() == (0,)


def refused(connection, *statement):
    with pytest.raises(psycopg.OperationalError) as error:
        connection.execute(*statement)
    return is_moving(error.value)


async def test_no_late_commit_slips_through(settings, moving):
    project, guard = moving
    with connect_sync(settings, project=project) as wrote, connect_sync(settings, project=project) as began:
        wrote.execute(WRITE, ["early"])
        began.execute("SELECT count(*) FROM customer")
        assert not guard.pause(0.05)  # the one that wrote has not ended
        assert refused(began, WRITE, ["late"])
        wrote.commit()
        assert guard.pause(30)
        assert wrote.execute("SELECT id FROM customer").fetchall() == [("early",)]
        assert refused(wrote, WRITE, ["later"])
        wrote.rollback()
        guard.lift()
        wrote.execute(WRITE, ["after"])


async def test_other_projects_are_written_and_the_owner_passes_its_rows_over(settings, engine, owner, moving):
    project, guard = moving
    (other,) = await add_projects(engine, "other")
    with connect_sync(settings, project=project, autocommit=True) as inside:
        inside.execute(WRITE, ["kept"])
        assert guard.pause(30)
        with connect_sync(settings, project=other, autocommit=True) as beside:
            beside.execute(WRITE, ["kept"])
        assert owner.execute("DELETE FROM customer").rowcount == 1  # what is merely old, in all projects
        assert refused(owner, "UPDATE customer SET properties = '{}'")
        job = f"""('default', 'x', '{{"project": {project}}}')"""
        assert refused(inside, f"INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES {job}")
        guard.close()
        assert refused(inside, "DELETE FROM customer")
        assert refused(inside, "UPDATE customer SET properties = '{}'")
        assert owner.execute("UPDATE customer SET properties = '{}'").rowcount == 1  # as a migration may
        assert owner.execute("DELETE FROM customer").rowcount == 1


async def test_a_pause_is_lifted_by_a_sweep_which_no_long_job_holds_up(settings, engine, owner, moving):
    project, guard = moving
    owner.execute("INSERT INTO database (name) VALUES ('second')")
    owner.execute(MOVE, [project, PAUSED, timedelta(days=1)])
    assert guard.pause(30)
    context = SimpleNamespace(additional_context={"engine": engine, "settings": settings})
    with connect_sync(settings, project=project, autocommit=True) as inside:
        await tasks.attend_moves.func(context, 0)
        assert refused(inside, WRITE, ["early"])
        await tasks.lift_pauses.func(context, 0)
        inside.execute(WRITE, ["after"])
    assert (tasks.lift_pauses.queue, tasks.attend_moves.queue) == (SWEEPS, LONG)


async def test_a_database_that_hangs_holds_up_no_other_move_for_long(
    settings, engine, owner, moving, monkeypatch
):
    hanging, _ = moving
    (other,) = await add_projects(engine, "other")
    owner.execute("INSERT INTO database (name) VALUES ('second')")
    guard = Guard(owner, tables.read(owner), other)
    guard.make(30)
    for project in (hanging, other):
        owner.execute(MOVE, [project, PAUSED, timedelta(days=1)])
        Guard(owner, [], project).refuse()
    monkeypatch.setattr(service, "ATTEND_SECONDS", 1)
    try:
        with connect_sync(settings) as holder:
            Guard(holder, [], hanging).refuse()  # whoever changes it too waits for this transaction
            async with asyncio.timeout(20):
                await asyncio.to_thread(service.attend, settings)
            holder.rollback()
        assert [move.step for move in queries.all_moves(owner)] == [PAUSED, FOLLOWING]
    finally:
        guard.remove(30)


@pytest.fixture
def second_url(database_url, server_url, cleaner):
    cleaner.close()  # what is copied has no sessions
    with copy_of(server_url, "second") as url:
        yield url


@pytest.fixture
async def moved(second_url, app, engine, settings, owner):
    """A project that has just moved to the second database; its old rows are not to be kept. And that database."""
    async with two_databases(app, engine, settings, second_url) as two:
        ring = held_by(app, KeyRing)
        ring._remember_seconds = 60  # and no word reaches this process
        assert (await two.here.client.post("/v1/events", json=EVENT)).status_code == 200
        guard = Guard(owner, tables.read(owner), two.here.id, with_jobs=True)
        guard.make(30)
        guard.close()
        owner.execute("UPDATE project SET database_id = %s WHERE id = %s", [two.database_id, two.here.id])
        owner.execute(MOVE, [two.here.id, LEFT, timedelta(0)])
        yield two.here, two.settings
        guard.remove(30)


async def test_a_process_that_did_not_hear_of_a_move_writes_nothing_that_is_lost(moved, settings, owner):
    shop, second = moved
    await asyncio.to_thread(service.attend, settings)
    reply = await shop.client.post("/v1/events", json=EVENT)
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/project-moving"), reply.text
    assert (await shop.client.post("/v1/events", json=EVENT)).status_code == 200
    assert owner.execute(EVENTS, [shop.id]).fetchone() == (1,)
    with connect_sync(second, autocommit=True) as there:
        assert there.execute(EVENTS, [shop.id]).fetchone() == (1,)
    owner.execute("UPDATE project_move SET step_at = now() - interval '2 hours'")
    await asyncio.to_thread(service.attend, settings)
    assert owner.execute(EVENTS, [shop.id]).fetchone() == (0,)
    assert owner.execute(TRIGGERS).fetchone() == (0,)
    assert queries.all_moves(owner) == []


async def test_a_project_moves_on_once_nobody_writes_where_it_was(moved, settings, monkeypatch):
    shop, _ = moved
    waited = []
    clock = SimpleNamespace(sleep=waited.append, monotonic=time.monotonic)
    monkeypatch.setattr(service, "time", clock)
    with pytest.raises(MoveError, match="wal_level"):  # it is as on any server
        await asyncio.to_thread(service.move, settings, shop.name, "main", timedelta(0), str)
    assert LINGER_SECONDS / 2 < sum(waited) <= LINGER_SECONDS


async def test_all_processes_are_told_of_the_switch(settings, engine, owner):
    (project,) = await add_projects(engine, "moving")
    owner.execute("INSERT INTO database (name) VALUES ('second')")
    owner.execute(MOVE, [project, PAUSED, timedelta(0)])
    with connect_sync(settings, autocommit=True) as process:
        process.execute(f"LISTEN {KEYS}")
        assert queries.switch(owner, project)
        (said,) = process.notifies(timeout=30, stop_after=1)
    assert (said.channel, said.payload) == (KEYS, str(project))


async def test_whoever_asks_meanwhile_is_told_to_try_again_and_then_served(engine, client, owner):
    guard = Guard(owner, tables.read(owner), 1)
    guard.make(30)
    try:
        await fill(engine, "p", 3)
        path, keyed = "/v1/pools/p/assignments", {"Idempotency-Key": "k"}
        first = await client.post(path, json={}, headers=keyed)
        assert guard.pause(30)
        for ask in (
            client.post(path, json={}),
            client.post(
                "/v1/events", json={"events": [{"customer_id": "c", "event_type": "e", "properties": {}}]}
            ),
            client.put("/v1/aggregates/a", json={"event_type": "e", "function": "count", "property": "p"}),
        ):
            reply = await ask
            assert (reply.status_code, reply.json()["type"]) == (503, "/problems/project-moving"), reply.text
            assert reply.headers["retry-after"] == "1"
        again = await client.post(path, json={}, headers=keyed)
        assert (again.status_code, again.json()) == (200, first.json())
        guard.lift()
        assert (await client.post(path, json={})).status_code == 201
    finally:
        guard.remove(30)


async def test_what_is_refused_by_the_job_queue_is_told_in_the_same_words(client, owner):
    guard = Guard(owner, [], 1, with_jobs=True)  # all but the job was written before the pause
    guard.make(30)
    try:
        assert guard.pause(30)
        source = {"source": {"type": "text", "text": "code\nA1\n"}}
        reply = await client.post("/v1/pools/p/imports", json=source)
        assert (reply.status_code, reply.json()["type"]) == (503, "/problems/project-moving"), reply.text
    finally:
        guard.remove(30)


async def test_customers_are_merged_while_their_project_is_copied(client, owner):
    assert queries.take(owner, 1)
    try:
        reply = await client.post("/v1/customers/anna/merge", json={"from": "cookie-1"})
        assert reply.status_code == 200, reply.text
    finally:
        queries.leave(owner, 1)
