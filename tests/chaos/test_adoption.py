"""New connections while one of two web processes is stopped or killed: the other one serves those of both."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.chaos.promises import SLACK
from tests.service import Service
from tests.worker import eventually

CONNECTIONS = 20
"""That not one of so many goes to the socket of one of two processes is a chance of one in a million."""
WITHIN = 2.0 * SLACK


@pytest.fixture(scope="module")
def service():
    with Service(workers=2) as running:
        yield running


async def ask(service, stack):
    """Open connections, each with a request; they end with the stack. Return each one's status and seconds."""

    async def timed():
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=service.url, timeout=30))
        began = time.monotonic()
        reply = await client.get("/health/live")
        return reply.status_code, time.monotonic() - began

    return await asyncio.gather(*(timed() for _ in range(CONNECTIONS)))


async def test_new_connections_are_served_by_another_while_a_process_hangs_and_then_by_both(service):
    await eventually(lambda: both_serve(service), 60)
    web = service.web()
    web[0].suspend()
    async with AsyncExitStack() as stack:
        replies = await ask(service, stack)
        assert adopted(web[1]) == 1
        assert connected(web[1]) >= CONNECTIONS
    web[0].resume()
    assert {status for status, _ in replies} == {200}
    assert max(seconds for _, seconds in replies) < WITHIN
    await eventually(lambda: not any(adopted(process) for process in web), WITHIN)
    assert await both_serve(service)


async def test_no_new_connection_waits_for_the_successor_of_a_process_that_was_killed(service):
    await eventually(lambda: both_serve(service), 60)
    service.web()[0].kill()
    async with AsyncExitStack() as stack:
        replies = await ask(service, stack)
    assert {status for status, _ in replies} == {200}
    assert max(seconds for _, seconds in replies) < WITHIN
    await eventually(lambda: both_serve(service), 60)


async def both_serve(service):
    async with AsyncExitStack() as stack:
        await ask(service, stack)
        web = service.web()
        return len(web) == 2 and all(connected(process) for process in web)


def connected(process):
    """How many connections a process has, its own to others among them."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))


def adopted(process):
    """How many sockets a process serves beside its own: it has a second copy of each."""
    links = []
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(descriptor.readlink()))
    sockets = [link for link in links if link.startswith("socket:")]
    return len(sockets) - len(set(sockets))
