from sqlalchemy import text

from app.domain.changes import service as changes
from app.domain.lifecycle import check
from app.platform.database import transaction
from app.schema.base import Base
from tests.factories import fill

WHO = "anna@example.org"


async def test_a_person_is_gone_from_every_table_and_codes_and_counts_stay(client, engine, connection):
    await fill(engine, "p", 3)
    await client.put(
        "/v1/redemption-mapping", json={"mappings": [{"event_type": "purchase", "property": "code"}]}
    )
    code = (
        await client.post("/v1/pools/p/assignments", json={"customer_id": WHO, "message_id": f"to-{WHO}"})
    ).json()["code"]
    await client.post("/v1/pools/p/assignments", json={"customer_id": "other"})
    events = [
        {"event_id": f"{WHO}-1", "customer_id": WHO, "event_type": "purchase", "properties": {"code": code}},
        {
            "event_id": f"{WHO}-2",
            "customer_id": WHO,
            "event_type": "purchase",
            "properties": {"code": "nope"},
        },
        {"customer_id": "other", "event_type": "visit"},
    ]
    await client.post("/v1/events", json={"events": events})
    async with engine.begin() as other:
        await other.execute(text("INSERT INTO customer (id) VALUES (:id)"), {"id": WHO})
    before = (await client.get("/v1/pools/p/counts")).json()

    reply = await client.delete(f"/v1/customers/{WHO}")
    assert reply.status_code == 200
    assert reply.json() == {"customers": 1, "events": 2, "assignments": 1, "redemptions": 2}

    for table in Base.metadata.sorted_tables:
        query = text(f'SELECT count(*) FROM "{table.name}" AS t WHERE strpos(to_jsonb(t)::text, :who) > 0')
        assert (await connection.execute(query, {"who": WHO})).scalar_one() == 0, table.name
    assert (await client.get("/v1/pools/p/counts")).json() == before
    voucher = (await client.get(f"/v1/vouchers/{code}")).json()
    assert (voucher["status"], voucher["customer_id"]) == ("redeemed", None)
    assert len((await client.get("/v1/assignments", params={"customer_id": "other"})).json()["items"]) == 1
    assert await check.violations(connection) == []


async def test_an_erasure_can_be_repeated(client):
    for _ in range(2):
        reply = await client.delete("/v1/customers/nobody")
        assert reply.json() == {"customers": 0, "events": 0, "assignments": 0, "redemptions": 0}


async def test_a_change_of_many_that_names_a_person_does_so_no_more_and_is_done_for_the_others(
    client, engine
):
    await fill(engine, "p", 3)
    for customer in (WHO, "other"):
        await client.post("/v1/pools/p/assignments", json={"customer_id": customer})
    asked = [
        await client.post("/v1/bulk-changes", json={"action": "void", "filter": {"customer_ids": named}})
        for named in ([WHO, "other"], [WHO])
    ]
    await client.delete(f"/v1/customers/{WHO}")
    async with transaction(engine) as connection:
        named = await connection.execute(text("SELECT customer_ids FROM bulk_change ORDER BY created_at"))
        assert named.scalars().all() == [["other"], []]
    for reply in asked:
        await changes.run(engine, reply.json()["id"])
    found = [(await client.get(reply.headers["location"])).json() for reply in asked]
    assert [each["changed"] for each in found] == [1, 0]
    assert (await client.get("/v1/pools/p/counts")).json()["void"] == 1
