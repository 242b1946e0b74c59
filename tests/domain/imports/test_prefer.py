"""What `Prefer: wait` is, and what it is not."""

import pytest

SOURCE = {"source": {"type": "text", "text": "code\nS-1\nS-2"}}


@pytest.mark.parametrize(
    "prefer", ["wait=abc", "wait", "wait=", "wait=-1", "wait=1.5", "respond-async, wait=x"]
)
async def test_a_malformed_one_is_refused_before_anything_is_made(client, prefer):
    reply = await client.post("/v1/pools/p/imports", json=SOURCE, headers={"Prefer": prefer})
    assert reply.status_code == 422, reply.text
    assert "wait=N" in reply.json()["detail"]
    assert "Preference-Applied" not in reply.headers
    assert (await client.get("/v1/pools/p")).status_code == 404


@pytest.mark.parametrize("prefer", ["", "respond-async", "handling=lenient", "waiting=1"])
async def test_another_preference_is_none_of_ours(client, prefer):
    reply = await client.post("/v1/pools/p/imports", json=SOURCE, headers={"Prefer": prefer})
    assert reply.status_code == 202, reply.text
    assert "Preference-Applied" not in reply.headers


@pytest.mark.parametrize("prefer", ["wait=30", 'wait="30"', "respond-async, Wait = 30"])
async def test_one_that_is_obeyed_says_so(client, worker, prefer):
    reply = await client.post("/v1/pools/p/imports", json=SOURCE, headers={"Prefer": prefer})
    assert reply.status_code == 200, reply.text
    assert reply.headers["Preference-Applied"] == "wait=30"
