"""Exports that nobody reads hold no connection, and are read to the end by who does."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from app.platform import disk
from app.platform.errors import DatabaseUnavailableError
from app.web import exports, spool
from app.web.pace import Pace
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


@pytest.fixture
def small_disk(monkeypatch):
    """Make a disk of so many gigabytes, with so many free; it is looked at often."""

    def make(gigabytes, free):
        disk_ = SimpleNamespace(f_frsize=4096, f_blocks=gigabytes * 2**18, f_bavail=free * 2**18)
        monkeypatch.setattr(disk.os, "statvfs", lambda _: disk_)
        monkeypatch.setattr(disk, "LOOK_BYTES", 100)

    return make


DISKS = pytest.mark.parametrize(
    ("gigabytes", "free", "goes_on"), [(100, 2, True), (100, 0.9, False), (4, 0.5, True)]
)


@DISKS
async def test_an_export_ends_before_the_disk_is_full(small_disk, gigabytes, free, goes_on):
    small_disk(gigabytes, free)

    async def blocks():
        for _ in range(20):
            yield b"x" * 50

    got = b""
    with contextlib.nullcontext() if goes_on else pytest.raises(disk.NoRoomError):
        async for block in spooled(blocks()):
            got += block
    assert len(got) == 1000 if goes_on else len(got) <= 100


@DISKS
async def test_an_upload_ends_before_the_disk_is_full(client, small_disk, gigabytes, free, goes_on):
    small_disk(gigabytes, free)
    reply = await client.post("/v1/pools/p/imports", files={"file": ("codes.csv", b"code\nA-1\n" * 50)})
    assert reply.status_code == (202 if goes_on else 503)
    if not goes_on:
        assert reply.headers["Retry-After"] == "60"
        assert (await client.get("/v1/pools/p")).status_code == 404


async def test_exports_read_in_turns_and_all_of_them_rest_between(monkeypatch):
    """What is read while it is another's turn, or while they rest, would be taken from those who wait for answers."""
    at_it, most, rests = 0, 0, []

    async def rest(self, took):
        rests.append((took, at_it))

    monkeypatch.setattr(Pace, "rest", rest)

    async def blocks():
        nonlocal at_it, most
        yield b""
        for _ in range(10):
            at_it += 1
            most = max(most, at_it)
            await asyncio.sleep(0)
            at_it -= 1
            yield b"x"

    async def read():
        return b"".join([block async for block in spooled(blocks())])

    assert await asyncio.gather(*(read() for _ in range(3))) == [b"x" * 10] * 3
    assert most == 1
    assert len(rests) == 30
    assert all(at_it == 0 for _, at_it in rests)


async def test_who_does_not_get_a_turn_is_told_so_before_the_reply_begins(client, monkeypatch):
    spool._BY_LOOP.clear()
    monkeypatch.setattr(spool, "MAX_READING", 0)
    monkeypatch.setattr(spool, "WAIT_SECONDS", 0)
    await client.post("/v1/pools", json={"name": "p"})
    for path in ("/v1/pools/p/export", "/v1/assignments/export"):
        refused = await client.get(path)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "10"
        assert refused.headers["content-type"] == "application/problem+json"
    monkeypatch.undo()
    spool._BY_LOOP.clear()
    assert (await client.get("/v1/pools/p/export")).status_code == 200


async def test_what_fails_before_the_first_row_is_no_download(client, monkeypatch):
    await client.post("/v1/pools", json={"name": "p"})

    async def broken(*_):
        raise DatabaseUnavailableError("gone")
        yield b""

    monkeypatch.setattr(exports, "stream", broken)
    refused = await client.get("/v1/pools/p/export")
    assert refused.status_code == 503
    assert refused.json()["type"].endswith("/database-unavailable")
    assert "content-disposition" not in refused.headers


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

    open_ = [spooled(rows(), project) for project in (*"ab",) * 10]
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


async def test_exports_of_one_project_leave_room_for_anothers(monkeypatch):
    spool._BY_LOOP.clear()
    monkeypatch.setattr(spool, "MAX_OPEN", spool.KEPT_FOR_OTHERS + 2)

    async def rows():
        yield b"x"

    open_ = [spooled(rows(), "a"), spooled(rows(), "a"), spooled(rows(), "b")]
    for each in open_[:2]:
        await anext(each)
    with pytest.raises(spool.TooManyExportsError):
        await anext(spooled(rows(), "a"))
    assert await anext(open_[2]) == b"x"
    for each in open_:
        await each.aclose()
    again = spooled(rows(), "a")
    assert await anext(again) == b"x"
    await again.aclose()


async def test_exports_do_not_wait_for_a_connection_in_the_turn_that_another_needs_to_end():
    spool._BY_LOOP.clear()
    connection = asyncio.Lock()

    async def rows():
        async with connection:
            yield b""
            for _ in range(3):
                await asyncio.sleep(0)
                yield b"x"

    async def whole():
        return b"".join([block async for block in spooled(rows())])

    async with asyncio.timeout(10):
        assert await asyncio.gather(*(whole() for _ in range(3))) == [b"xxx"] * 3
