"""Each task that a process has in the background begins again where it fails."""

import asyncio
from unittest.mock import Mock

import pytest

from app.platform import background
from app.server import application, marks, worker
from app.server.worker_health import Pulse
from tests.conftest import application as made
from tests.worker import eventually


@pytest.fixture
def failing(monkeypatch):
    """Lets a function fail the first time and tells how often it was called; the log is told, and the pause short."""
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(background, "log", Mock())

    def fail_once(owner, name):
        calls = []

        async def fails(*given, **_):
            calls.append(name)
            if len(calls) == 1:
                raise ValueError(name)
            await next((each for each in given if isinstance(each, asyncio.Event)), asyncio.Event()).wait()

        monkeypatch.setattr(owner, name, fails)
        return calls

    return fail_once


async def test_those_of_a_process_that_answers_http(settings, failing):
    settings = settings.model_copy(update={"key_cache_seconds": 5})
    names = ["tell_connections", "mark_databases", "follow_time", "listen"]
    called = [failing(application, name) for name in names]
    async with application.running(settings)(made(settings.max_body_bytes)):
        await eventually(lambda: all(len(calls) == 2 for calls in called))


async def test_the_mark_of_each_database_by_itself(failing):
    called = failing(marks, "mark_requests")
    one = Mock()
    databases = Mock(all=lambda: [one])
    marking = asyncio.create_task(marks.mark_databases(databases))
    await eventually(lambda: len(called) == 2)
    assert not marking.done()
    marking.cancel()
    await asyncio.wait([marking])


async def test_those_of_a_process_that_does_jobs(settings, failing):
    called = [failing(worker, "follow_time"), failing(Pulse, "follow")]
    crew = Mock()
    called.append(failing(crew, "keep"))
    beats = []

    def beat():
        beats.append(1)
        if len(beats) == 1:
            raise ValueError

    task = asyncio.create_task(worker.work(settings, beat, Pulse(), crew=crew))
    try:
        await eventually(lambda: all(len(calls) == 2 for calls in called) and len(beats) > 1, 60)
    finally:
        task.cancel()
        await asyncio.wait([task])
