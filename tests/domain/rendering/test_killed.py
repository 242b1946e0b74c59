"""Real processes, killed and hung up on at any moment: no code is left without a message that a repeat returns.

The short form is part of the suite; `VOUCHERS_TEST_INTERRUPTIONS=300` makes the long one.
"""

import asyncio
import contextlib
import os
import random

import httpx
import orjson
from sqlalchemy import text

from benchmarks import harness
from tests.service import Service

INTERRUPTIONS = int(os.environ.get("VOUCHERS_TEST_INTERRUPTIONS", "12"))
KILL_EVERY = 6
N = 300
TEMPLATE = "{{ vouchers['p'].assign_available() }} {{ vouchers['p'].assign_available(cached=False) }}"


def request(round_):
    """Form, headers and body of a round's request: named by a key, by ids, or not at all."""
    named = ("key", "ids", "none")[round_ % 3]
    recipients = [{"customer_id": f"c{n}"} for n in range(N)]
    if named == "ids":
        recipients = [each | {"message_id": f"r{round_}-{n}"} for n, each in enumerate(recipients)]
    headers = {"Idempotency-Key": f"r{round_}"} if named == "key" else {}
    if named != "none" and round_ % 2:
        headers["Accept"] = "application/x-ndjson"
    body = {"template": TEMPLATE, "channel": "email", "recipients": recipients}
    return named, headers, body | {"campaign_id": f"r{round_}"}


async def interrupt(service, round_, chance):
    """Send a round's request and hang up, or kill the service, after a moment; return the items of a whole reply."""
    _, headers, body = request(round_)
    async with service.client() as client:
        task = asyncio.create_task(client.post("/v1/render/batch", json=body, headers=headers))
        await asyncio.sleep(chance.random() * 0.5)
        if round_ % KILL_EVERY == KILL_EVERY - 1:
            service.kill()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
            return items_of(await task)
    return []


def items_of(reply):
    assert reply.status_code == 200, reply.text
    if reply.headers["content-type"] == "application/x-ndjson":
        return [orjson.loads(line) for line in reply.text.splitlines()]
    return reply.json()["items"]


async def taken(engine, round_):
    query = text("SELECT code FROM assignment WHERE campaign_id = :campaign")
    async with engine.connect() as connection:
        return set((await connection.execute(query, {"campaign": f"r{round_}"})).scalars())


async def test_every_code_taken_belongs_to_a_message_that_a_repeat_returns(anyio_backend):
    chance = random.Random(13)
    with Service() as service:
        await asyncio.to_thread(
            harness.on, service, lambda engine: harness.fill(engine, "p", INTERRUPTIONS * N * 4)
        )
        lost = 0
        for round_ in range(INTERRUPTIONS):
            known = await interrupt(service, round_, chance)
            if service.process.poll() is not None:
                await asyncio.to_thread(service.start)
            named, headers, body = request(round_)
            await asyncio.sleep(0.3)
            engine = service.engine()
            if named != "none":
                async with service.client() as client:
                    known = items_of(await client.post("/v1/render/batch", json=body, headers=headers))
                assert {item["status"] for item in known} == {"rendered"}
            found = {use["code"] for item in known for use in item["vouchers"]}
            lost += len(await taken(engine, round_) - found)
            await engine.dispose()
        assert lost == 0
