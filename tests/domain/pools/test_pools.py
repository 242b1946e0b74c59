import pytest

from app.platform.connections import connect_sync
from tests.factories import fill

NO_COUNTS = dict.fromkeys(
    ("available", "reserved", "assigned", "redeemed", "expired", "void", "total", "held"), 0
)


async def test_a_pool_is_made_and_read(client):
    made = await client.post("/v1/pools", json={"name": "spring_sale", "description": "10 % off"})
    assert made.status_code == 201
    assert made.json()["counts"] == NO_COUNTS
    assert (await client.get("/v1/pools/spring_sale")).json() == made.json()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("spring sale", "a space at character 7"),
        ("a/b", "no '/'"),
        ("x" * 101, "this one has 101"),
        ("", "this one has 0"),
        ("a\tb", "white space at character 2"),
        ("a\u00a0b", "white space"),
        ("a\x00b", "character 2"),
    ],
)
async def test_a_bad_name_is_refused_with_what_is_wrong(client, name, says):
    reply = await client.post("/v1/pools", json={"name": name})
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["type"] == "/problems/invalid-request"
    assert problem["errors"][0]["loc"] == ["body", "name"]
    assert says in problem["errors"][0]["msg"]


async def test_a_taken_name_is_refused(client):
    await client.post("/v1/pools", json={"name": "p"})
    reply = await client.post("/v1/pools", json={"name": "p"})
    assert reply.status_code == 409
    assert reply.json()["type"] == "/problems/pool-exists"


async def test_an_unknown_pool_is_named_with_those_nearest(client):
    await client.post("/v1/pools", json={"name": "spring_sale"})
    reply = await client.get("/v1/pools/spring_sael")
    assert reply.status_code == 404
    assert reply.json()["similar"] == ["spring_sale"]


async def test_pools_are_listed_page_by_page(client):
    names = [f"p{n}" for n in range(5)]
    for name in names:
        await client.post("/v1/pools", json={"name": name})
    seen, cursor = [], None
    while True:
        page = (
            await client.get("/v1/pools", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [pool["name"] for pool in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == names


async def test_a_foreign_cursor_is_refused(client):
    reply = await client.get("/v1/pools", params={"cursor": "nonsense"})
    assert reply.status_code == 422


async def test_a_pool_is_deleted_until_a_code_of_it_was_handed_out(client, engine):
    await fill(engine, "p", 3)
    assert (await client.delete("/v1/pools/p")).status_code == 204
    assert (await client.get("/v1/pools/p")).status_code == 404
    await fill(engine, "p", 3)
    await client.post("/v1/pools/p/assignments", json={})
    reply = await client.delete("/v1/pools/p")
    assert reply.status_code == 409
    assert reply.json()["type"] == "/problems/pool-not-empty"
    assert (await client.get("/v1/pools/p/counts")).json()["total"] == 3


async def test_counts_read_no_voucher_however_many_there_are(client, engine, settings):
    await fill(engine, "p", 5)
    assert (await client.post("/v1/pools/p/assignments", json={})).status_code == 201
    with connect_sync(settings) as nobody_reads:
        nobody_reads.execute("LOCK TABLE voucher IN ACCESS EXCLUSIVE MODE")
        counts = (await client.get("/v1/pools/p/counts")).json()
        assert (counts["available"], counts["assigned"], counts["total"]) == (4, 1, 5)
        assert (await client.get("/v1/pools/p")).json()["counts"] == counts
        (listed,) = (await client.get("/v1/pools")).json()["items"]
        assert listed["counts"] == counts
        body = {"template": "{{ vouchers['p'].count_available() }} of {{ vouchers['p'].count_total() }}"}
        reply = await client.post("/v1/render", json=body | {"customer_id": "c", "channel": "sms"})
        assert reply.json()["rendered"] == "4 of 5"
        assert 'vouchers_stock{pool="p"' in (await client.get("/metrics")).text
