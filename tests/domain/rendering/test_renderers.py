"""The processes that render, when those who wait for them go away."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from app.domain.rendering import renderers as renderers_
from app.domain.rendering.renderers import Renderers, RendererUnavailableError
from app.platform.errors import OverloadedError


def children() -> set[int]:
    """Return the ids of the processes that this one has started and that have not ended."""
    return {int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@pytest.mark.parametrize("turns", range(1, 5))
async def test_a_caller_that_goes_while_a_process_starts_leaves_nothing_behind(settings, turns):
    """At each turn of the loop: the process starts in the first, its pipes are connected one by one after it."""
    before = children()
    renderers = Renderers(settings.model_copy(update={"render_processes": 1}))
    waiting = asyncio.create_task(renderers.check())
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(3):
        await asyncio.gather(waiting, return_exceptions=True)
        await renderers.check()  # the place is free again, and can be filled
        await renderers.close()
        while children() - before:
            await asyncio.sleep(0.01)


def job(source):
    """One message of a template."""
    item = {"message": "m", "customer_id": None, "new": True}
    about = {
        "preview": False,
        "strict": False,
        "time": 0.0,
        "context": {},
        "campaign_id": None,
        "channel": None,
    }
    parts = [(None, source, False)]
    return {**about, "parts": parts, "aggregates": {}, "pools": {}, "seen_known": True, "items": [item]}


@pytest.fixture
async def one(settings, monkeypatch):
    """One process, which may be still for a moment, and its id."""
    before = children()
    monkeypatch.setattr("app.domain.rendering.renderers.STILL_SECONDS", 0.3)
    renderers = Renderers(settings.model_copy(update={"render_processes": 1, "template_seconds": 3.0}))
    await renderers.check()
    yield renderers, children() - before
    await renderers.close()


async def test_a_process_that_is_slow_is_not_given_up(one):
    slow = "{% for n in range(900) %}{% set _ = range(40000) | sum %}{% endfor %}done"
    renderers, _ = one
    assert (await renderers.render(job(slow)))["results"][0]["texts"] == ["done"]


async def test_a_process_that_is_stopped_is_replaced(one):
    renderers, (process,) = one
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(RendererUnavailableError):
        await renderers.render(job("b"))
    assert (await renderers.render(job("c")))["results"][0]["texts"] == ["c"]


async def test_a_process_that_is_told_to_stop_goes_on_until_its_service_ends_it(one):
    renderers, (process,) = one
    before = children()
    os.kill(process, signal.SIGTERM)  # it may be starting, and is replaced then
    assert (await renderers.render(job("a")))["results"][0]["texts"] == ["a"]
    (process,) = children() - before or {process}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(process, number)
        assert (await renderers.render(job("b")))["results"][0]["texts"] == ["b"]
    assert process in children()


NAMES = [
    "{% for n in range(999) %}{{ vouchers[n | string].count_available() }}{% endfor %}",
    "{% for n in range(999) %}{{ vouchers[n | string].assign_available() }}{% endfor %}",
    "{{ vouchers['p'].assign_available(fallback=range(999) | map('string') | list) }}",
    "{% for n in range(999) %}{{ aggregates[n | string] }}{% endfor %}",
]


async def test_a_message_has_no_more_than_so_many_pools_and_aggregates_looked_up(one):
    """Each is asked of the database, in the transaction of the message."""
    renderers, _ = one
    for template in NAMES:
        needs = (await renderers.render(job(template)))["needs"]
        assert len(needs["codes"]) + len(needs["aggregates"]) == 100, template
    known = {"codes": [], "valid_for": 0, "short": None, "looked_up": 0, "similar": None, "limits": None}
    known["counts"] = {"available": 1, "total": 1}
    wanted = job(NAMES[0]) | {"pools": {str(n): known for n in range(999)}}
    error = (await renderers.render(wanted))["results"][0]["error"]
    assert (error["name"], "at most 100 pools" in error["detail"]) == ("template-limit", True)


@pytest.mark.long
async def test_templates_that_are_kept_leave_their_memory_to_those_that_come(settings):
    renderers = Renderers(
        settings.model_copy(update={"render_processes": 1, "template_memory_bytes": 128 * 1024**2})
    )
    wanted = job("{% if context.b %}{{ context.a }}{% endif %}")
    wanted["items"] = wanted["items"] * 100  # so many are worth a template of their own
    for n in range(110):
        wanted["context"] = {"a": f"{n:03}" + "x" * 10**6}
        assert (await renderers.render(wanted))["results"][0]["texts"] == [""]
        assert "results" in await renderers.render(job("{{ ('x' * 10**7) | length }}"))
    await renderers.close()


async def test_a_process_that_was_killed_between_two_jobs_is_replaced(one):
    renderers, (process,) = one
    for moment in range(4):
        os.kill(process, signal.SIGKILL)
        for _ in range(moment):
            await asyncio.sleep(0.01)  # the loop hears of it at some time
        before = children()
        assert (await renderers.render(job("a")))["results"][0]["texts"] == ["a"]
        (process,) = children() - before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the pipes that are left
def test_a_loop_that_closes_while_a_process_starts_comes_to_an_end(settings, monkeypatch):
    monkeypatch.setattr("app.domain.rendering.renderers.START_SECONDS", 0.3)

    async def begin() -> None:
        renderers = Renderers(settings)
        begun.append(asyncio.create_task(renderers.check()))
        await asyncio.sleep(0)

    begun: list[asyncio.Task[None]] = []
    asyncio.run(begin())
    assert begun[0].cancelled()


async def test_so_many_jobs_wait_for_a_process_and_none_for_ever(settings, monkeypatch):
    monkeypatch.setattr(renderers_, "MAX_WAITING", 2)
    renderers = Renderers(settings.model_copy(update={"render_processes": 1}))
    held = await renderers._processes.take(None)
    waiting = [asyncio.create_task(renderers._processes.take(None)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await renderers.render(job("x"))
    for task in waiting:
        renderers._processes.give_back(held)
        await task
    renderers._processes._patience = 0
    with pytest.raises(OverloadedError):
        await renderers.render(job("x"))
    renderers._processes.give_back(held)
    assert (await renderers.render(job("x")))["results"][0]["texts"] == ["x"]
    await renderers.close()
