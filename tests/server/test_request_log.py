"""A line in the log for each request."""

import asyncio
import io

import httpx
import orjson
import pytest

from app.platform import logs
from app.platform.logs import RequestLines
from app.server.request_log import RequestLog
from app.web.dependencies import PLACE


class Stream(io.BytesIO):
    """Counts what is written at once."""

    writes = 0

    def write(self, data):
        self.writes += 1
        return super().write(data)


async def application(scope, receive, send):
    scope["route"] = "/v1/vouchers/{code}"
    if scope["path"] == "/of-a-project":
        logs.project_id.set(7)
    if scope["path"] == "/broken":
        raise RuntimeError
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def logged():
    """The application behind the log, and what is written."""
    stream = Stream()
    log = RequestLog(application)
    log._lines = RequestLines(stream)
    transport = httpx.ASGITransport(log, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client, stream


def lines(stream):
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_line_tells_the_project_of_the_caller_and_no_other_does(logged):
    client, stream = logged
    for path in ("/of-a-project", "/nobody-s"):
        await client.get(path)
    await asyncio.sleep(0)
    assert [line.get("project") for line in lines(stream)] == [7, None]


async def test_a_line_says_what_was_asked_and_answered_and_no_code(logged):
    client, stream = logged
    reply = await client.post("/v1/vouchers/SECRET-1", headers={"X-Request-Id": "mine"})
    await asyncio.sleep(0)
    assert reply.headers["x-request-id"] == "mine"
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert 0 <= line.pop("milliseconds") < 5000
    assert line == {
        "method": "POST", "route": "/v1/vouchers/{code}", "status": 201, "event": "request",
        "request_id": "mine", "level": "info",
    }  # fmt: skip


async def test_what_is_answered_at_once_has_its_line_too(logged):
    client, stream = logged
    log = client._transport.app
    told = []

    def begin(scope, body, request_id, gone, tell):
        scope["route"], scope[PLACE] = "/v1/pools/{pool}/assignments", (1, 7)
        tell(body, 201, b"x: y\r\n")
        return True

    log._begin = begin
    for sent in ([], [(b"x-request-id", b"mine")], [(b"x-request-id", b"\xa0")]):
        scope = {"type": "http", "method": "POST", "path": "/", "headers": sent}
        log.begin(scope, b"hi", lambda: False, lambda *reply: told.append(reply))
    await asyncio.sleep(0)
    first, second = lines(stream)
    assert (first["project"], first["status"], first["route"]) == (7, 201, "/v1/pools/{pool}/assignments")
    assert second["request_id"] == "mine"
    assert told[1] == (b"hi", 201, b"x: y\r\nx-request-id: mine\r\n")


async def test_a_request_that_raises_has_its_line_too(logged):
    client, stream = logged
    await client.get("/broken")
    await asyncio.sleep(0)
    assert [line["status"] for line in lines(stream)] == [500]


async def test_requests_that_are_answered_together_are_written_together(logged):
    client, stream = logged
    replies = await asyncio.gather(*(client.get(f"/{n}") for n in range(50)))
    await asyncio.sleep(0)
    assert [reply.headers["x-request-id"] for reply in replies] == [
        line["request_id"]
        for line in sorted(lines(stream), key=lambda line: int(line["request_id"][17:], 16))
    ]
    assert stream.writes < 50
