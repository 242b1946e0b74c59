"""The primary is gone, or hangs, under everything that callers do; its synchronous standby takes its place.

`VOUCHERS_TEST_CHAOS=long` makes twenty rounds, with a network in between that may be cut, or slow.
"""

import asyncio
import contextlib
import random
import subprocess
import sys
import time

from tests.chaos.between import Network
from tests.chaos.mixed import Callers, audit
from tests.chaos.promises import AT_ONCE, LONG, PROMOTED, REFUSED
from tests.chaos.replicated import Node, Pair
from tests.factories import fill
from tests.service import Service
from tests.worker import eventually

ROUNDS = ("killed", "hangs")
if LONG:
    ROUNDS = ("killed", "hangs", "cut off", "black hole", "slow", "no standby") * 4
FAILOVERS = {"killed", "hangs", "cut off"}
UNNOTICED = 1.0
"""Seconds until somebody notices that the primary is gone."""
FAULT_SECONDS = 5.0
"""How long a fault lasts after which the primary is still there."""


async def test_what_was_acknowledged_outlives_the_primary_and_everything_goes_on_by_itself(record_property):
    async with contextlib.AsyncExitStack() as stack:
        pair = stack.enter_context(Pair())
        if LONG:
            for node in pair.nodes:
                node.network = await stack.enter_async_context(Network(("127.0.0.1", node.port)))
        service = Service(workers=1, DATABASE_URL=pair.url)
        try:
            await asyncio.to_thread(service.start)
            await _under_load(service, pair, record_property)
        finally:
            await asyncio.to_thread(service.__exit__)


async def _under_load(service: Service, pair: Pair, record_property) -> None:
    engine = service.engine()
    for part in range(5 if LONG else 1):  # each in the time of a statement
        await fill(engine, "p", [f"p{part}-{n:05}" for n in range(20_000)])
    await engine.dispose()
    async with service.client() as client:
        mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
        assert (await client.put("/v1/redemption-mapping", json=mapping)).status_code == 200
    environment = {**service.environment, "DATABASE_URL": pair.other_spellings[0]}
    command = [sys.executable, "-m", "app.cli", "worker"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as worker:  # noqa: ASYNC220
        try:
            async with Callers(service, random.randrange(2**32)) as callers:
                callers.book.within = REFUSED
                said = await _rounds(callers, pair)
                await callers.rest()
                said.append(f"{dict(callers.book.statuses)}, longest refusal {callers.book.slowest:.1f} s")
                record_property("said", said)
                service.environment["DATABASE_URL"] = pair.other_spellings[1]  # for its commands
                await audit(callers, service)
            assert worker.poll() is None
        finally:
            worker.terminate()
            worker.wait(20)


async def _rounds(callers: Callers, pair: Pair) -> list[str]:
    primary, standby = pair.nodes
    said = []
    for n, how in enumerate(ROUNDS):
        before = len(callers.book.keys)
        await eventually(lambda: len(callers.book.keys) > before + 100, 60)  # noqa: B023  (it is called at once)
        callers.book.during = how
        if how not in FAILOVERS:
            said.append(await _disturb(callers, how, primary, standby))
            continue
        said.append(await _fail_over(callers, how, primary, standby))
        primary, standby = standby, primary
        if n < len(ROUNDS) - 1:
            await asyncio.to_thread(pair.follow, standby, primary)
    return said


async def _fail_over(callers: Callers, how: str, primary: Node, standby: Node) -> str:
    """Take the primary away, promote its standby, and say how long assigns and an import took to be back."""
    if how == "cut off":
        primary.network.swallow()
    else:
        await asyncio.to_thread(primary.kill if how == "killed" else primary.suspend)
    await asyncio.sleep(UNNOTICED)
    await asyncio.to_thread(standby.promote)
    promoted = time.monotonic()
    assigns = await _next_assign(callers) - promoted
    await asyncio.to_thread(primary.kill)  # what promotes a standby makes sure that the old primary is gone
    if primary.network is not None:
        primary.network.heal()
    imports = await _import(callers) - promoted
    said = f"{how}: assigns back after {assigns:.1f} s, an import done after {imports:.1f} s"
    assert assigns < PROMOTED, said
    assert imports < 4 * PROMOTED, said
    return said


async def _disturb(callers: Callers, how: str, primary: Node, standby: Node) -> str:
    """Spoil the network, or every commit, for a while, and say how long assigns took to be back."""
    if how == "slow":
        primary.network.latency = 0.1  # each way
    elif how == "black hole":
        primary.network.swallow()
    else:  # every commit waits for the standby, and none is acknowledged
        await asyncio.to_thread(standby.kill)
    await asyncio.sleep(FAULT_SECONDS)
    if how == "no standby":
        await asyncio.to_thread(standby.start)
    primary.network.latency = 0.0
    primary.network.heal()
    healed = time.monotonic()
    assigns = await _next_assign(callers) - healed
    said = f"{how}: assigns back after {assigns:.1f} s"
    assert assigns < AT_ONCE, said
    return said


async def _next_assign(callers: Callers) -> float:
    """Wait for the next assign that is answered; when it was."""
    before = len(callers.book.keys)
    await eventually(lambda: len(callers.book.keys) > before, 60)
    return time.monotonic()


async def _import(callers: Callers) -> float:
    """Import a code, which its own worker or the service's does; when it is in."""
    body = {"source": {"type": "text", "text": f"code\nafter-{random.random()}\n"}}
    made = (await callers.ask("POST", "/v1/pools/after/imports", body)).json()
    async with asyncio.timeout(60):
        while (await callers.ask("GET", f"/v1/imports/{made['id']}")).json()["status"] != "succeeded":
            await asyncio.sleep(0.1)
    return time.monotonic()
