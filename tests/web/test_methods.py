"""Methods: HEAD where GET is, and `Allow` where a method is none of a path's."""

import asyncio

from tests.factories import fill


async def test_head_is_get_without_the_body(client, engine):
    await fill(engine, "p", 3)
    for path in (
        "/v1/pools",
        "/v1/pools/p",
        "/v1/pools/p/counts",
        "/v1/pools/p/export",
        "/health/ready",
        "/metrics",
    ):
        got, head = await client.get(path), await client.head(path)
        assert head.status_code == got.status_code == 200
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.content == b""


async def test_head_of_a_stream_of_events_does_not_wait_for_its_end(client):
    source = {"type": "text", "text": "code\nA-1\n"}
    queued = (await client.post("/v1/pools/p/imports", json={"source": source})).json()
    async with asyncio.timeout(20):
        reply = await client.head(f"/v1/imports/{queued['id']}/progress")
    assert (reply.status_code, reply.headers["content-type"][:17]) == (200, "text/event-stream")


async def test_head_of_what_is_not_there_says_so(client):
    reply = await client.head("/v1/pools/none")
    assert (reply.status_code, reply.content) == (404, b"")


async def test_a_method_that_a_path_does_not_have_is_told_which_it_has(client):
    for method, path, allowed in (
        ("PUT", "/v1/pools", "GET, HEAD, POST"),
        ("POST", "/v1/pools/p", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/v1/events", "POST"),
        ("DELETE", "/v1/pools/p/alerts/deliveries", "GET, HEAD"),
        ("OPTIONS", "/v1/customers/imports", "POST"),
        ("OPTIONS", "/v1/vouchers/S-1/void", "POST"),
    ):
        reply = await client.request(method, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed), path


async def test_json_that_cannot_be_read_is_told_by_line_and_column(client):
    headers = {"Content-Type": "application/json"}
    for path in (
        "/v1/pools",
        "/v1/pools/p/assignments",
        "/v1/pools/p/imports",
        "/v1/bulk-changes",
        "/v1/render",
    ):
        reply = await client.post(path, content='{"name": "p",\n  "description": }', headers=headers)
        assert reply.status_code == 422
        (error,) = reply.json()["errors"]
        assert (error["loc"], error["line"], error["column"]) == (["body"], 2, 18), path


async def test_a_body_that_is_no_text_is_told_so(client):
    reply = await client.post("/v1/pools", content=b"\xff\xfe", headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request")
