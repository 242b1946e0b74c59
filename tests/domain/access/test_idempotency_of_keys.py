"""An idempotency key belongs to the API key that sent it; a message belongs to everybody who sends it."""

import pytest

from tests.factories import add_key, fill

OTHER = "other-key-0123456789-0123456789-0123456789"
AS_OTHER = {"Authorization": f"Bearer {OTHER}"}
SAME = {"Idempotency-Key": "order-1"}
PATH = "/v1/pools/p/assignments"


@pytest.fixture(autouse=True)
async def pool(client, engine):
    await add_key(engine, OTHER, "assign")
    await fill(engine, "p", 20)


async def test_two_api_keys_with_one_idempotency_key_get_two_codes(client):
    mine = await client.post(PATH, json={}, headers=SAME)
    theirs = await client.post(PATH, json={}, headers=SAME | AS_OTHER)
    again = await client.post(PATH, json={}, headers=SAME)
    assert (mine.status_code, theirs.status_code, again.status_code) == (201, 201, 200)
    assert mine.json()["code"] == again.json()["code"] != theirs.json()["code"]


async def test_two_api_keys_with_one_idempotency_key_in_a_batch_get_two_codes(client):
    body = {"items": [{"idempotency_key": "order-1"}]}
    mine = (await client.post(f"{PATH}/batch", json=body)).json()["items"][0]
    theirs = (await client.post(f"{PATH}/batch", json=body, headers=AS_OTHER)).json()["items"][0]
    single = (await client.post(PATH, json={}, headers=SAME)).json()
    assert (mine["status"], theirs["status"]) == ("assigned", "assigned")
    assert mine["code"] == single["code"] != theirs["code"]


async def test_two_api_keys_with_one_message_get_one_code(client):
    body = {"message_id": "m-1", "customer_id": "c-1"}
    mine = await client.post(PATH, json=body)
    theirs = await client.post(PATH, json=body, headers=AS_OTHER)
    assert (mine.status_code, theirs.status_code) == (201, 200)
    assert mine.json()["code"] == theirs.json()["code"]
