"""Several hosts in one URL: every spelling, every way in which the service connects."""

import asyncio
import itertools
import socket
from urllib.parse import quote

import psycopg
import pytest
from procrastinate import PsycopgConnector
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.platform import connections, secret_key
from app.platform.connections import NotWritableError, StatementTimeoutError, connect, connect_sync
from app.platform.database import autocommit
from app.platform.database_url import DatabaseUrlError, hosts, parameters, resolve
from app.platform.driver_pool import create_driver_pool
from app.platform.engines import create_engine, job_pool_arguments
from app.platform.hanging import Suspects
from app.platform.migrate import migrate
from app.platform.racing import first_of
from app.platform.settings import Settings

SPELLINGS = [
    "postgresql://u:secret@a:1,b:2/d",
    "postgresql+psycopg://u:secret@a:1,b:2/d",
    "postgresql+psycopg://u:secret@/d?host=a:1&host=b:2",
    "postgres://u:secret@/d?host=a,b&port=1,2",
    "postgres://u:secret@/d?host=a&host=b&port=1,2",
    "host=a,b port=1,2 user=u password=secret dbname=d",
]


@pytest.mark.parametrize("url", SPELLINGS)
def test_several_hosts_are_read_in_every_spelling(url):
    found = hosts(parameters(url))
    assert [(one["host"], one["port"], one["dbname"]) for one in found] == [("a", "1", "d"), ("b", "2", "d")]
    assert {(one["target_session_attrs"], one["password"]) for one in found} == {("read-write", "secret")}


ODD = "p +%&=?@:/#'\\ü,x"


def test_what_a_url_says_besides_hosts_is_the_same_wherever_it_names_them():
    options, password = "-c geqo=off -c search_path=a,b", ODD
    inside = quote(password, safe="")
    said = f"options={quote(options)}&application_name=a+b&sslrootcert={quote('/my certs/ca.pem')}"
    for url in (
        f"postgresql://u:{inside}@a,b/d?{said}",
        f"postgresql://u:{inside}@/d?host=a,b&{said}",
        f"postgresql+psycopg://u@/d?host=a&host=b&password={inside}&{said}",
    ):
        for one in hosts(parameters(url)):
            assert (one["password"], one["options"]) == (password, options), url
            assert (one["application_name"], one["sslrootcert"]) == ("a+b", "/my certs/ca.pem"), url


def test_what_is_odd_about_hosts():
    wanted = parameters("postgresql://u@a,b:2/d?target_session_attrs=primary")
    assert wanted["target_session_attrs"] == "primary"
    assert [one.get("port") for one in hosts(wanted)] == [None, "2"]
    assert [one["port"] for one in hosts(parameters("host=a,b,c port=7 dbname=d"))] == ["7", "7", "7"]
    assert [one["hostaddr"] for one in hosts(parameters("hostaddr=::1,127.0.0.1 dbname=d"))] == [
        "::1",
        "127.0.0.1",
    ]
    assert [one["host"] for one in hosts(parameters("postgresql://u@[::1]:1,[::2]:2/d"))] == ["::1", "::2"]
    assert parameters("host=a password=x://y dbname=d")["password"] == "x://y"
    for wrong in ("host=a,b,c port=1,2 dbname=d", "host=a,b hostaddr=::1 dbname=d"):
        with pytest.raises(DatabaseUrlError, match="names"):
            hosts(parameters(wrong))


async def test_each_address_of_a_name_is_a_place(monkeypatch):
    async def addresses(*_, **__):
        return [(0, 0, 0, "", (address, 0)) for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses, raising=False)
    found = await resolve(
        [
            {"host": "db.example.org"},
            {"host": "192.0.2.9"},
            {"host": "/run"},
            {"host": "x", "hostaddr": "::1"},
        ]
    )
    assert [place.get("hostaddr") for place in found] == ["192.0.2.1", "192.0.2.2", None, None, "::1"]


@pytest.fixture(params=["list", "repeated", "ports", "pairs"])
def behind_a_dead_host(request, database_url):
    """The test's database as the second host; nobody listens at the first."""
    given = parameters(database_url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder, second, user, name = given["host"], given["port"], given["user"], given["dbname"]
    return {
        "list": f"postgresql://{user}@127.0.0.1:{port},{quote(folder, safe='')}:{second}/{name}",
        "repeated": f"postgresql+psycopg://{user}@/{name}?host=127.0.0.1&host={folder}&port={port},{second}",
        "ports": f"postgres://{user}@/{name}?host=127.0.0.1,{folder}&port={port},{second}",
        "pairs": f"host=127.0.0.1,{folder} port={port},{second} user={user} dbname={name}",
    }[request.param]


async def test_every_way_to_the_database_finds_the_host_that_is_there(behind_a_dead_host):
    settings = Settings(DATABASE_URL=behind_a_dead_host, key_cache_seconds=0)
    engine = create_engine(settings)
    async with autocommit(engine) as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await engine.dispose()
    async with create_driver_pool(settings) as pool, pool.connection() as direct:
        assert await (await direct.execute("SELECT 1")).fetchone() == (1,)
    connector = PsycopgConnector(**job_pool_arguments(settings))
    await connector.open_async()
    heard = asyncio.Event()

    async def hear(*, channel, payload):
        heard.set()

    listening = asyncio.create_task(connector.listen_notify(hear, ["some_channel"]))
    async with asyncio.timeout(20):
        while not heard.is_set():
            await connector.execute_query_async("SELECT pg_notify('some_channel', '{}')")
            await asyncio.sleep(0.01)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await connector.close_async()


def test_migrations_and_the_key_find_the_host_that_is_there(behind_a_dead_host, database_url):
    migrate(behind_a_dead_host)
    made = secret_key.ensure(Settings(DATABASE_URL=behind_a_dead_host), embedded=False)
    assert secret_key.ensure(Settings(DATABASE_URL=database_url), embedded=False) == made


async def test_a_host_that_is_silent_holds_up_none(database_url):
    given = parameters(database_url)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        port = silent.getsockname()[1]
        url = f"host=127.0.0.1,{given['host']} port={port},5432 user={given['user']} dbname={given['dbname']}"
        settings = Settings(DATABASE_URL=url)
        for _ in range(2):
            connection = await connect(settings)
            assert connection.info.host == given["host"]
            await connection.close()


@pytest.fixture
def twice(database_url, monkeypatch):
    """The test's database as two hosts, the second by another spelling of its folder; nothing is known of either."""
    monkeypatch.setattr(connections, "suspects", Suspects())
    monkeypatch.setattr(connections, "_answered", {})
    given = parameters(database_url)
    folder, port = given["host"], given["port"]
    return (
        Settings(
            DATABASE_URL=f"host={folder},{folder}/. port={port} user={given['user']} dbname={given['dbname']}"
        ),
        [folder, f"{folder}/."],
    )


async def test_a_server_that_hangs_is_asked_last_and_left_by_all_once_another_serves(twice):
    settings, hosts = twice
    other = await connect(settings)
    hangs = await connect(settings, seconds=0.05)
    assert [one.info.host for one in (other, hangs)] == [hosts[0]] * 2
    with pytest.raises(StatementTimeoutError):
        await hangs.execute("SELECT pg_sleep(60)")
    assert not other.is_lost()
    after = await connect(settings)
    with connect_sync(settings) as thread:
        assert [one.info.host for one in (after, thread)] == [hosts[1]] * 2
    assert other.is_lost()
    assert not after.is_lost()
    await other.close()
    await after.close()


async def test_where_all_hang_the_one_that_did_so_last_is_asked_last(twice):
    """Who was promoted may hang for a moment; who was left behind hangs for good."""
    settings, _ = twice
    asked = []
    for _ in range(5):
        hangs = await connect(settings, seconds=0.05)
        asked.append(hangs.info.host)
        with pytest.raises(StatementTimeoutError):
            await hangs.execute("SELECT pg_sleep(60)")
    assert all(one != other for one, other in itertools.pairwise(asked)), asked


async def test_threads_and_the_queue_ask_a_server_that_hangs_last_too(twice):
    settings, hosts = twice
    hangs = await connect(settings, seconds=0.05)
    hung = hangs.info.host
    with pytest.raises(StatementTimeoutError):
        await hangs.execute("SELECT pg_sleep(60)")
    other = next(host for host in hosts if host != hung)
    with connect_sync(settings) as thread:
        assert thread.info.host == other
    queue = conninfo_to_dict(await job_pool_arguments(settings)["conninfo"]())
    assert queue["host"] == f"{other},{hung}"


async def test_what_waits_long_ends_with_the_queue_that_its_server_leaves_without_an_answer(settings):
    def sleep():
        with connect_sync(settings) as connection:
            connection.execute("SELECT pg_sleep(60)")

    query = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    looking = await connect(settings, as_owner=True)
    waits = asyncio.create_task(asyncio.to_thread(sleep))
    given = job_pool_arguments(settings)
    queue = await given["connection_class"].connect(await given["conninfo"](), **given["kwargs"])
    queue.limit = 0.05
    while await (await looking.execute(query)).fetchone() == (0,):
        await asyncio.sleep(0.01)
        await looking.rollback()
    with pytest.raises(StatementTimeoutError):
        await queue.execute("SELECT pg_sleep(60)")
    with pytest.raises(psycopg.OperationalError):
        await waits
    await looking.close()
    await queue.close()


async def test_the_last_error_is_told_where_no_host_serves():
    with pytest.raises(psycopg.OperationalError, match="refused"):
        await connect(Settings(DATABASE_URL="postgresql://u@127.0.0.1:1,127.0.0.1:2/d"))


@pytest.mark.parametrize("way", ["engine", "direct", "thread"])
async def test_a_server_that_takes_no_writes_any_more_costs_its_connection(way, settings):
    make = "CREATE TABLE never (n int)"
    if way == "thread":
        with connect_sync(settings, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = on")
            with pytest.raises(NotWritableError):
                connection.execute(make)
            assert connection.closed
        return
    if way == "direct":
        async with create_driver_pool(settings) as pool:
            async with pool.connection() as direct:
                await direct.execute("SET default_transaction_read_only = on")
                with pytest.raises(NotWritableError):
                    await direct.execute(make)
            async with pool.connection() as direct:
                shown = await (await direct.execute("SHOW transaction_read_only")).fetchone()
                assert shown == ("off",)
        return
    engine = create_engine(settings, 1)
    async with autocommit(engine) as session:
        await session.execute(text("SET default_transaction_read_only = on"))
        with pytest.raises(OperationalError, match="no writes"):
            await session.execute(text(make))
    async with autocommit(engine) as session:
        assert (await session.execute(text("SHOW transaction_read_only"))).scalar_one() == "off"
    await engine.dispose()


async def test_the_first_that_succeeds_is_enough_and_the_others_are_let_go():
    late, slow, before = [], asyncio.Event(), asyncio.all_tasks()

    async def hang():
        await slow.wait()

    async def fail():
        raise OSError("no")

    async def give(n):
        return n

    async def discard(n):
        late.append(n)

    found = await first_of([hang, fail, lambda: give(1), lambda: give(2)], head_start=0.01, discard=discard)
    assert (found, late) == (1, [])
    with pytest.raises(OSError, match="no"):
        await first_of([fail, fail], head_start=5, discard=discard)

    async def finish_all_the_same():
        try:
            await slow.wait()
        except asyncio.CancelledError:
            return 1

    found = await first_of([finish_all_the_same, lambda: give(2)], head_start=0.01, discard=discard)
    assert (found, late) == (2, [1])
    assert asyncio.all_tasks() == before
