"""Who is let into a queue: judged by how many wait and for how long, with queues that the test makes old."""

import asyncio
from unittest.mock import Mock

import pytest

from app.platform import batching
from app.platform.batching import TURNED_AWAY, Batcher
from app.platform.errors import ClientGoneError, OverloadedError


@pytest.fixture
async def batcher():
    """Batches of two; the first one is under way until the test lets it end."""
    go = asyncio.Event()

    async def serve(_, batch):
        await go.wait()
        for waiter in batch:
            waiter.resolve(waiter.item)

    made = Batcher(serve, max_batch=2, max_waiting=5, patience=1000, full_after=10)
    made.go = go
    return made


async def begin(batcher, n):
    """So many wait, beside the first, which is being served."""
    tasks = []
    for item in range(n + 1):
        tasks.append(asyncio.create_task(batcher.submit("k", item)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(batcher._queues["k"].waiting) == n
    return tasks


async def begin_again(batcher):
    batcher.go.clear()
    task = asyncio.create_task(batcher.submit("k", 0))
    await asyncio.sleep(0)
    return task


def make_old(batcher, seconds):
    for waiter in batcher._queues["k"].waiting:
        waiter.deadline -= seconds


async def test_where_less_than_a_batch_waits_all_are_let_in_however_long_the_batch_before_takes(batcher):
    tasks = await begin(batcher, 1)
    make_old(batcher, 500)
    tasks.append(asyncio.create_task(batcher.submit("k", 2)))
    await asyncio.sleep(0)
    batcher.go.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2]


async def test_where_a_batch_waits_and_has_waited_long_nobody_else_is_let_in(batcher):
    tasks = await begin(batcher, 2)
    make_old(batcher, 9)
    tasks.append(asyncio.create_task(batcher.submit("k", 3)))
    await asyncio.sleep(0)
    make_old(batcher, 2)
    before = TURNED_AWAY.n
    with pytest.raises(OverloadedError):
        await batcher.submit("k", 4)
    assert TURNED_AWAY.n == before + 1
    other = asyncio.create_task(batcher.submit("another", 5))
    batcher.go.set()
    assert await asyncio.gather(*tasks, other) == [0, 1, 2, 3, 5]


async def test_no_more_than_the_most_wait_however_new_they_are(batcher):
    tasks = await begin(batcher, 5)
    with pytest.raises(OverloadedError):
        await batcher.submit("k", 6)
    batcher.go.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4, 5]


async def test_no_more_are_let_in_than_are_served_soon_once_it_is_known_how_long_each_takes(batcher):
    tasks = await begin(batcher, 2)
    (queue,) = batcher._queues.values()
    queue.pace = 4.0  # of ten seconds
    tasks.append(asyncio.create_task(batcher.submit("k", 3)))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await batcher.submit("k", 4)
    batcher.go.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
    assert 0 < queue.pace < 4.0
    assert not batcher._queues
    again = await begin_again(batcher)
    assert batcher._queues["k"].pace == queue.pace  # an idle moment forgets nothing
    batcher.go.set()
    await again


async def test_those_of_a_batch_are_told_together_and_one_who_cannot_listen_harms_no_other(
    batcher, monkeypatch
):
    told = []

    def deaf(_):
        raise RuntimeError

    log = Mock()
    monkeypatch.setattr(batching, "log", log)
    batcher.go.set()
    batcher.begin("k", 1, deaf)
    batcher.begin("k", 2, told.append)
    batcher.begin("k", 3, told.append, lambda: True)
    for _ in range(5):
        await asyncio.sleep(0)
    first, second = told
    assert first == 2
    assert isinstance(second, ClientGoneError)
    log.error.assert_called_once()


async def test_one_too_many_is_not_begun(batcher):
    tasks = await begin(batcher, 5)
    told = []
    with pytest.raises(OverloadedError):
        batcher.begin("k", 6, told.append)
    batcher.go.set()
    await asyncio.gather(*tasks)
    assert told == []


async def test_who_was_cancelled_is_not_served(batcher):
    tasks = await begin(batcher, 2)
    tasks[1].cancel()
    await asyncio.sleep(0)
    batcher.go.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [done[0], done[2]] == [0, 2]
    assert isinstance(done[1], asyncio.CancelledError)
