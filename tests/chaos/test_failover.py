"""The primary is gone, or hangs, under everything that callers do; its synchronous standby takes its place."""

import asyncio
import random
import subprocess
import sys
import time

from tests.chaos.mixed import Callers, audit
from tests.chaos.promises import PROMOTED, REFUSED
from tests.chaos.replicated import Node, Pair
from tests.factories import fill
from tests.service import Service
from tests.worker import eventually

UNNOTICED = 1.0
"""Seconds until somebody notices that the primary is gone."""


async def test_what_was_acknowledged_outlives_the_primary_and_everything_goes_on_by_itself(record_property):
    with Pair() as pair:
        service = Service(workers=1, DATABASE_URL=pair.url)
        try:
            await asyncio.to_thread(service.start)
            await _fail_over_twice(service, pair, record_property)
        finally:
            await asyncio.to_thread(service.__exit__)


async def _fail_over_twice(service: Service, pair: Pair, record_property) -> None:
    first, second = pair.nodes
    engine = service.engine()
    await fill(engine, "p", 20_000)
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
                await eventually(lambda: len(callers.book.keys) > 100, 60)
                said = [await _fail_over(callers, "killed", first, second)]
                await asyncio.to_thread(pair.follow, first, second)
                before = len(callers.book.keys)
                await eventually(lambda: len(callers.book.keys) > before + 100, 60)
                said.append(await _fail_over(callers, "hangs", second, first))
                await callers.rest()
                said.append(f"{dict(callers.book.statuses)}, longest refusal {callers.book.slowest:.1f} s")
                record_property("said", said)
                service.environment["DATABASE_URL"] = pair.other_spellings[1]  # for its commands
                await audit(callers, service)
            assert worker.poll() is None
        finally:
            worker.terminate()
            worker.wait(20)


async def _fail_over(callers: Callers, how: str, primary: Node, standby: Node) -> str:
    """Take the primary away, promote its standby, and say how long assigns and an import took to be back."""
    book = callers.book
    book.during = how
    await asyncio.to_thread(primary.kill if how == "killed" else primary.suspend)
    await asyncio.sleep(UNNOTICED)
    await asyncio.to_thread(standby.promote)
    promoted, before = time.monotonic(), len(book.keys)
    await eventually(lambda: len(book.keys) > before, 60)
    assigns = time.monotonic() - promoted
    if how == "hangs":  # what promotes a standby makes sure that the old primary is gone
        await asyncio.to_thread(primary.kill)
    imports = await _import(callers) - promoted
    said = f"{how}: assigns back after {assigns:.1f} s, an import done after {imports:.1f} s"
    assert assigns < PROMOTED, said
    assert imports < 4 * PROMOTED, said
    return said


async def _import(callers: Callers) -> float:
    """Import a code, which its own worker or the service's does; when it is in."""
    body = {"source": {"type": "text", "text": f"code\nafter-{random.random()}\n"}}
    made = (await callers.ask("POST", "/v1/pools/after/imports", body)).json()
    async with asyncio.timeout(60):
        while (await callers.ask("GET", f"/v1/imports/{made['id']}")).json()["status"] != "succeeded":
            await asyncio.sleep(0.1)
    return time.monotonic()
