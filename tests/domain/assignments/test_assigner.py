"""The assigner by itself: what gathers, what is turned away, and who is answered what."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text

from app.domain.assignments.assigner import Assigner
from app.domain.assignments.claiming import Claimer
from app.domain.assignments.cursors import CURSORS, _Walk
from app.domain.assignments.errors import PoolExhaustedError
from app.domain.lifecycle import claim
from app.domain.lifecycle.check import violations
from app.domain.lifecycle.draw_keys import FIRST
from app.domain.lifecycle.requests import AssignmentRequest
from app.platform.database import transaction
from app.platform.driver_pool import create_driver_pool
from app.platform.errors import ClientGoneError, OverloadedError
from app.platform.ids import ordered_id
from app.platform.projects import DEFAULT
from tests.factories import fill


@pytest.fixture
async def assigner(engine, settings):
    async with create_driver_pool(settings) as direct:
        yield Assigner(engine, direct.of(DEFAULT))


@asynccontextmanager
async def held_up(engine):
    """While this lasts no claim ends: the counts are locked."""
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM stock FOR UPDATE"))
        yield


async def waiting(assigner, n):
    """Until a batch is under way and `n` more wait."""
    async with asyncio.timeout(10):
        while [len(queue.waiting) for queue in assigner._batcher._queues.values()] != [n]:
            await asyncio.sleep(0.001)


async def test_what_comes_while_a_statement_is_under_way_is_one_batch(assigner, engine, monkeypatch):
    codes = await fill(engine, "p", 50)
    sizes = []
    claim = assigner._claim

    async def watched(pool, batch):
        sizes.append(len(batch))
        return await claim(pool, batch)

    monkeypatch.setattr(assigner, "_claim", watched)
    async with held_up(engine):
        first = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id()))) for _ in range(30)]
        await waiting(assigner, 30)
    given = await asyncio.gather(first, *rest)
    assert sizes == [1, 30]
    assert len({each.code for each in given} & set(codes)) == 31
    assert not assigner._batcher._queues


async def test_one_key_twice_in_a_batch_is_one_voucher_and_one_replay(assigner, engine, client):
    await fill(engine, "p", 10)
    request = AssignmentRequest(ordered_id(), customer_id="c")
    async with held_up(engine):
        first = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await asyncio.sleep(0)
        twice = [asyncio.create_task(assigner.assign("p", request)) for _ in range(2)]
        await waiting(assigner, 2)
    one, other = await asyncio.gather(*twice)
    await first
    assert one.code == other.code
    assert [one.replayed, other.replayed] == [False, True]
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 2


async def test_who_left_before_the_batch_began_takes_no_voucher_and_disturbs_nobody(assigner, engine, client):
    await fill(engine, "p", 10)
    async with held_up(engine):
        first = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await asyncio.sleep(0)
        hung_up = asyncio.create_task(
            assigner.assign("p", AssignmentRequest(ordered_id()), gone=lambda: True)
        )
        cancelled = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        stays = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await waiting(assigner, 3)
        cancelled.cancel()
    assert (await first).code != (await stays).code
    with pytest.raises(ClientGoneError):
        await hung_up
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 2


async def test_who_leaves_in_mid_batch_finds_the_voucher_when_asking_again(assigner, engine, client):
    await fill(engine, "p", 10)
    request = AssignmentRequest(ordered_id())
    async with held_up(engine):
        leaves = asyncio.create_task(assigner.assign("p", request))
        await waiting(assigner, 0)
        leaves.cancel()
    again = await assigner.assign("p", request)
    assert again.replayed
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 1


async def test_a_full_lane_turns_the_next_one_away_at_once(assigner, engine, monkeypatch):
    await fill(engine, "p", 10)
    monkeypatch.setattr(assigner._batcher, "_max_waiting", 2)
    async with held_up(engine):
        first = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id()))) for _ in range(2)]
        await waiting(assigner, 2)
        with pytest.raises(OverloadedError):
            await assigner.assign("p", AssignmentRequest(ordered_id()))
    await asyncio.gather(first, *rest)


async def test_once_the_first_has_waited_half_its_time_the_next_is_turned_away_at_once(assigner, engine):
    await fill(engine, "p", 10)
    async with held_up(engine):
        first = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await waiting(assigner, 0)
        early = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await waiting(assigner, 1)
        (queue,) = assigner._batcher._queues.values()
        queue.waiting[0].deadline -= assigner._batcher._patience / 2
        with pytest.raises(OverloadedError):
            async with asyncio.timeout(0.1):
                await assigner.assign("p", AssignmentRequest(ordered_id()))
    assert (await first).code != (await early).code


async def test_who_waited_too_long_is_told_so_and_takes_no_voucher(assigner, engine, client, monkeypatch):
    await fill(engine, "p", 10)
    async with held_up(engine):
        first = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await asyncio.sleep(0)
        monkeypatch.setattr(assigner._batcher, "_patience", -1.0)
        late = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await waiting(assigner, 1)
    await first
    with pytest.raises(OverloadedError):
        await late
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 1


@pytest.mark.parametrize("what", ["replayed_direct", "what_is_left"])
async def test_what_is_committed_is_answered_whatever_happens_to_the_rest(
    assigner, engine, client, monkeypatch, what
):
    """A repeat, and one too many, are looked at after the commit: a fault there is theirs alone."""
    await fill(engine, "p", 3)
    monkeypatch.setitem(CURSORS._by_pool, (DEFAULT, "p"), _Walk(FIRST))
    before = AssignmentRequest(ordered_id())
    await assigner.assign("p", before)

    async def broken(*_):
        raise OSError("gone")

    monkeypatch.setattr(claim, what, broken)
    other = before if what == "replayed_direct" else AssignmentRequest(ordered_id())
    async with held_up(engine):
        blocking = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        await waiting(assigner, 0)
        new = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        left = asyncio.create_task(assigner.assign("p", other))
        await waiting(assigner, 2)
    assert (await blocking).code != (await new).code
    with pytest.raises(OSError, match="gone"):
        await left
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 3


async def test_pools_go_side_by_side(assigner, engine):
    await fill(engine, "p", 1)
    await fill(engine, "q", 1)
    async with engine.begin() as connection:
        await connection.execute(
            text("SELECT FROM stock JOIN pool ON pool.id = pool_id WHERE name = 'p' FOR UPDATE OF stock")
        )
        stuck = asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id())))
        assert (await assigner.assign("q", AssignmentRequest(ordered_id()))).code == "q-000000"
        assert not stuck.done()
    assert (await stuck).code == "p-000000"


async def test_of_batches_larger_than_the_pool_as_many_are_served_as_it_has(assigner, engine):
    await fill(engine, "p", 3)
    async with held_up(engine):
        tasks = [asyncio.create_task(assigner.assign("p", AssignmentRequest(ordered_id()))) for _ in range(5)]
        await waiting(assigner, 0)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert (
        sorted(type(outcome).__name__ for outcome in outcomes)
        == ["LedgerEntry"] * 3 + ["PoolExhaustedError"] * 2
    )
    errors = [outcome for outcome in outcomes if isinstance(outcome, PoolExhaustedError)]
    assert errors[0] is not errors[1]


async def test_the_short_way_in_answers_as_the_documented_route_does(client, app, engine):
    """The hot path and the route of the framework, request by request."""
    await fill(engine, "p", 10)
    framework = httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://test",
        headers=client.headers,
    )
    json = {"Content-Type": "application/json"}
    requests = [
        {"json": {"customer_id": "c"}, "headers": {"Idempotency-Key": "k"}},
        {"json": {"customer_id": "other"}, "headers": {"Idempotency-Key": "k"}},
        {"json": {"customer_id": "c", "colour": "red"}},
        {"json": {"customer_id": ""}},
        {"json": {"lease_seconds": 0}},
        {"json": []},
        {"content": "{", "headers": json},
        {"content": "", "headers": json},
        {"content": "customer_id=c"},
        {"json": {}, "headers": {"Idempotency-Key": "x" * 256}},
        {"json": {}, "headers": {"Authorization": "Bearer nobody"}},
        {"json": {}, "headers": {"Authorization": "Basic abc"}},
    ]
    await framework.post("/v1/pools/p/assignments", **requests[0])
    for request in requests:
        for pool in ("p", "none"):
            short = await client.post(f"/v1/pools/{pool}/assignments", **request)
            documented = await framework.post(f"/v1/pools/{pool}/assignments", **request)
            assert (short.status_code, short.headers["content-type"]) == (
                documented.status_code,
                documented.headers["content-type"],
            ), request
            assert (
                short.json()["type" if short.is_error else "id"]
                == documented.json()["type" if short.is_error else "id"]
            )
            # Where the JSON itself is broken, each names the place in its own way.
            if "content" not in request:
                assert [error["loc"] for error in short.json().get("errors", [])] == [
                    error["loc"] for error in documented.json().get("errors", [])
                ], request
    await framework.aclose()


async def test_a_request_by_itself_is_given_what_it_is_given_among_others(engine, settings):
    """They go by two statements."""
    await fill(engine, "p", 9)
    asked = [
        {},
        {"customer_id": "c", "campaign_id": "k", "message_id": "m", "occurrence": 2},
        {"customer_id": "it's \\ \N{SNOWMAN}", "test": True, "lease_seconds": 60},
    ]
    alone, together = ([AssignmentRequest(ordered_id(), **each) for each in asked] for _ in range(2))
    query = text("SELECT to_jsonb(assignment) FROM assignment WHERE id = ANY (:ids)")
    stored = []
    async with create_driver_pool(settings) as direct:
        claimer = Claimer(engine, direct.of(DEFAULT))
        for requests, batches in ((alone, [[each] for each in alone]), (together, [together])):
            first, again = {}, {}
            for given, replayed in ((first, False), (again, True)):
                for batch in batches:
                    given.update((await claimer.claim("p", batch))[0])
                assert [given[each.id].replayed for each in requests] == [replayed] * len(asked)
            assert {id_: row.code for id_, row in first.items()} == {
                id_: row.code for id_, row in again.items()
            }
            async with transaction(engine) as connection:
                rows = await connection.execute(query, {"ids": [each.id for each in requests]})
                by_id = {row["id"]: row for row in rows.scalars()}
                stored.append([by_id[str(each.id)] for each in requests])
                assert await violations(connection) == []
    for one, other in zip(*stored, strict=True):
        assert {name for name in one if one[name] != other[name]} <= {
            "id",
            "code",
            "assigned_at",
            "lease_until",
        }
        assert (
            (one["lease_until"] is None) == (other["lease_until"] is None) == (one["lease_seconds"] is None)
        )
