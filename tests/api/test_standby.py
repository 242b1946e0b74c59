"""Reads that may be a little old go to a standby, and to the primary where it fails, lags or has not got it yet.

The standby here is the database itself, as one that answers any session; tests/chaos has a real one.
"""

from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.platform import standby
from app.platform.database import transaction
from app.platform.errors import OverloadedError
from app.platform.projects import everywhere, of_project
from app.platform.seats import Seats
from app.platform.settings import Settings
from app.platform.standby import Reads, Standby
from app.web.dependencies import held_by
from tests.factories import KEY, add_projects, fill

LISTS = (
    "/v1/pools/p/vouchers",
    "/v1/assignments",
    "/v1/redemptions",
    "/v1/customers",
    "/v1/customers/c/events",
    "/v1/audit",
    "/metrics",
)
EXPORTS = ("/v1/pools/p/export", "/v1/assignments/export")
CURRENT = ("/v1/pools", "/v1/pools/p", "/v1/pools/p/counts", "/v1/vouchers/p-000001")


def at(url: str) -> SecretStr:
    return SecretStr(f"{url}{'&' if '?' in url else '?'}target_session_attrs=any")


@pytest.fixture
def settings(settings: Settings, database_url: str) -> Settings:
    return settings.model_copy(update={"read_database_url": at(database_url), "read_age_seconds": 3600})


async def sign_of_life(engine, ago: float = 0.0):
    """What a worker leaves every two seconds, and a standby shows later."""
    async with transaction(everywhere(engine)) as connection:
        query = text("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - :ago)")
        await connection.execute(query, {"ago": timedelta(seconds=ago)})


async def ages(client, paths):
    """The age that each reply tells; all are answered."""
    replies = [await client.get(path) for path in paths]
    assert [reply.status_code for reply in replies] == [200] * len(paths)
    return [reply.headers.get("Data-Age") for reply in replies]


async def test_lists_tell_how_old_they_are_and_exports_are_current(client, engine, monkeypatch):
    monkeypatch.setattr(standby, "CATCH_UP_SECONDS", 60.0)
    await fill(engine, "p", 3)
    await sign_of_life(engine, 100.5)
    await client.post("/console/login", data={"api_key": KEY}, headers={"Origin": "http://test"})
    assert all(101 <= int(age) <= 3600 for age in await ages(client, (*LISTS, "/console/audit")))
    assert await ages(client, EXPORTS) == ["0", "0"]
    assert await ages(client, CURRENT) == [None] * len(CURRENT)


async def test_the_database_itself_serves_where_the_standby_is_too_far_behind(client, engine):
    await fill(engine, "p", 3)
    assert await ages(client, LISTS[:1]) == [None]  # nobody has ever given a sign of life
    await sign_of_life(engine, 3601)
    assert await ages(client, LISTS) == [None] * len(LISTS)


async def test_an_export_that_the_standby_cannot_serve_yet_is_served_by_the_database(
    client, engine, monkeypatch
):
    await fill(engine, "p", 3)
    monkeypatch.setattr(standby, "_HAS", text("SELECT CAST(:written AS pg_lsn) IS NULL"))
    monkeypatch.setattr(standby, "CATCH_UP_SECONDS", 0.1)
    assert await ages(client, EXPORTS) == [None, None]


async def test_an_export_reads_where_it_was_asked_whether_all_has_arrived(client, app, engine, monkeypatch):
    """Of two standbys that take turns, one has nothing yet."""
    await fill(engine, "p", 3)
    has = "SELECT CAST(:written AS pg_lsn) IS NOT NULL AND to_regclass('voucher') IS NOT NULL"
    monkeypatch.setattr(standby, "_HAS", text(has))
    monkeypatch.setattr(standby, "CATCH_UP_SECONDS", 0.0)
    standbys = held_by(app, Reads, (1, 1))._standby.engine
    async with standbys.connect() as empty, standbys.connect():
        await empty.exec_driver_sql("SET search_path = nowhere")
        await empty.commit()
    assert await ages(client, EXPORTS) == ["0", None]


async def test_a_project_that_has_its_share_of_the_standby_taken_sends_no_other_away(
    client, app, engine, monkeypatch
):
    await fill(engine, "p", 3)
    await sign_of_life(engine)
    reads = held_by(app, Reads, (1, 1))
    one = Seats(1, 0, 0.0, OverloadedError)
    monkeypatch.setattr(reads, "_engine", of_project(reads._standby.engine, 1, one))
    async with reads.seen():
        assert await ages(client, LISTS[:1]) == [None]
    assert None not in await ages(client, LISTS[:1])


async def test_what_the_standby_has_not_got_yet_is_looked_up_in_the_database(
    client, app, engine, monkeypatch
):
    await fill(engine, "p", 3)
    await sign_of_life(engine)
    (other,) = await add_projects(engine, "empty")
    reads = held_by(app, Reads, (1, 1))
    behind = Reads(reads._standby, other)  # sees no pool
    monkeypatch.setattr(reads, "_engine", behind._engine)
    reply = await client.get("/v1/pools/p/vouchers")
    assert (reply.status_code, len(reply.json()["items"]), reply.headers.get("Data-Age")) == (200, 3, None)
    assert (await client.get("/v1/pools/none/vouchers")).status_code == 404


class TestGone:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"read_database_url": at("postgresql://u@127.0.0.1:1/d")})

    async def test_the_database_serves_and_few_wait_for_what_is_gone(self, client, engine, monkeypatch):
        await fill(engine, "p", 3)
        await sign_of_life(engine)
        tried = []
        monkeypatch.setattr(standby, "GONE_SECONDS", 3600.0)
        admits = Standby.admits
        monkeypatch.setattr(Standby, "admits", lambda self: tried.append(admits(self)) or tried[-1])
        assert await ages(client, LISTS + EXPORTS) == [None] * len(LISTS + EXPORTS)
        assert tried == [True] + [False] * (len(LISTS + EXPORTS) - 1)


class TestUnset:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"read_database_url": None})

    async def test_nothing_is_different(self, client, engine):
        await fill(engine, "p", 3)
        await sign_of_life(engine)
        assert await ages(client, LISTS + EXPORTS) == [None] * len(LISTS + EXPORTS)
