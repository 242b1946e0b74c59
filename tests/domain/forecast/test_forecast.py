import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.domain.forecast import service
from app.platform.database import transaction
from app.platform.jobs import enqueue
from app.platform.projects import everywhere
from tests.domain.imports.imported import run_job
from tests.factories import add_key, fill
from tests.worker import eventually, working

URL = "/v1/pools/p"


async def assign(client, n):
    reply = await client.post(f"{URL}/assignments/batch", json={"items": [{}] * n})
    assert reply.json()["assigned"] == n


async def execute(engine, autocommit, **values):
    async with transaction(engine) as connection:
        await connection.execute(text(autocommit), values)


async def rates(client):
    """The reply, and its rates by window."""
    reply = (await client.get(f"{URL}/forecast")).json()
    return reply, {rate["window"]: rate for rate in reply["rates"]}


def hours_until(reply, rate):
    return (datetime.fromisoformat(rate["runs_out_at"]) - datetime.fromisoformat(reply["at"])) / timedelta(
        hours=1
    )


async def test_a_new_pool_lasts_as_long_as_its_first_hour_says(client, engine):
    await fill(engine, "p", 40)
    await assign(client, 10)
    reply, by_window = await rates(client)
    assert reply["available"] == 30
    for rate in by_window.values():
        assert (rate["assigned"], rate["per_hour"]) == (10, 10.0)
        assert hours_until(reply, rate) == pytest.approx(3)


async def test_a_pool_that_nothing_is_drawn_from_never_runs_out(client, engine):
    await fill(engine, "p", 5)
    _, by_window = await rates(client)
    assert [rate["runs_out_at"] for rate in by_window.values()] == [None] * 3


async def test_an_exhausted_pool_has_run_out(client, engine):
    await fill(engine, "p", 5)
    await assign(client, 5)
    reply, by_window = await rates(client)
    assert [hours_until(reply, rate) for rate in by_window.values()] == [0, 0, 0]


async def test_each_window_counts_what_left_in_it(client, engine):
    """Of 100 codes 40 left ten days ago, 24 three days ago, 12 five hours ago and 6 just now."""
    await fill(engine, "p", 100)
    await execute(engine, "UPDATE pool SET created_at = now() - interval '11 days'")
    for n, ago in ((40, "10 days"), (24, "3 days"), (12, "5 hours"), (6, "0 hours")):
        await assign(client, n)
        async with transaction(everywhere(engine)) as connection:
            await service.keep_history(connection)
        await execute(
            engine,
            "UPDATE assignment SET assigned_at = now() - CAST(:ago AS interval)"
            " WHERE assigned_at > now() - interval '1 minute'",
            ago=ago,
        )
        if n != 6:
            await execute(
                engine,
                "UPDATE stock_history SET hour = hour - CAST(:ago AS interval),"
                " taken_at = taken_at - CAST(:ago AS interval) WHERE hour > now() - interval '2 hours'",
                ago=ago,
            )
    _, by_window = await rates(client)
    assert {window: rate["assigned"] for window, rate in by_window.items()} == {
        "hour": 6,
        "day": 18,
        "week": 42,
    }
    assert by_window["hour"]["per_hour"] == 6
    assert by_window["day"]["per_hour"] == pytest.approx(18 / 72, abs=0.01)
    assert by_window["week"]["per_hour"] == pytest.approx(42 / 240, abs=0.01)


async def test_codes_that_were_given_elsewhere_were_not_drawn(client, engine, settings):
    await fill(engine, "p", 10)
    past = "code,customer\np-000001,anna\np-000020,ben\n"
    done = await run_job(engine, settings, client, past, column="code", customer_id_column="customer")
    assert done["imported"] == 2, done
    await assign(client, 4)
    _, by_window = await rates(client)
    assert {window: rate["assigned"] for window, rate in by_window.items()} == {
        "hour": 4,
        "day": 4,
        "week": 4,
    }


async def test_codes_that_came_back_did_not_leave(client, engine):
    await fill(engine, "p", 10)
    await assign(client, 4)
    await execute(
        engine, "UPDATE assignment SET released_at = now() WHERE id IN (SELECT id FROM assignment LIMIT 3)"
    )
    await execute(engine, "UPDATE stock SET available = available + 3 WHERE slot = 0")
    await execute(engine, "UPDATE stock SET assigned = assigned - 3 WHERE slot = 0")
    _, by_window = await rates(client)
    assert {window: rate["assigned"] for window, rate in by_window.items()} == {
        "hour": 1,
        "day": 1,
        "week": 1,
    }


async def test_the_history_has_one_row_an_hour_however_often_it_is_written(client, engine):
    await fill(engine, "p", 10)

    async def keep():
        async with transaction(everywhere(engine)) as connection:
            await service.keep_history(connection)

    await asyncio.gather(*(keep() for _ in range(8)))
    await assign(client, 4)
    await keep()
    (row,) = (await client.get(f"{URL}/history")).json()["items"]
    assert (row["available"], row["assigned"]) == (10, 0)


async def test_rows_older_than_90_days_are_forgotten(client, engine):
    await fill(engine, "p", 1)
    for days in (89, 91):
        await execute(
            engine,
            "INSERT INTO stock_history"
            " SELECT id, now() - make_interval(days => :days), now(), 2, 0, 0, 0, 0, 0 FROM pool",
            days=days,
        )
    async with transaction(everywhere(engine)) as connection:
        await service.keep_history(connection)
    hours = [row["hour"] for row in (await client.get(f"{URL}/history")).json()["items"]]
    age = [(datetime.now(UTC) - datetime.fromisoformat(hour)).days for hour in hours]
    assert age == [0, 89]


async def test_the_history_is_listed_newest_first_page_by_page(client, engine):
    await fill(engine, "p", 1)
    await execute(
        engine,
        "INSERT INTO stock_history SELECT id, date_trunc('hour', now()) - make_interval(hours => n), now(),"
        " n, 0, 0, 0, 0, 0 FROM pool, generate_series(0, 4) AS n",
    )
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(f"{URL}/history", params=params)).json()
        seen += [row["available"] for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [0, 1, 2, 3, 4]
    assert (await client.get(f"{URL}/history", params={"cursor": "WzFd"})).status_code == 422


async def test_hours_without_a_change_take_no_row_and_are_listed(client, engine):
    await fill(engine, "p", 10)
    await execute(engine, "UPDATE pool SET created_at = now() - interval '40 days'")

    async def keep():
        async with transaction(everywhere(engine)) as connection:
            return await service.keep_history(connection)

    async def rows():
        async with transaction(engine) as connection:
            return (await connection.execute(text("SELECT count(*) FROM stock_history"))).scalar_one()

    assert (await keep()).due == 1
    async with transaction(everywhere(engine)) as connection:  # in one hour, whatever the clock says
        for then in (
            "hour = date_trunc('hour', now()) - interval '30 days', taken_at = now() - interval '30 days'",
            "same_until = now() - interval '2 hours'",
        ):
            await connection.execute(text(f"UPDATE stock_history SET {then}"))
        assert [(await service.keep_history(connection)).due for _ in range(2)] == [1, 0]
    assert await rows() == 1
    page = (await client.get(f"{URL}/history?limit=4")).json()
    hours = [datetime.fromisoformat(row["hour"]) for row in page["items"]]
    assert [(hours[0] - hour) / timedelta(hours=1) for hour in hours] == [0, 1, 2, 3]
    more = (await client.get(f"{URL}/history", params={"limit": 1000, "cursor": page["next_cursor"]})).json()
    assert len(more["items"]) == 30 * 24 + 1 - 4
    assert {row["available"] for row in page["items"] + more["items"]} == {10}
    # What left since is of the time since it was seen to be the same, not of the 30 days of the row.
    await assign(client, 3)
    await execute(engine, "UPDATE assignment SET assigned_at = now() - interval '2 hours'")
    await execute(engine, "UPDATE stock_history SET same_until = now() - interval '25 hours'")
    _, by_window = await rates(client)
    assert (by_window["day"]["assigned"], by_window["week"]["assigned"]) == (3, 3)
    assert by_window["day"]["per_hour"] == pytest.approx(3 / 25, abs=0.01)
    assert by_window["week"]["per_hour"] == pytest.approx(3 / (7 * 24), abs=0.01)
    await keep()
    assert await rows() == 2
    page = (await client.get(f"{URL}/history?limit=2")).json()
    assert [(row["available"], row["assigned"]) for row in page["items"]] == [(7, 3), (10, 0)]


async def test_a_pool_that_is_being_deleted_holds_up_no_other(client, engine):
    await fill(engine, "p", 1)
    await fill(engine, "q", 1)
    async with transaction(engine) as connection:
        await connection.execute(text("SELECT FROM pool WHERE name = 'p' FOR UPDATE"))
        async with transaction(everywhere(engine)) as other:
            assert (await service.keep_history(other)).due == 2
    assert [len((await client.get(f"/v1/pools/{pool}/history")).json()["items"]) for pool in "pq"] == [0, 1]


async def test_a_worker_keeps_the_history(client, engine, settings):
    await fill(engine, "p", 3)
    async with working(settings):
        async with transaction(engine) as connection:
            await enqueue(connection, "keep_stock_history", timestamp=0)

        async def rows():
            return (await client.get(f"{URL}/history")).json()["items"]

        (row,) = await eventually(rows)
    assert row["available"] == 3


async def test_forecast_and_history_of_a_pool_that_is_not_there_are_not_found(client):
    for path in ("forecast", "history"):
        assert (await client.get(f"{URL}/{path}")).json()["type"] == "/problems/pool-not-found"


async def test_a_key_that_may_read_sees_the_forecast_and_one_for_events_does_not(client, engine):
    await fill(engine, "p", 3)
    for scope, status in (("read", 200), ("events", 403)):
        key = f"{scope}-0123456789-0123456789-0123456789"
        await add_key(engine, key, scope)
        headers = {"Authorization": f"Bearer {key}"}
        assert (await client.get(f"{URL}/forecast", headers=headers)).status_code == status


async def test_every_window_counts_what_was_given_for_good_and_did_not_come_back(client, engine):
    """Void and used codes were given; reserved, released and never assigned ones were not."""
    codes = await fill(engine, "p", 60)
    given = [(await client.post(f"{URL}/assignments", json={})).json() for _ in range(20)]
    for one in given[:10]:
        assert (await client.post(f"/v1/vouchers/{one['code']}/void")).status_code == 200
    for one in given[10:13]:
        await client.post(f"/v1/vouchers/{one['code']}/redemptions", json={})
    left = [code for code in codes if code not in {one["code"] for one in given}]
    await client.post(f"/v1/vouchers/{left[0]}/redemptions", json={})
    await client.post(f"/v1/vouchers/{left[1]}/void")
    reserved = [
        (await client.post(f"{URL}/assignments", json={"lease_seconds": 60})).json() for _ in range(4)
    ]
    await client.post(f"/v1/assignments/{reserved[0]['id']}/confirm")
    await client.post(f"/v1/vouchers/{reserved[1]['code']}/void")
    await client.post(f"/v1/assignments/{given[-1]['id']}/release")
    _, by_window = await rates(client)
    assert {window: rate["assigned"] for window, rate in by_window.items()} == {
        "hour": 20,
        "day": 20,
        "week": 20,
    }


@pytest.mark.long
async def test_the_last_hour_of_a_busy_pool_is_read_no_further_than_it_takes(client, engine, monkeypatch):
    monkeypatch.setattr(service, "MOST", 10)
    await fill(engine, "p", 100)
    await execute(engine, "UPDATE pool SET created_at = now() - interval '9 days'")
    for n, ago in ((30, "40 minutes"), (20, "6 minutes")):
        await assign(client, n)
        await execute(
            engine,
            "UPDATE assignment SET assigned_at = now() - CAST(:ago AS interval)"
            " WHERE assigned_at > now() - interval '1 minute'",
            ago=ago,
        )
    _, by_window = await rates(client)
    assert by_window["hour"]["assigned"] == 10
    assert by_window["hour"]["per_hour"] == pytest.approx(100, rel=0.05)
