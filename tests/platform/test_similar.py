"""A misspelt name costs the same however many names there are, and finds the one that was meant."""

import asyncio
import time

import pytest
from sqlalchemy import text

from app.platform.database import patience
from app.platform.projects import everywhere
from app.platform.similar import _CANDIDATES, similar_names

MANY = 20_000


@pytest.fixture
async def many(engine):
    async with engine.begin() as connection, patience(connection):
        await connection.execute(
            text("INSERT INTO pool (name) SELECT 'spring-' || md5(n::text) FROM generate_series(1, :n) AS n"),
            {"n": MANY},
        )
        for name in ("spring_sale_2026", "Welcome", "a", "ab", "ünïcode-größe"):
            await connection.execute(text("INSERT INTO pool (name) VALUES (:name)"), {"name": name})
    # As the autovacuum does soon after 20,000 rows were put in; the plan is that of a table that it has seen.
    async with everywhere(engine).begin() as connection:
        await connection.execute(text("ANALYZE pool"))
    return engine


MEANT = {
    "spring_sale_2O26": "spring_sale_2026",
    "sprign_sale_2026": "spring_sale_2026",
    "pring_sale_2026": "spring_sale_2026",
    "spring_sale_202": "spring_sale_2026",
    "spring_sales_2026": "spring_sale_2026",
    "Wellcome": "Welcome",
    "welcome": "Welcome",
    "ünïcode-grösse": "ünïcode-größe",
    "abc": "ab",
}


async def test_the_name_that_was_meant_is_found_among_many_by_the_indexes_alone(many):
    async with many.begin() as connection:
        found = {asked: await similar_names(connection, "pool", asked) for asked in MEANT}
        assert {asked: meant for asked, meant in MEANT.items() if meant not in found[asked]} == {}, found
        for name in ("x", "%", "_", "\\", "'", "é", "🎉" * 100, "z" * 100):
            assert isinstance(await similar_names(connection, "pool", name), list)
        values = dict.fromkeys(("ahead", "ahead_half", "back", "back_half"), "spring")
        query = text("EXPLAIN " + _CANDIDATES.format(table="pool"))
        plan = (await connection.execute(query, values)).scalars().all()
    assert sum("Index" in line and " using pool_alike" in line for line in plan) == 6
    assert sum("Index Cond" in line and "alike" in line for line in plan) == 6
    assert not [line for line in plan if "Seq Scan" in line or "Sort" in line], plan


@pytest.mark.long
async def test_a_misspelt_pool_keeps_the_loop_free_and_answers_in_bounded_time(many, client):
    longest, done = 0.0, False

    async def watch():
        nonlocal longest
        while not done:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    took = []
    for n in range(20):
        began = time.perf_counter()
        reply = await client.post(f"/v1/pools/spring_sale_2O2{n}/assignments", json={})
        took.append(time.perf_counter() - began)
        assert (reply.status_code, reply.json()["type"]) == (404, "/problems/pool-not-found")
    for n in range(3):
        body = {
            "template": f"{{{{ vouchers['spring_sale_2O2{n}'].assign_available() }}}}",
            "channel": "email",
        }
        reply = await client.post("/v1/render", json=body)
        assert (reply.status_code, "spring_sale_2026" in reply.text) == (404, True), reply.text
        assert (await client.get(f"/v1/aggregates/spring_sale_2O2{n}")).status_code == 404
    done = True
    await watching
    assert (sorted(took)[10], longest) < (0.1, 0.1)
