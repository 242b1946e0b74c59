"""A statement, and what sets its project, as one message and one transaction."""

import asyncio

import psycopg
import pytest
from psycopg.types.numeric import Int4
from sqlalchemy import text

from app.platform import connections
from app.platform.connections import StatementTimeoutError, connect
from app.platform.database import transaction
from app.platform.driver_pool import create_driver_pool
from app.platform.hanging import Hang, Suspects
from app.platform.one_message import fetch_in
from app.platform.projects import everywhere
from tests.factories import add_projects

SEEN = b"SELECT $1::integer, current_setting('app.project'), current_setting('application_name'), current_user::text"
WRITE = b"INSERT INTO customer (project_id, id, properties) VALUES ($1, $2, '{}') RETURNING 10 / length(id)"
WRITTEN = text("SELECT project_id, id FROM customer ORDER BY 1, 2")


@pytest.fixture
async def connection(settings):
    async with await connect(settings, autocommit=True) as connection:
        yield connection


async def written(engine):
    async with transaction(everywhere(engine)) as reading:
        return [tuple(row) for row in await reading.execute(WRITTEN)]


async def test_each_statement_is_run_in_its_project(connection):
    for project in (7, 7, 8, 7, 2_000_000_000):
        rows = await fetch_in(connection, project, SEEN, [Int4(project)])
        assert rows == [(project, str(project), f"vouchers/{project}", "vouchers_service")]
        assert connection.project == project
    assert len(connection.prepared) == 2


async def test_values_come_back_as_the_driver_reads_them(connection):
    said = """
        SELECT 1::bigint, 'ä"\\'::text, now(), gen_random_uuid(), '{"a": [1, null]}'::jsonb, ARRAY['x', NULL], 1.5
    """
    (ours,) = await fetch_in(connection, 1, said.encode(), [])
    theirs = await (await connection.execute(said)).fetchone()
    assert [type(value) for value in ours] == [type(value) for value in theirs]
    assert (ours[0], ours[1], ours[4:]) == (1, 'ä"\\', ({"a": [1, None]}, ["x", None], theirs[6]))


async def test_one_statement_takes_values_of_other_types(connection):
    said = b"SELECT $1::bigint + 1, $2::text[]"
    for n in (1, 70_000, 2**40, None):
        rows = await fetch_in(connection, 1, said, [n, ["a", "b,{}", 'c"\\'] if n else []])
        assert rows == [(n + 1 if n else None, ["a", "b,{}", 'c"\\'] if n else [])]


@pytest.mark.parametrize("known", [True, False])
async def test_what_fails_changes_nothing_and_leaves_the_connection_good(engine, connection, known):
    first, second = await add_projects(engine, "one", "two")
    if known:
        await fetch_in(connection, first, WRITE, [Int4(first), "a"])
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await fetch_in(connection, second, WRITE, [Int4(second), ""])
        assert connection.project is None
        assert connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
    await fetch_in(connection, second, WRITE, [Int4(second), "b"])
    assert await written(engine) == [*([(first, "a")] if known else []), (second, "b")]


async def test_what_cannot_be_prepared_is_said(connection):
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable):
            await fetch_in(connection, 1, b"SELECT * FROM there_is_none", [])
    assert await fetch_in(connection, 1, b"SELECT 1", []) == [(1,)]


async def test_a_row_of_another_project_is_refused(engine, connection):
    first, second = await add_projects(engine, "one", "two")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await fetch_in(connection, first, WRITE, [Int4(second), "a"])
    assert await written(engine) == []


async def test_what_fails_only_as_it_commits_is_said(settings):
    async with await connect(settings, autocommit=True, as_owner=True) as connection:
        await connection.execute(
            "CREATE TEMPORARY TABLE once (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED)"
        )
        for ids in ("(1), (1)", "(2), (2)"):
            with pytest.raises(psycopg.errors.UniqueViolation):
                await fetch_in(connection, 1, f"INSERT INTO once VALUES {ids} RETURNING id".encode(), [])
            assert connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert await fetch_in(connection, 1, b"SELECT count(*) FROM once", []) == [(0,)]


async def test_a_server_that_ends_the_session_is_quoted(settings):
    async with await connect(settings, autocommit=True, as_owner=True) as connection:
        with pytest.raises(psycopg.OperationalError, match="administrator"):
            await fetch_in(connection, 1, b"SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(5)", [])
        assert connection.closed


async def test_a_wait_that_ends_or_is_given_up_closes_the_connection(settings, monkeypatch):
    monkeypatch.setattr(connections, "suspects", Suspects())
    for end in ("limit", "cancel"):
        async with await connect(settings, autocommit=True) as connection:
            connection.hang = Hang()
            connection.limit = 0.2 if end == "limit" else 30
            waiting = asyncio.create_task(fetch_in(connection, 1, b"SELECT pg_sleep(20)", []))
            await asyncio.sleep(0.1)
            if end == "cancel":
                waiting.cancel()
            with pytest.raises(StatementTimeoutError if end == "limit" else asyncio.CancelledError):
                await waiting
            assert connection.closed


async def test_a_service_that_may_prepare_nothing_sets_the_project_for_a_transaction(settings):
    plain = settings.model_copy(update={"prepared_statements": False})
    async with create_driver_pool(plain) as direct:
        for project in (7, 8):
            rows = await direct.of(project).fetch(SEEN, [])
            assert rows == [(project, str(project), f"vouchers/{project}", "vouchers_service")]
        async with direct.connection() as connection:
            count = await connection.execute("SELECT count(*) FROM pg_prepared_statements")
            assert await count.fetchone() == (0,)
