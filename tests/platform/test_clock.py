"""The machine's clock jumps: times are the database's, and durations are monotonic."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from procrastinate import periodic, utils
from sqlalchemy import text

from app.platform import clock as clock_module
from app.platform.clock import Clock, clock
from app.platform.connections import connect, connect_sync
from app.platform.database import follow_time, transaction
from app.platform.engines import create_engine
from app.platform.limiter import PerMinute
from app.server import worker

JUMPS = [timedelta(hours=1), -timedelta(days=1)]


@pytest.fixture(params=JUMPS, ids=str)
def jumped(request, monkeypatch):
    """The machine's clock after it jumped, for whoever asks it."""
    seconds, real = request.param.total_seconds(), time.time

    def now():
        return real() + seconds

    monkeypatch.setattr(time, "time", now)
    return request.param


def test_a_clock_counts_on_whatever_the_machine_says(jumped):
    asked = time.monotonic()
    ours = Clock()
    wrong = abs(ours.timestamp() - datetime.now(UTC).timestamp())
    assert wrong > 3000  # a process that starts with a wrong clock, and has not asked yet
    assert ours.is_stale()
    ours.learn(1_000_000_000.0, asked)
    assert not ours.is_stale()
    assert abs(ours.timestamp() - 1_000_000_000) < 60
    assert ours.now().year == 2001
    assert ours.now().tzinfo is UTC


def test_a_clock_notices_that_the_databases_was_put_back():
    ours = Clock()
    ours.learn(1_000_000_000.0, time.monotonic())
    before = ours.steps_back
    ours.learn(1_000_000_001.0, time.monotonic())
    ours.learn(1_000_100_000.0, time.monotonic())
    assert ours.steps_back == before
    ours.learn(1_000_000_002.0, time.monotonic())
    assert ours.steps_back == before + 1


async def test_a_worker_begins_anew_when_the_databases_clock_was_put_back(monkeypatch):
    ours = Clock()
    ours.learn(2_000_000_000.0, time.monotonic())
    monkeypatch.setattr(worker, "clock", ours)
    monkeypatch.setattr(worker, "TIME_SECONDS", 0.0)
    waiting = asyncio.create_task(worker._until_time_goes_back())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    ours.learn(1_999_900_000.0, time.monotonic())
    async with asyncio.timeout(20):
        await waiting


@pytest.mark.parametrize("way", ["connect", "thread", "while it runs"])
async def test_the_database_tells_a_process_the_time(way, engine, settings, jumped, monkeypatch):
    monkeypatch.setattr(clock, "_offset", Clock()._offset)
    monkeypatch.setattr(clock, "_stale_at", float("-inf"))
    if way == "connect":
        await (await connect(settings)).close()
    elif way == "thread":
        connect_sync(settings).close()
    else:
        monkeypatch.setattr(clock_module, "STALE_SECONDS", 0.0)
        service = create_engine(settings)
        following = asyncio.create_task(follow_time(service))
        before = clock._offset
        async with asyncio.timeout(20):
            while clock._offset == before:
                await asyncio.sleep(0)
        following.cancel()
        await service.dispose()
    async with transaction(engine) as connection:
        told = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    assert abs(clock.now() - told) < timedelta(minutes=5)


def test_the_queue_takes_its_times_from_the_same_clock(jumped):
    assert abs(periodic.time.time() - clock.timestamp()) < 300
    assert abs(utils.utcnow() - clock.now()) < timedelta(minutes=5)


def test_a_limit_shuts_nobody_out_when_the_clock_jumps(jumped, monkeypatch):
    passed = [0.0]
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + passed[0])
    monkeypatch.setattr("limits.storage.memory.time.time", time.monotonic)
    limit = PerMinute()
    assert limit.hit(2, "a") is None
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert limit.has_room(2, "a")
    assert limit.hit(2, "a") is None
    assert 0 < limit.hit(2, "a") <= 60
    assert not limit.has_room(2, "a")
    passed[0] = 61.0
    assert limit.has_room(2, "a")
    assert limit.hit(2, "a") is None
