"""Real processes, killed and hung up on at any moment: no code is left without a message that a repeat returns.

The short form is part of the chaos suite; `VOUCHERS_TEST_INTERRUPTIONS=300` makes the long one.
"""

import asyncio
import contextlib
import os
import random
import re

import httpx
import orjson
from sqlalchemy import text

from benchmarks import harness
from tests.factories import KEY
from tests.service import Service

INTERRUPTIONS = int(os.environ.get("VOUCHERS_TEST_INTERRUPTIONS", "12"))
KILL_EVERY = 5
N = 300
A_POOL = 20
"""Rounds that draw from one pool."""


def request(round_):
    """Form, headers and body of a round's request: named by a key, by ids, or not at all."""
    named = ("key", "ids", "none")[round_ % 3]
    recipients = [{"customer_id": f"c{n}"} for n in range(N)]
    if named == "ids":
        recipients = [each | {"message_id": f"r{round_}-{n}"} for n, each in enumerate(recipients)]
    headers = {"Idempotency-Key": f"r{round_}"} if named == "key" else {}
    if round_ // 3 % 2:
        headers["Accept"] = "application/x-ndjson"
    pool = f"vouchers['p{round_ // A_POOL}']"
    template = f"{{{{ {pool}.assign_available() }}}} {{{{ {pool}.assign_available(cached=False) }}}}"
    body = {"template": template, "channel": "email", "recipients": recipients}
    return named, headers, body | {"campaign_id": f"r{round_}"}


async def interrupt(service, round_, chance):
    """Send a round's request and hang up, or kill the service, after a moment; return what came: items, and a key.

    The client ends its half of the connection, which is a hang-up to the server, and reads what had been sent.
    """
    _, headers, body = request(round_)
    content = orjson.dumps(body)
    url = httpx.URL(service.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    headers |= {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST /v1/render/batch HTTP/1.0\r\n{head}\r\n".encode() + content)
    await asyncio.sleep(chance.random() * 0.5)
    if round_ % KILL_EVERY == KILL_EVERY - 1:
        service.kill()
    else:
        with contextlib.suppress(OSError):
            writer.write_eof()
    try:
        head_sent, _, reply = (await reader.read()).partition(b"\r\n\r\n")
    except OSError:
        return [], None
    finally:
        writer.close()
    if b"chunked" in head_sent.lower():
        reply = b"".join(pieces(reply))
    key = re.search(rb"(?i)^idempotency-key: (.+?)\r?$", head_sent, re.MULTILINE)
    return items_of(reply, lines="Accept" in headers), key and key[1].decode()


def pieces(body):
    """Take chunked encoding off a body that may break off."""
    while b"\r\n" in body:
        length, _, body = body.partition(b"\r\n")
        yield body[: int(length, 16)]
        body = body[int(length, 16) + 2 :]


def items_of(body, *, lines):
    if lines:
        return [orjson.loads(line) for line in body.splitlines(keepends=True) if line.endswith(b"\n")]
    return orjson.loads(body)["items"] if body.endswith(b"]}") else []


def fill(pool):
    return lambda engine: harness.fill(engine, pool, min(INTERRUPTIONS, A_POOL) * N * 3)


async def taken(engine, round_):
    query = text("SELECT code FROM assignment WHERE campaign_id = :campaign AND released_at IS NULL")
    async with engine.connect() as connection:
        return set((await connection.execute(query, {"campaign": f"r{round_}"})).scalars())


async def test_every_code_taken_belongs_to_a_message_that_a_repeat_returns(anyio_backend):
    chance = random.Random(13)
    with Service() as service:
        lost = {}
        for round_ in range(INTERRUPTIONS):
            if round_ % A_POOL == 0:
                await asyncio.to_thread(harness.on, service, fill(f"p{round_ // A_POOL}"))
            known, key = await interrupt(service, round_, chance)
            sent = known
            if service.process.poll() is not None:
                await asyncio.to_thread(service.start)
            named, headers, body = request(round_)
            engine = service.engine()
            if key is not None:  # made by the service, and told before anything was taken
                named, headers = "key", headers | {"Idempotency-Key": key}
            if named != "none":
                async with service.client() as client:
                    reply = await client.post("/v1/render/batch", json=body, headers=headers)
                    assert reply.status_code == 200, reply.text
                    known = items_of(reply.content, lines="Accept" in headers)
                assert {item["status"] for item in known} == {"rendered"}
                seen = {use["code"] for item in sent for use in item["vouchers"]}
                assert seen <= {use["code"] for item in known for use in item["vouchers"]}, round_
            found = {use["code"] for item in known for use in item["vouchers"]}
            for _ in range(20):  # what is taken back is taken back in a moment
                left = await taken(engine, round_) - found
                if not left:
                    break
                await asyncio.sleep(0.1)
            if left:
                lost[round_] = len(left)
            await engine.dispose()
        assert lost == {}
