"""Draws that ask for life: what holds long enough is found, whatever stands before it, with bounded work."""

import asyncio

import pytest
from sqlalchemy import text

from app.domain.assignments import lasting
from app.domain.lifecycle import check
from app.domain.lifecycle import lasting as sql
from tests.factories import fill

URL = "/v1/pools/p/assignments"
FORTNIGHT = 14 * 86400
SHORT = 120
"""Codes that expire too soon: more than one draw looks through."""
TEMPLATE = f"{{{{ vouchers['p'].assign_available(valid_for={FORTNIGHT}) }}}}"


@pytest.fixture(autouse=True)
def read(monkeypatch):
    """Let a draw look through few codes; the codes that it looked through at the most."""
    monkeypatch.setattr(lasting, "NEAR", 10)
    monkeypatch.setattr(lasting, "STEP", 10)
    monkeypatch.setattr(lasting, "STEPS", 3)
    lasting._PLACES.clear()
    walk, read = sql.walk, []

    async def counted(connection, wanted, n, between, most):
        read.append(most)
        return await walk(connection, wanted, n, between, most)

    monkeypatch.setattr(sql, "walk", counted)
    return read


@pytest.fixture
async def pool(client, engine):
    """Many codes that expire in two days, one that expires in a month and one that never does."""
    await fill(engine, "p", SHORT)
    await change(engine, "UPDATE voucher SET expires_at = now() + interval '2 days'")
    await add(engine, "dated", "undated")
    await change(engine, "UPDATE voucher SET expires_at = now() + interval '1 month' WHERE code = 'dated'")


async def change(engine, statement, **values):
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def add(engine, *codes):
    for code in codes:
        await fill(engine, "p", [code])


async def assign(client, **body):
    return await client.post(URL, json={"valid_for_seconds": FORTNIGHT, **body})


async def until_decided(ask):
    """Ask again as long as the reply is that not all was looked at."""
    for _ in range(20):
        reply = await ask()
        if reply.status_code != 503:
            return reply
        assert (reply.json()["type"], reply.headers["Retry-After"]) == ("/problems/pool-busy", "1")
    raise AssertionError("it never ends")


async def render(client, template=TEMPLATE, **body):
    wanted = {"template": template, "channel": "email", "mode": "send"}
    return await client.post("/v1/render", json=wanted | body)


@pytest.mark.parametrize("way", ["assign", "render", "batch", "render a batch"])
async def test_what_holds_long_enough_is_found_and_then_the_rest_is_too_short_lived(
    client, engine, pool, read, way
):
    async def ask():
        if way == "assign":
            return await assign(client)
        if way == "render":
            return await render(client)
        if way == "batch":
            items = [{"valid_for_seconds": FORTNIGHT}]
            return await client.post(f"{URL}/batch", json={"items": items, "atomic": True})
        body = {"template": TEMPLATE, "channel": "email", "recipients": [{"customer_id": "c"}]}
        return await client.post("/v1/render/batch", json=body)

    def code(reply):
        (item,) = reply.json().get("items", [reply.json()])
        return item.get("code") or item.get("rendered")

    async def asked():
        return await until_decided(ask)

    if way == "render a batch":
        found = set()
        for _ in range(40):
            found.add(code(await ask()))
        assert found == {"dated", "undated", None}
    else:
        assert {code(await asked()), code(await asked())} == {"dated", "undated"}
        refused = await asked()
        assert (refused.status_code, refused.json()["reason"]) == (409, "too_short_lived")
        read.clear()
        assert (await ask()).json()["reason"] == "too_short_lived"  # it is remembered
        assert sum(read) <= 20
        await add(engine, "new")
        assert code(await asked()) == "new"  # and forgotten where codes came in
    async with engine.begin() as connection:
        assert await check.violations(connection) == []


async def test_each_draw_looks_through_so_many_codes_at_the_most(client, engine, pool, read):
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM voucher WHERE code LIKE '%dated'"))
    await change(engine, "UPDATE stock SET available = available - 2 WHERE slot = 0")
    statuses = set()
    for _ in range(9):
        read.clear()
        reply = await client.post(f"{URL}/batch", json={"items": [{"valid_for_seconds": FORTNIGHT}] * 5})
        assert sum(read) <= 2 * 10 + 2 * 3 * 10  # each step may pass the end
        statuses |= {item["status"] for item in reply.json()["items"]}
    assert statuses == {"exhausted"}
    read.clear()
    assert (await client.post(URL, json={})).status_code == 201
    assert (await render(client, "{{ vouchers['p'].assign_available() }}")).status_code == 200
    assert read == []  # who does not ask for life runs through none of it


async def test_what_others_have_locked_is_busy_and_what_comes_back_is_found(client, engine, pool):
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM voucher WHERE code LIKE '%dated' FOR UPDATE"))
        for _ in range(3):
            assert (await assign(client)).status_code == 503
    # A message that fails has locked codes, and gives them back.
    both = f"{TEMPLATE} {TEMPLATE.replace('valid_for', 'cached=False, valid_for')} {{{{ nothing }}}}"
    assert (await render(client, both)).status_code == 422
    codes = {(await until_decided(lambda: assign(client))).json()["code"] for _ in range(2)}
    assert codes == {"dated", "undated"}


async def test_of_many_at_once_each_gets_its_own(client, engine, pool):
    await add(engine, *(f"new-{n}" for n in range(8)))
    replies = await asyncio.gather(
        *(until_decided(lambda: assign(client)) for _ in range(10)),
        *(until_decided(lambda: render(client)) for _ in range(10)),
    )
    given = [reply.json().get("code") or reply.json().get("rendered") for reply in replies]
    codes = [code for code in given if code is not None]
    assert sorted(codes) == sorted({"dated", "undated", *(f"new-{n}" for n in range(8))})
    async with engine.begin() as connection:
        assert await check.violations(connection) == []


async def test_a_repeat_gets_what_it_got_and_a_preview_shows_the_same(client, engine, pool):
    headers = {"Idempotency-Key": "k"}
    body = {"valid_for_seconds": FORTNIGHT}

    async def ask():
        return await client.post(URL, json=body, headers=headers)

    first = await until_decided(ask)
    again = await ask()
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    await until_decided(lambda: render(client, mode="preview"))
    shown = {(await render(client, mode="preview")).json()["rendered"] for _ in range(3)}
    assert shown == {"dated", "undated"} - {first.json()["code"]}
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["assigned"], counts["available"]) == (1, SHORT + 1)


async def test_holds_are_kept_by_draws_that_ask_for_life(client, engine, pool):
    reply = await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": SHORT + 1})
    assert reply.status_code == 201
    assert (await until_decided(lambda: assign(client))).status_code == 201
    refused = await assign(client)
    assert (refused.status_code, refused.json()["reason"]) == (409, "held")
    preview = await until_decided(lambda: render(client, mode="preview"))
    assert preview.json()["reason"] == "held"
    of_the_hold = await until_decided(lambda: assign(client, campaign_id="spring"))
    assert of_the_hold.status_code == 201
    last = await until_decided(lambda: assign(client, campaign_id="spring"))
    assert last.json()["reason"] == "too_short_lived"
    (hold,) = (await client.get("/v1/pools/p/holds")).json()["items"]
    assert hold["drawn"] == 1
