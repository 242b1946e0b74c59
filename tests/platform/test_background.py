"""What goes on in the background does not end unseen."""

import asyncio

import orjson
import pytest
import structlog

from app.platform import background


@pytest.fixture
def said(monkeypatch):
    """What the log is told."""
    said = []

    def keep(_logger, _level, event):
        said.append(orjson.loads(orjson.dumps(event)))
        raise structlog.DropEvent

    processors = [structlog.processors.add_log_level, structlog.processors.format_exc_info, keep]
    monkeypatch.setattr(background, "log", structlog.wrap_logger(None, processors))
    return said


async def test_a_task_that_fails_is_told_with_its_traceback_and_begins_again(monkeypatch, said):
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.01)
    ends = [ValueError("first"), KeyError("second"), None]

    async def act():
        if (end := ends.pop(0)) is not None:
            raise end

    task = background.begin("works", act)
    assert task.get_name() == "works"
    async with asyncio.timeout(5):
        assert await task is None
    assert [(each["task"], each["level"]) for each in said] == [("works", "error")] * 2
    assert "ValueError: first" in said[0]["exception"]
    assert "in act" in said[1]["exception"]


async def test_a_task_that_is_cancelled_ends_at_work_and_in_its_pause(monkeypatch, said):
    async def fail():
        raise ValueError

    async def wait():
        await asyncio.sleep(60)

    for act in (wait, fail):
        task = background.begin("ends", act)
        await asyncio.sleep(0.05)
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([task])
        assert task.cancelled()
    assert len(said) == 1
