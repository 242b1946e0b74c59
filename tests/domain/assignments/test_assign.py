import asyncio

import pytest
from fastapi import Request
from sqlalchemy import text

from app.domain.assignments.schemas import BatchOut
from app.platform.database import transaction
from app.server.application import with_hot_path
from tests import hung_up
from tests.factories import fill

URL = "/v1/pools/p/assignments"


async def test_a_code_is_handed_out_and_known_ever_after(client, engine):
    codes = await fill(engine, "p", 3)
    reply = await client.post(URL, json={"customer_id": "c1", "campaign_id": "spring"})
    assert reply.status_code == 201
    given = reply.json()
    assert given["code"] in codes
    assert (await client.get(f"/v1/assignments/{given['id']}")).json() == given
    voucher = (await client.get(f"/v1/vouchers/{given['code']}")).json()
    assert (voucher["status"], voucher["customer_id"]) == ("assigned", "c1")
    assert [entry["event"] for entry in voucher["history"]] == ["imported", "assigned"]
    counts = (await client.get("/v1/pools/p/counts")).json()
    assert (counts["available"], counts["assigned"], counts["total"]) == (2, 1, 3)


async def test_a_pool_gives_each_code_once_and_then_says_it_is_exhausted(client, engine):
    codes = await fill(engine, "p", 50)
    replies = await asyncio.gather(*(client.post(URL, json={}) for _ in range(60)))
    given = [reply.json()["code"] for reply in replies if reply.status_code == 201]
    assert sorted(given) == sorted(codes)
    refused = [reply for reply in replies if reply.status_code != 201]
    assert {reply.json()["type"] for reply in refused} == {"/problems/pool-exhausted"}
    assert {reply.json()["pool"] for reply in refused} == {"p"}


async def test_one_idempotency_key_sent_by_fifty_gives_one_code_and_49_replays(client, engine):
    await fill(engine, "p", 100)
    headers = {"Idempotency-Key": "order-1"}
    replies = await asyncio.gather(
        *(client.post(URL, json={"customer_id": "c"}, headers=headers) for _ in range(50))
    )
    assert sorted(reply.status_code for reply in replies) == [200] * 49 + [201]
    assert len({reply.text for reply in replies}) == 1
    assert sum(reply.headers.get("Idempotency-Replayed") == "true" for reply in replies) == 49
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 1


async def test_one_message_to_one_customer_gets_one_code(client, engine):
    await fill(engine, "p", 10)
    body = {"message_id": "m1", "customer_id": "c1"}
    first = await client.post(URL, json=body)
    again = await client.post(URL, json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    other = await client.post(URL, json=body | {"customer_id": "c2"})
    assert other.json()["code"] != first.json()["code"]


async def test_a_key_with_another_request_is_refused(client, engine):
    await fill(engine, "p", 10)
    headers = {"Idempotency-Key": "k"}
    await client.post(URL, json={"customer_id": "c1"}, headers=headers)
    reply = await client.post(URL, json={"customer_id": "c2"}, headers=headers)
    assert reply.status_code == 422
    assert reply.json()["type"] == "/problems/idempotency-key-reused"
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 1


async def test_a_replay_works_when_the_pool_has_run_out(client, engine):
    await fill(engine, "p", 1)
    headers = {"Idempotency-Key": "k"}
    first = await client.post(URL, json={}, headers=headers)
    assert (await client.post(URL, json={})).status_code == 409
    assert (await client.post(URL, json={}, headers=headers)).json() == first.json()


async def test_what_is_locked_by_others_is_busy_and_not_exhausted(client, engine):
    await fill(engine, "p", 1)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM voucher FOR UPDATE"))
        reply = await client.post(URL, json={})
    assert reply.status_code == 503
    assert reply.json()["type"] == "/problems/pool-busy"
    assert reply.headers["Retry-After"]
    assert (await client.post(URL, json={})).status_code == 201


async def test_a_batch_gives_each_item_its_code_and_says_where_there_was_none(client, engine):
    await fill(engine, "p", 3)
    items = [{"idempotency_key": "a"}, {"idempotency_key": "a"}, {}, {}, {}]
    reply = (await client.post(f"{URL}/batch", json={"items": items})).json()
    assert reply["assigned"] == 3
    assert sorted(item["status"] for item in reply["items"]) == [
        "assigned",
        "assigned",
        "assigned",
        "exhausted",
        "replayed",
    ]
    assert reply["items"][0]["code"] == reply["items"][1]["code"]


async def test_a_batch_says_times_and_what_comes_with_a_code_as_single_assigns_do(client, engine):
    await fill(engine, "p", 2)
    async with transaction(engine) as connection:
        query = "UPDATE voucher SET expires_at = '2096-02-29T12:00:00Z', attributes = '{\"pin\": \"1\"}'"
        await connection.execute(text(query))
    reply = await client.post(f"{URL}/batch", json={"items": [{"lease_seconds": 60}, {}]})
    assert reply.headers["content-type"] == "application/json"
    for item in BatchOut.model_validate_json(reply.content, strict=True).model_dump(mode="json")["items"]:
        single = (await client.get(f"/v1/assignments/{item['id']}")).json()
        assert item["expires_at"] == "2096-02-29T12:00:00Z"
        assert {name: single[name] for name in item.keys() - {"index"}} == {
            name: value for name, value in item.items() if name != "index"
        }
        assert reply.json()["items"][item["index"]] == item


@pytest.mark.parametrize(
    ("items", "key", "left"),
    [
        ([{"idempotency_key": "a"}, {}], None, 3),
        ([{"idempotency_key": "a"}, {"message_id": "m"}], None, 1),
        ([{}, {}], "k", 1),
    ],
)
async def test_a_batch_takes_nothing_for_a_caller_who_has_gone_and_could_not_find_all_of_it_again(
    client, engine, monkeypatch, items, key, left
):
    async def gone(_request):
        return True

    await fill(engine, "p", 3)
    monkeypatch.setattr(Request, "is_disconnected", gone)
    headers = {"Idempotency-Key": key} if key else {}
    reply = await client.post(f"{URL}/batch", json={"items": items}, headers=headers)
    assert reply.status_code == (499 if left == 3 else 200)
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == left


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
async def test_both_ways_in_take_nothing_for_a_caller_who_has_gone(app, client, engine, content_type):
    """The second one is the framework's."""
    await fill(engine, "p", 3)
    assert await hung_up.post(with_hot_path(app), URL, {}, content_type) == 499
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 3


async def test_an_atomic_batch_takes_all_or_none(client, engine):
    await fill(engine, "p", 3)
    reply = await client.post(f"{URL}/batch", json={"items": [{}] * 4, "atomic": True})
    assert reply.status_code == 409
    assert (await client.get("/v1/pools/p/counts")).json()["available"] == 3


async def test_a_code_that_has_expired_is_never_drawn(client, engine):
    await fill(engine, "p", ["old", "new"])
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE voucher SET expires_at = now() - interval '1 s' WHERE code = 'old'")
        )
    assert (await client.post(URL, json={})).json()["code"] == "new"
    assert (await client.post(URL, json={})).json()["type"] == "/problems/pool-exhausted"
