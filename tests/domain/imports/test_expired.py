"""Codes that have expired already come in as expired: no count ever shows them as available."""

from app.domain.lifecycle import check


async def counts(client):
    return (await client.get("/v1/pools/p/counts")).json()


async def shown(client):
    body = {"channel": "email", "template": "{{ vouchers['p'].count_available() }}"}
    return (await client.post("/v1/render", json=body)).json()["rendered"]


async def broken(engine):
    async with engine.begin() as connection:
        return await check.violations(connection)


async def test_counts_are_right_at_once_after_an_import_of_expired_codes(client, engine, upload):
    ends = {n: 2020 if n < 12 else 2099 for n in range(10, 20)}
    rows = "code,until\n" + "".join(f"A-{n},{year}-01-01T00:00:00Z\n" for n, year in ends.items())
    await upload(rows, column="code", expires_at_column="until", accept_suspicious="true")
    counted = await counts(client)
    assert (counted["available"], counted["expired"], counted["total"]) == (8, 2, 10)
    assert await shown(client) == "8"
    voucher = (await client.get("/v1/vouchers/A-10")).json()
    assert (voucher["status"], voucher["history"][-1]["event"]) == ("expired", "expired")
    assert await broken(engine) == []


async def test_an_import_whose_codes_have_all_expired_makes_nothing_drawable(client, engine, upload):
    await upload("code\nA-11\nA-12\nA-13\n", expires_at="2020-01-01T00:00:00Z")
    counted = await counts(client)
    assert (counted["available"], counted["expired"]) == (0, 3)
    assert await shown(client) == "0"
    reply = await client.post("/v1/pools/p/assignments", json={})
    assert (reply.status_code, reply.json()["reason"]) == (409, "empty")


async def test_what_was_set_aside_comes_in_as_expired_too(client, engine, upload):
    text = "code\n" + "".join(f"A-{n}\n" for n in range(20, 200)) + "HELLO\n"
    done = (await upload(text, expires_at="2020-01-01T00:00:00Z")).json()
    assert done["rejected_by"]["suspicious"] == 1
    reply = await client.post(f"/v1/imports/{done['id']}/accept-suspicious")
    assert reply.status_code == 200
    counted = await counts(client)
    assert (counted["available"], counted["expired"]) == (0, 181)
    assert (await client.get("/v1/vouchers/HELLO")).json()["status"] == "expired"
    assert await broken(engine) == []


async def test_an_expired_code_that_is_there_twice_is_one(client, engine, upload):
    rows = "code,until\nA-1,2020-01-01\nA-1,2020-01-01\nA-2,2099-01-01\nA-3,2099-01-01\n"
    await upload(rows, column="code", expires_at_column="until")
    counted = await counts(client)
    assert (counted["available"], counted["expired"], counted["total"]) == (2, 1, 3)
    given = [await client.post("/v1/pools/p/assignments", json={}) for _ in range(3)]
    assert [reply.status_code for reply in given] == [201, 201, 409]
    assert await broken(engine) == []
