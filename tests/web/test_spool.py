"""Exports that nobody reads hold no connection, and are read to the end by who does."""

import asyncio

import pytest

from app.web import spool
from app.web.spool import spooled


async def test_everything_comes_in_order():
    async def blocks():
        for n in range(300):
            yield str(n).encode() * 1000
            await asyncio.sleep(0)

    got = b"".join([block async for block in spooled(blocks())])
    assert got == b"".join(str(n).encode() * 1000 for n in range(300))


async def test_reading_does_not_wait_for_who_takes_it():
    ended = asyncio.Event()

    async def blocks():
        for _ in range(100):
            yield b"x" * 100_000
        ended.set()

    taking = spooled(blocks())
    await anext(taking)  # and no more
    async with asyncio.timeout(5):
        await ended.wait()
    await taking.aclose()


async def test_who_leaves_ends_the_reading():
    left = asyncio.Event()

    async def blocks():
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.01)
        finally:
            left.set()

    source = blocks()
    taking = spooled(source)
    await anext(taking)
    await taking.aclose()
    await source.aclose()
    assert left.is_set()


async def test_an_error_ends_the_reply_short():
    async def blocks():
        yield b"x"
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError):
        async for _ in spooled(blocks()):
            pass


async def test_exports_that_nobody_reads_leave_the_connections_to_others(client, engine, monkeypatch):
    """Twice as many as the process has connections; each was begun and none is read."""
    monkeypatch.setattr(spool, "MAX_OPEN", 20)
    ended = 0

    async def rows():
        nonlocal ended
        async with engine.connect():
            for _ in range(20):
                yield b"x" * 50_000
                await asyncio.sleep(0)
        ended += 1

    open_ = [spooled(rows()) for _ in range(20)]
    for each in open_:
        await anext(each)
    async with asyncio.timeout(10):
        while ended < 20:
            await asyncio.sleep(0.01)
    assert (await client.get("/v1/pools/p/export")).status_code == 404
    await client.post("/v1/pools", json={"name": "p"})
    assert (await client.get("/v1/pools/p/export")).status_code == 503
    for each in open_:
        await each.aclose()
    assert (await client.get("/v1/pools/p/export")).status_code == 200
