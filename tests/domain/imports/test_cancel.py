"""Fetches that do not end, and imports that are cancelled."""

import asyncio
import sqlite3
import time
from contextlib import asynccontextmanager, closing, suppress

import psutil
import pytest

from app.domain.imports import previews
from app.domain.imports.sources import fetching
from app.platform.errors import DomainError
from app.platform.projects import DEFAULT
from app.platform.settings import get_settings
from app.server.worker import work
from tests.domain.imports.servers import http_server, until

ENDLESS_QUERY = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS code FROM n"
)


@asynccontextmanager
async def silent_server():
    """Take connections, and say nothing."""
    held = []

    async def hold(_, writer):
        held.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for writer in held:
            writer.close()


@pytest.fixture
def sqlite(settings):
    with closing(sqlite3.connect(settings.import_folder / "shop.db")) as database:
        database.execute("CREATE TABLE t (a)")
        database.commit()


@pytest.mark.parametrize("kind", ["url", "drip", "postgresql", "sqlite", "sftp", "s3"])
async def test_every_kind_of_fetch_ends_in_time(settings, sqlite, kind):
    settings = settings.model_copy(update={"fetch_seconds": 1.0})
    with http_server() as dripping:
        async with silent_server() as port:
            source = {
                "url": {"type": "url", "url": f"http://127.0.0.1:{port}/"},
                "drip": {"type": "url", "url": f"http://127.0.0.1:{dripping.server_port}/endless"},
                "postgresql": {
                    "type": "database",
                    "url": f"postgresql://u@127.0.0.1:{port}/x",
                    "query": "SELECT 1",
                },
                "sqlite": {"type": "database", "url": "sqlite:///shop.db", "query": ENDLESS_QUERY},
                "sftp": {"type": "storage", "url": f"sftp://u:p@127.0.0.1:{port}/a"},
                "s3": {
                    "type": "storage",
                    "url": "s3://b/a",
                    "options": {"endpoint_url": f"http://127.0.0.1:{port}"},
                },
            }[kind]
            began = time.monotonic()
            with pytest.raises(DomainError, match=r"did not end within|cannot be read"):
                await asyncio.to_thread(lambda: list(fetching.fetch(settings, source, project=DEFAULT)))
            assert time.monotonic() - began < 4
            await until(nothing_is_fetched)


def fetchers():
    """Return what is fetched: the processes of this one that fetch one source each, the connections of its courier."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command = " ".join(child.cmdline())
            if "sources.child" in command:
                found.append(child)
            elif "sources.courier" in command:
                connections = child.net_connections("tcp")
                found += [each for each in connections if each.status == psutil.CONN_ESTABLISHED]
    return found


async def nothing_is_fetched():
    return not fetchers()


async def begin(client, source):
    reply = await client.post("/v1/pools/p/imports", json={"source": source})
    assert reply.status_code == 202, reply.text
    return f"/v1/imports/{reply.json()['id']}"


async def test_an_import_that_is_fetched_is_cancelled(client, worker, engine):
    with http_server() as server:
        url = await begin(client, {"type": "url", "url": f"http://127.0.0.1:{server.server_port}/endless"})

        async def fetched():
            return bool(fetchers())

        await until(fetched)
        cancelled = await client.post(f"{url}/cancel")
        assert cancelled.status_code == 200, cancelled.text
        assert (cancelled.json()["status"], cancelled.json()["error"]) == ("failed", "It was cancelled.")

        await until(nothing_is_fetched)
    again = await client.post(f"{url}/cancel")
    assert (again.status_code, again.json()["type"]) == (409, "/problems/import-ended")
    await until(lambda: no_chunks(engine))
    assert (await client.get(url)).json()["error"] == "It was cancelled."


async def no_chunks(engine):
    async with engine.connect() as connection:
        return (await connection.exec_driver_sql("SELECT count(*) FROM import_chunk")).scalar_one() == 0


async def test_an_import_that_waits_is_cancelled_and_never_runs(client, engine, settings):
    url = await begin(client, {"type": "text", "text": "code\nS-1\nS-2"})
    assert (await client.post(f"{url}/cancel")).status_code == 200
    task = asyncio.create_task(work(settings))
    await until(lambda: no_chunks(engine))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    done = (await client.get(url)).json()
    assert (done["status"], done["rows"]) == ("failed", 0)
    assert (await client.get("/v1/pools/p")).status_code == 404, "the import had made the pool"


async def test_what_was_merged_before_stays_and_adds_up(client, engine, upload, monkeypatch):
    monkeypatch.setenv("VOUCHERS_IMPORT_CHUNK_ROWS", "20")
    get_settings.cache_clear()
    lines = "code\n" + "\n".join(f"C-{n:06}" for n in range(20_000))
    running = asyncio.create_task(upload(lines))

    async def under_way():
        listed = (await client.get("/v1/imports")).json()["items"]
        return bool(listed) and listed[0]["imported"] > 0

    await until(under_way)
    url = f"/v1/imports/{(await client.get('/v1/imports')).json()['items'][0]['id']}"
    assert (await client.post(f"{url}/cancel")).status_code == 200
    await running
    await until(lambda: no_chunks(engine))
    done = (await client.get(url)).json()
    assert done["status"] == "failed"
    total = (await client.get("/v1/pools/p/counts")).json()["total"]
    assert 0 < total == done["imported"] < 20_000
    assert (await client.post(f"{url}/undo")).json()["taken_back"] == total


async def test_what_does_not_exist_is_not_cancelled(client):
    reply = await client.post("/v1/imports/3fa85f64-5717-4562-b3fc-2c963f66afa6/cancel")
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/import-not-found")


@pytest.mark.long
@pytest.mark.parametrize("begun_by_the_clock", ["all that is due"])
async def test_slow_sources_hold_up_neither_uploads_nor_the_clock(
    client, connection, begun_by_the_clock, worker, upload, settings
):
    """The sources never end: whatever ends while all of them are under way waited for none."""
    (settings.import_folder / "codes.csv").write_bytes(b"code\nS-1\n")
    with http_server() as server:
        slow = {"type": "url", "url": f"http://127.0.0.1:{server.server_port}/endless"}
        urls = [await begin(client, slow) for _ in range(settings.fetch_concurrency + 2)]

        async def all_places_taken():
            return len(fetchers()) == settings.fetch_concurrency

        await until(all_places_taken)
        assert (await upload("code\nU-1\nU-2", pool="other")).json()["imported"] == 2
        assert await all_places_taken()
        source = {"type": "storage", "url": "file:codes.csv"}
        body = {"pool": "q", "source": source, "cron": "0 6 * * *"}
        schedule = (await client.post("/v1/import-schedules", json=body)).json()
        await connection.exec_driver_sql("UPDATE import_schedule SET next_run = now()")
        await connection.commit()

        async def begun():
            shown = (await client.get(f"/v1/import-schedules/{schedule['id']}")).json()
            return shown["last_import"] is not None

        await until(begun)
        assert await all_places_taken()
        for url in urls:
            assert (await client.get(url)).json()["status"] in {"queued", "running"}
            await client.post(f"{url}/cancel")

        await until(nothing_is_fetched)


async def test_previews_that_do_not_end_leave_the_process_to_others(client, settings, monkeypatch):
    """The source says nothing until the others were answered: they waited for none of its previews."""
    monkeypatch.setattr(previews, "PREVIEW_SECONDS", 60.0)
    monkeypatch.setattr(previews.PREVIEWS, "patience", 0.5)
    text = {"source": {"type": "text", "text": "code\nS-1\nS-2"}}
    async with silent_server() as port:
        slow = {"source": {"type": "url", "url": f"http://127.0.0.1:{port}/"}}
        asked = [asyncio.create_task(client.post("/v1/imports/preview", json=slow)) for _ in range(24)]

        async def all_places_taken():
            return sum(task.done() for task in asked) == 21

        await until(all_places_taken)
        assert (await client.post("/v1/imports/preview", json=text)).status_code == 200
        assert await all_places_taken()
    replies = await asyncio.gather(*asked)
    answered = [reply.status_code for reply in replies]
    assert answered.count(503) == 21
    assert answered.count(422) == 3
    assert {reply.headers.get("Retry-After") for reply in replies if reply.status_code == 503} == {"5"}
    await until(nothing_is_fetched)
    assert (await client.post("/v1/imports/preview", json=text)).status_code == 200
