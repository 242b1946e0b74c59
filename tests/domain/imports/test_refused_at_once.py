"""What no import can be made of is refused where it is sent, and leaves no pool behind."""

import pytest

WRONG = ["klingon", "base64", "hex", "rot13"]
URL_SOURCE = {"type": "url", "url": "https://example.org/c.csv"}


@pytest.mark.parametrize("encoding", WRONG)
async def test_an_encoding_that_is_none_is_refused_everywhere(client, encoding):
    file = {"file": ("c.csv", "code\nA1\n")}
    text = {"source": {"type": "text", "text": "code\nA1\n"}, "encoding": encoding}
    schedule = {"pool": "p", "source": URL_SOURCE, "cron": "0 6 * * *", "encoding": encoding}
    replies = [
        await client.post("/v1/pools/p/imports", files=file, data={"encoding": encoding}),
        await client.post("/v1/pools/p/imports", json=text),
        await client.post("/v1/imports/preview", files=file, data={"encoding": encoding}),
        await client.post("/v1/import-schedules", json=schedule),
        await client.post("/v1/customers/imports", files=file, data={"encoding": encoding}),
    ]
    for reply in replies:
        assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request"), reply.text
        assert reply.json()["errors"][0]["loc"][-1] == "encoding"
    assert (await client.get("/v1/pools/p")).status_code == 404


@pytest.mark.parametrize(
    "prefer", ["wait=abc", "wait=", "wait", "wait=-1", "wait=1.5", "respond-async, wait=x"]
)
async def test_a_wait_that_is_no_number_is_refused_before_the_pool_is_made(client, prefer):
    file = {"file": ("c.csv", "code\nA1\n")}
    reply = await client.post("/v1/pools/p/imports", files=file, headers={"Prefer": prefer})
    assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (422, ["header", "prefer"])
    assert (await client.get("/v1/pools/p")).status_code == 404


@pytest.mark.parametrize("prefer", ["", "respond-async", "return=minimal", 'wait="0"'])
async def test_other_preferences_are_let_be(client, prefer):
    file = {"file": ("c.csv", "code\nA1\n")}
    assert (
        await client.post("/v1/pools/p/imports", files=file, headers={"Prefer": prefer})
    ).status_code == 202
