"""Rounds of faults under everything that callers do; afterwards the books are held against what was acknowledged.

The short form has a round for each kind of fault. `VOUCHERS_TEST_CHAOS=long` makes many, in random order.
"""

import asyncio
import contextlib
import random
import signal
import time

import httpx
import psutil
import psycopg

from tests.chaos.disk import Disk, can_mount
from tests.chaos.mixed import Callers, audit
from tests.chaos.promises import AFTER_START, AT_ONCE, LONG, REFUSED, SLACK
from tests.factories import fill
from tests.service import Service
from tests.worker import eventually

ROUNDS = 80
"""Of the hundred; test_failover.py makes the others."""
FULL_SECONDS = 3.0


def kill(processes):
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


async def a_web_process_is_killed(service):
    kill(service.web()[:1])
    return AFTER_START


async def every_web_process_is_killed(service):
    kill(service.web())
    return AFTER_START


async def the_jobs_are_killed(service):
    kill(service.jobs())
    return AT_ONCE


async def the_renderers_are_killed(service):
    for web in service.web():
        with contextlib.suppress(psutil.NoSuchProcess):
            kill(web.children())
    return AT_ONCE


async def the_database_is_killed(service):
    kill(service.postgres())
    return AFTER_START


async def the_database_is_killed_again_while_it_starts(service):
    kill(service.postgres())
    with contextlib.suppress(TimeoutError):
        await eventually(service.postgres, 5)
    kill(service.postgres())
    return AFTER_START


async def a_backend_is_killed(service):
    """PostgreSQL then ends all its connections and recovers."""
    kill(service.postgres()[-1:])
    return AFTER_START


async def the_database_hangs(service):
    stopped = service.suspend_postgres()
    try:
        await asyncio.sleep(5)
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
    return AT_ONCE


async def a_web_process_hangs(service):
    web = service.web()[:1]
    for process in web:
        process.suspend()
    await asyncio.sleep(2)
    for process in web:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    return AT_ONCE


async def every_process_is_replaced(service):
    service.process.send_signal(signal.SIGHUP)
    return AT_ONCE


async def the_power_goes(service):
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    return AFTER_START


async def the_disk_is_full(service):
    """Of everything that lies in the service's home: data, logs, metrics."""
    disk = Disk.of(service.home)
    disk.fill()
    await eventually(lambda: ready_says(service, 503), FULL_SECONDS * SLACK)
    await asyncio.sleep(FULL_SECONDS)
    disk.clear()
    return AT_ONCE


async def ready_says(service, status):
    async with service.client() as client:
        return (await client.get("/health/ready")).status_code == status


async def the_disk_is_full_of_wal(service):
    """PostgreSQL then ends, and cannot start."""
    disk = Disk.of(service.home)
    disk.fill()
    await asyncio.to_thread(_use_up_wal, service)
    await asyncio.sleep(FULL_SECONDS)
    disk.clear()
    return AFTER_START


def _use_up_wal(service):
    """Begin one piece of the write-ahead log after another, until there is no room for the next."""
    place = {"host": str(service.home / "run"), "port": 5432, "user": "postgres", "dbname": "postgres"}
    with (
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(**place, autocommit=True) as connection,
    ):
        for _ in range(1000):
            connection.execute("SELECT pg_logical_emit_message(false, 'chaos', 'x')")
            connection.execute("SELECT pg_switch_wal()")


async def every_process_answers(service):
    """Ask on connections enough to reach every one."""
    async with httpx.AsyncClient(timeout=1, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        asked = [client.get(f"{service.url}/health/live") for _ in range(12)]
        replies = await asyncio.gather(*asked, return_exceptions=True)
    return all(isinstance(reply, httpx.Response) for reply in replies)


FILLS = [the_disk_is_full, the_disk_is_full_of_wal] if can_mount() else []
FAULTS = [
    *FILLS,
    a_web_process_is_killed,
    the_jobs_are_killed,
    the_renderers_are_killed,
    the_database_hangs,
    the_database_is_killed,
    every_web_process_is_killed,
    a_backend_is_killed,
    a_web_process_hangs,
    the_database_is_killed_again_while_it_starts,
    every_process_is_replaced,
    the_power_goes,
]


async def test_nothing_that_was_acknowledged_is_lost_given_twice_or_burnt(record_property):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    said = [f"seed {seed}"]
    faults = chance.choices(FAULTS, k=ROUNDS) if LONG else FAULTS
    with Disk() if FILLS else contextlib.nullcontext() as disk, Service(workers=2, disk=disk) as service:
        engine = service.engine()
        for part in range(20 if LONG else 1):  # each in the time of a statement
            await fill(engine, "p", [f"p{part}-{n:05}" for n in range(40_000)])
        await engine.dispose()
        async with service.client() as client:
            mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
            assert (await client.put("/v1/redemption-mapping", json=mapping)).status_code == 200
        late = []
        async with Callers(service, seed) as callers:
            book = callers.book
            for fault in faults:
                before = len(book.keys)
                await eventually(lambda: len(book.keys) > before + 30, 60)  # noqa: B023  (it is called at once)
                await eventually(lambda: every_process_answers(service), 90)
                book.during, book.within = fault.__name__, REFUSED + AFTER_START
                if fault in {the_database_hangs, a_web_process_hangs, the_renderers_are_killed, *FILLS}:
                    book.within = REFUSED
                within = await fault(service)
                ended, before = time.monotonic(), len(book.keys)
                await eventually(lambda: len(book.keys) > before, 60)  # noqa: B023
                seconds = time.monotonic() - ended
                said.append(f"{fault.__name__}: back after {seconds:.1f} s")
                if seconds > within:
                    late.append((fault.__name__, round(seconds, 1)))
            await callers.rest()
            said.append(f"longest refusal {book.slowest:.1f} s")
            said.append(f"{dict(book.statuses)} replies, {book.unanswered} requests without one")
            record_property("said", said)
            await audit(callers, service)
        assert not late, said
