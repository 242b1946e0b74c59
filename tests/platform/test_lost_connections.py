"""Idle connections that the server has ended cost no request."""

import asyncio

import pytest
from sqlalchemy import text

from app.platform import connections
from app.platform.clock import Clock
from app.platform.database import autocommit, transaction
from app.platform.driver_pool import create_driver_pool
from app.platform.engines import create_engine
from app.platform.projects import everywhere

AT_ONCE = 3


async def end_all_others(engine):
    """End every connection but the one that says so, as a server does that starts again."""
    async with transaction(everywhere(engine)) as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND starts_with(application_name, 'vouchers')"
                " AND pid <> pg_backend_pid()"
            )
        )


async def all_at_once(use):
    """Use as many connections at the same time, so that none is used twice."""
    barrier = asyncio.Barrier(AT_ONCE)
    await asyncio.gather(*(use(barrier) for _ in range(AT_ONCE)))


@pytest.mark.parametrize("block", [autocommit, transaction])
async def test_an_engine_opens_lost_connections_anew(engine, settings, block):
    service = create_engine(settings)

    async def use(barrier):
        async with block(service) as connection:
            await connection.execute(text("SELECT 1"))
            await barrier.wait()

    await all_at_once(use)
    await end_all_others(engine)
    await all_at_once(use)
    await service.dispose()


async def test_a_driver_pool_opens_lost_connections_anew(engine, settings):
    async with create_driver_pool(settings) as direct:

        async def use(barrier):
            async with direct.connection() as connection:
                await connection.execute("SELECT 1")
                await barrier.wait()

        await all_at_once(use)
        await end_all_others(engine)
        await all_at_once(use)


@pytest.mark.parametrize("look", ["the time is asked", "the caller's"])
async def test_a_connection_is_closed_where_what_looks_at_it_fails(look, settings, monkeypatch):
    seen = []

    async def fail(connection):
        seen.append(connection)
        raise ConnectionAbortedError

    monkeypatch.setattr(connections, "clock", Clock())  # which does not know the time yet
    if look == "the time is asked":
        monkeypatch.setattr(connections, "_ask_time", fail)
    with pytest.raises(ConnectionAbortedError):
        await connections.connect(settings, opened=fail)
    assert [connection.closed for connection in seen] == [True]


def test_a_server_notices_within_seconds_that_a_process_is_gone(settings):
    with connections.connect_sync(
        settings
    ) as connection:  # by a socket, where it keeps but does not use them
        query = "SELECT name, reset_val::integer FROM pg_settings WHERE starts_with(name, 'tcp_')"
        found = dict(connection.execute(query).fetchall())
    idle, interval, count = (found[f"tcp_keepalives_{name}"] for name in ("idle", "interval", "count"))
    assert idle + interval * count == 11
    assert found["tcp_user_timeout"] == 10_000
