"""A sweep that meets a row which it cannot judge goes on with the rest, and counts it."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from app.domain.alerts import service as alerts
from app.domain.holds import service as holds
from app.domain.imports.schedules import service as schedules
from app.domain.lifecycle import check
from app.domain.redemptions import service as redemptions
from app.domain.vouchers import service as vouchers
from app.platform.database import transaction
from app.platform.metrics import UNJUDGED
from app.platform.projects import everywhere
from tests.factories import fill


@pytest.fixture
async def plant(engine):
    """Make the database refuse any change of some rows of a table, as a value that nobody thought of would."""
    planted = []

    async def plant(table, condition, change="UPDATE"):
        async with everywhere(engine).begin() as connection:
            await connection.execute(
                text("""CREATE OR REPLACE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'an odd row'; END $$""")
            )
            await connection.execute(
                text(
                    f"CREATE TRIGGER odd BEFORE {change} ON {table}"
                    f" FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION odd()"
                )
            )
        planted.append(table)

    async def dig_out():
        async with everywhere(engine).begin() as connection:
            for table in planted:
                await connection.execute(text(f"DROP TRIGGER odd ON {table}"))
        planted.clear()

    plant.dig_out = dig_out
    yield plant
    await dig_out()


def unjudged():
    return UNJUDGED._value.get()


async def states(client, pool="p"):
    counts = (await client.get(f"/v1/pools/{pool}/counts")).json()
    return {state: n for state, n in counts.items() if n and state not in {"total", "held"}}


async def test_the_sweep_of_expiry_goes_on_past_odd_rows(client, engine, plant, monkeypatch):
    monkeypatch.setattr(vouchers, "VOUCHERS_AT_A_TIME", 4)
    await fill(engine, "p", 12)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = now()"))
    await plant("voucher", "OLD.code IN ('p-000003', 'p-000004')")
    before = unjudged()
    assert await vouchers.sweep(engine) == (0, 10)
    assert await states(client) == {"available": 2, "expired": 10}
    assert unjudged() == before + 2
    await plant.dig_out()
    assert await vouchers.sweep(engine) == (0, 2)


async def test_the_sweep_of_leases_goes_on_past_odd_rows_and_holds_get_back_theirs(client, engine, plant):
    await fill(engine, "p", 6)
    await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": 3})
    given = [
        (
            await client.post("/v1/pools/p/assignments", json={"lease_seconds": 60, "campaign_id": campaign})
        ).json()
        for campaign in ("spring", "spring", None, None)
    ]
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE assignment SET lease_until = now()"))
    await plant("voucher", f"OLD.code = '{given[0]['code']}'")
    assert await vouchers.sweep(engine) == (3, 0)
    assert await states(client) == {"available": 5, "reserved": 1}
    (hold,) = (await client.get("/v1/pools/p/holds")).json()["items"]
    assert hold["drawn"] == 1
    async with engine.begin() as connection:
        assert await check.violations(connection) == []


async def test_the_sweep_of_uses_goes_on_past_odd_rows(client, engine, plant):
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    await client.put("/v1/redemption-mapping", json=mapping)
    events = [
        {"event_type": "purchase", "customer_id": "c", "properties": {"code": f"p-{n:06}"}} for n in range(3)
    ]
    await client.post("/v1/events", json={"events": events})
    await fill(engine, "p", 3)
    await plant("voucher", "OLD.code = 'p-000001'")
    before = unjudged()
    assert await redemptions.resolve(engine) == 2
    assert await states(client) == {"available": 1, "redeemed": 2}
    assert unjudged() == before + 1


async def test_a_replay_goes_on_past_events_that_cannot_be_judged(client, engine, plant, monkeypatch):
    monkeypatch.setattr(redemptions, "AT_A_TIME", 5)
    codes = await fill(engine, "p", 12)
    events = [{"event_type": "purchase", "customer_id": "c", "properties": {"code": code}} for code in codes]
    await client.post("/v1/events", json={"events": events})
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    await client.put("/v1/redemption-mapping", json=mapping)
    await plant("voucher", "OLD.code IN ('p-000003', 'p-000004')")
    before = unjudged()
    assert await redemptions.replay(engine) == {"events": 12, "found": 10}
    assert await states(client) == {"available": 2, "redeemed": 10}
    assert unjudged() == before + 2
    await plant.dig_out()
    assert await redemptions.replay(engine) == {"events": 12, "found": 2}
    assert await states(client) == {"redeemed": 12}


async def test_the_sweeps_of_alerts_and_holds_go_on_past_odd_rows(client, engine, plant):
    for pool in ("p", "q", "r"):
        await fill(engine, pool, 2)
        body = {"thresholds": [5], "webhook_url": "https://example.org/hook"}
        assert (await client.put(f"/v1/pools/{pool}/alerts", json=body)).status_code == 200
        await client.post(f"/v1/pools/{pool}/holds", json={"campaign_id": "spring", "count": 1})
    async with engine.begin() as connection:
        bad = (await connection.execute(text("SELECT id FROM pool WHERE name = 'q'"))).scalar_one()
        await connection.execute(text("UPDATE hold SET expires_at = now() - interval '1 minute'"))
    await plant("alert_threshold", f"OLD.pool_id = {bad} AND NEW.told_at IS NOT NULL")
    await plant("hold", f"OLD.pool_id = {bad}", "DELETE")
    before = unjudged()
    async with transaction(engine) as connection:
        await alerts.notify_crossed(connection)
    await holds.sweep(engine)
    async with engine.begin() as connection:
        told = text("SELECT pool_id FROM delivery WHERE event = 'pool.low'")
        assert bad not in (rows := set((await connection.execute(told)).scalars()))
        assert len(rows) == 2
        left = (await connection.execute(text("SELECT pool_id FROM hold"))).scalars().all()
    assert left == [bad]
    assert unjudged() == before + 2


@pytest.mark.parametrize("odd", ["the schedule", "its import", "the end of its run"])
async def test_the_clock_of_schedules_goes_on_past_odd_rows(client, engine, plant, odd):
    for pool in ("p", "q", "r"):
        source = {"type": "url", "url": "https://example.org/codes.csv"}
        made = await client.post(
            "/v1/import-schedules", json={"pool": pool, "source": source, "cron": "0 6 * * *"}
        )
        assert made.status_code == 201, made.text

    async def change(statement):
        async with engine.begin() as connection:
            await connection.execute(text(statement))

    async def sweep():
        """Sweep; how many were told to be odd."""
        before = unjudged()
        await schedules.sweep(engine, datetime.now(UTC))
        return unjudged() - before

    async def begun():
        return [run["pool"] for run in (await client.get("/v1/imports")).json()["items"]]

    # The odd one is the first that is met.
    due = "UPDATE import_schedule SET next_run = now() - make_interval(hours => CASE pool WHEN 'q' THEN 2 ELSE 1 END)"
    await change(due)
    if odd == "the end of its run":
        assert await sweep() == 0
        await change("UPDATE import SET status = 'failed', error = 'gone', finished_at = now()")
        await plant("import_schedule", "OLD.pool = 'q'")
        assert await sweep() == 1
        listed = (await client.get("/v1/import-schedules")).json()["items"]
        assert {each["pool"]: each["error"] for each in listed} == {"p": "gone", "q": None, "r": "gone"}
        return
    await (
        plant("import", "NEW.pool = 'q'", "INSERT")
        if odd == "its import"
        else plant("import_schedule", "OLD.pool = 'q'")
    )
    assert await sweep() == 1
    assert sorted(await begun()) == ["p", "r"]
    await plant.dig_out()
    assert await sweep() == 0
    assert sorted(await begun()) == ["p", "q", "r"]
