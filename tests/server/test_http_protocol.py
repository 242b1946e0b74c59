"""What one stranger can hold up: heads, bodies, silence and connections are bounded."""

import asyncio
import contextlib

import orjson
import pytest
import uvloop

from app.domain.tracking.trackers import TrackerFailure
from app.platform.settings import get_settings
from app.server import http_protocol, refusals
from app.server.http_protocol import Protocol
from app.server.refusals import Refusal
from app.web.problems import Problem
from tests.loopback import served

HEAD = b"POST / HTTP/1.1\r\nHost: test\r\n"
GET = b"GET / HTTP/1.1\r\nHost: test\r\n"


@pytest.fixture
def fast(monkeypatch):
    """Times that a test can wait for."""
    monkeypatch.setattr(http_protocol, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(http_protocol, "BODY_IDLE_SECONDS", 0.4)
    monkeypatch.setattr(http_protocol, "BODY_SECONDS", 0.8)
    monkeypatch.setattr(http_protocol, "SEND_SECONDS", 0.4)


@pytest.fixture
def limits(monkeypatch):
    monkeypatch.setenv("VOUCHERS_MAX_CONNECTIONS", "6")
    monkeypatch.setenv("VOUCHERS_MAX_CONNECTIONS_PER_ADDRESS", "4")
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


class Application:
    """Reads the whole body and tells its length; or sends without end."""

    def __init__(self):
        self.seen = []
        self.sent = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.seen.append(scope)
        if scope["path"] == "/endless":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                while not (getattr(receive, "__self__").disconnected):  # noqa: B009
                    await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                    self.sent += 65536
                    await asyncio.sleep(0)
            finally:
                self.ended.set()
            return
        length, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            length += len(message["body"])
            more = message["more_body"]
        body = str(length).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def application():
    return Application()


@pytest.fixture
async def port(application):
    async with served(application, idle_seconds=1) as port:
        yield port


async def answer(port, *pieces, pause=0.0, seconds=8):
    """What comes back for these bytes until the connection is closed; it is read while they are written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(_all(reader))
    try:
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    if reading.done():
                        break
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
            return await reading
    finally:
        writer.close()


async def _all(reader):
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            got += data
    return got


def status(reply):
    return int(reply.split()[1])


@pytest.mark.parametrize("first", [b"", b"POST / HTTP/1.1\r\nHost: test\r\n"], ids=["idle", "next begun"])
async def test_a_connection_may_be_idle_between_requests_but_not_for_long(port, fast, first):
    request_ = HEAD + b"Content-Length: 5\r\n\r\n12345"
    begun = asyncio.get_running_loop().time()
    reply = await answer(port, request_, request_ + first, pause=0.5)
    assert reply.count(b"HTTP/1.1 200") == 2
    assert 0.8 < asyncio.get_running_loop().time() - begun < 3


@pytest.mark.parametrize("before", [0, 60_000, 300_000])
async def test_a_head_is_bounded_behind_another_request(port, application, before):
    """However the bytes of it are cut, and whatever came with its beginning."""
    first = HEAD + b"Content-Length: %d\r\n\r\n" % before + b"x" * before
    head = GET + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(9)) + b"\r\n"
    for cut in (100, 40_000, len(head) - 3):
        application.seen.clear()
        reply = await answer(port, first + head[:cut], head[cut:], pause=0.05)
        assert b"HTTP/1.1 200" in reply
        assert b"HTTP/1.1 431" in reply
        assert len(application.seen) == 1


async def test_a_plain_request_is_answered(port):
    reply = await answer(port, HEAD + b"Content-Length: 5\r\nConnection: close\r\n\r\n12345")
    assert status(reply) == 200
    assert reply.endswith(b"\r\n\r\n5")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (GET + b"".join(b"X-%d: a\r\n" % n for n in range(100)) + b"\r\n", 431),
        (GET + b"X: " + b"a" * 66_000 + b"\r\n\r\n", 431),
        (GET + b"X" * 66_000 + b": a\r\n\r\n", 431),
        (GET + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(9)) + b"\r\n", 431),
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
        (b"GET /?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
        (b"NONSENSE\r\n\r\n", 400),
        (GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
    ids=["lines", "value", "name", "sum", "path", "query", "nonsense", "two lengths"],
)
async def test_a_head_that_is_too_much_is_refused_as_a_problem(port, application, request_, expected):
    reply = await answer(port, request_)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert status(reply) == expected
    assert b"application/problem+json" in head
    assert orjson.loads(body)["status"] == expected
    assert not application.seen


@pytest.mark.parametrize("line", [b"X: a\r\n", b"a" * 1000], ids=["lines", "one line"])
async def test_an_endless_head_ends(port, application, line):
    reply = await answer(port, GET, b"X: " if len(line) > 6 else b"", *[line * 100] * 200)
    assert reply == b"" or status(reply) == 431  # a reset may swallow the reply: bytes were still coming
    assert not application.seen


@pytest.mark.parametrize("line", [b"X: a\r\n", b"a" * 1000], ids=["lines", "one line"])
async def test_an_endless_trailer_ends(port, line):
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    reply = await answer(port, head, b"X: " if len(line) > 6 else b"", *[line * 100] * 200)
    assert reply == b"" or status(reply) == 431


async def test_a_trailer_is_no_header(port, application):
    request_ = (
        HEAD
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nAuthorization: b\r\n\r\n"
    )
    assert status(await answer(port, request_)) == 200
    assert b"authorization" not in dict(application.seen[0]["headers"])


async def test_a_head_that_drips_ends_in_time(port, fast):
    reply = await answer(port, *[bytes([byte]) for byte in GET], pause=0.05)
    assert status(reply) == 408


async def test_a_second_head_that_drips_ends_in_time(port, fast):
    reply = await answer(port, GET + b"\r\n", *[bytes([byte]) for byte in GET], pause=0.05)
    assert status(reply) == 200
    assert b"408 Request Timeout" in reply


async def test_a_silent_connection_is_closed(port, fast):
    assert await answer(port) == b""


@pytest.mark.parametrize("pause", [0.05, 1], ids=["drips", "stops"])
async def test_a_body_that_does_not_come_ends_in_time(port, fast, pause):
    reply = await answer(port, HEAD + b"Content-Length: 1000\r\n\r\n", *[b"a"] * 100, pause=pause)
    assert status(reply) == 408


async def test_a_slow_body_that_comes_on_is_taken(port, fast, monkeypatch):
    monkeypatch.setattr(http_protocol, "BODY_BYTES_PER_SECOND", 1000)
    head = HEAD + b"Content-Length: 10000\r\nConnection: close\r\n\r\n"
    reply = await answer(port, head, *[b"a" * 500] * 20, pause=0.1)
    assert reply.endswith(b"\r\n\r\n10000")


async def test_a_reply_that_nobody_reads_ends_in_time(port, application, fast):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
    async with asyncio.timeout(5):
        await application.ended.wait()
    writer.close()
    assert application.sent < 64 * 1024**2
    del reader


async def test_one_address_has_its_connections_and_no_more(port, limits):
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
    await asyncio.sleep(0.05)
    reply = await answer(port)
    assert status(reply) == 503
    assert b"retry-after: 1" in reply
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.05)
    assert status(await answer(port, GET + b"Connection: close\r\n\r\n")) == 200


@pytest.mark.parametrize("proxies", ["127.0.0.1", "127.0.0.0/8,192.0.2.7", "*"])
async def test_a_trusted_proxy_has_more_than_one_address_may_have(proxies, port, limits, monkeypatch):
    monkeypatch.setenv("VOUCHERS_TRUSTED_PROXIES", proxies)
    get_settings.cache_clear()
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    assert status(await answer(port, GET + b"Connection: close\r\n\r\n")) == 200
    for _, writer in held:
        writer.close()


async def test_all_addresses_together_have_theirs(port, limits):
    async def connect(n):
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{n}", 0))

    held = [await connect(2 + n // 2) for n in range(6)]
    await asyncio.sleep(0.05)
    assert status(await answer(port)) == 503
    for _, writer in held:
        writer.close()


async def test_a_bad_second_request_does_not_answer_for_the_first(port):
    """A refusal in the middle of another reply would be taken for a part of it."""
    reply = await answer(port, GET + b"\r\n" + b"NONSENSE\r\n\r\n")
    assert reply.count(b"HTTP/1.1") <= 2
    assert reply == b"" or status(reply) in {200, 400}


@pytest.fixture
def full(monkeypatch):
    """Nothing more is let in."""
    monkeypatch.setattr(Protocol.admission, "most", 0)
    monkeypatch.setattr(Protocol.admission, "look", lambda *_, **__: None)


async def test_one_too_many_is_refused_at_once_and_its_connection_goes_on(
    port, application, full, monkeypatch
):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in (GET + b"\r\n", HEAD + b"Content-Length: 5\r\n\r\nhello"):
        for _ in range(2):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            problem = orjson.loads(await reader.readexactly(length))
            assert head.startswith(b"http/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in head
            assert b"connection: close" not in head
            assert problem["type"] == "/problems/overloaded"
    assert application.seen == []
    monkeypatch.setattr(Protocol.admission, "most", 10)
    writer.write(HEAD + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello")
    assert (await reader.read()).endswith(b"\r\n\r\n5")
    writer.close()


REFUSALS = [each for each in vars(refusals).values() if isinstance(each, Refusal)]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
@pytest.mark.parametrize(
    ("path", "kind", "model"),
    [
        ("", "application/problem+json", Problem),
        ("/v1/pools", "application/problem+json", Problem),
        ("/track/v2/projects/p/batch", "application/json", TrackerFailure),
    ],
)
def test_a_refusal_is_what_the_document_says(refusal, path, kind, model):
    for stays in (False, True):
        head, _, body = refusal.raw(path, stays=stays).partition(b"\r\n\r\n")
        assert f"content-type: {kind}\r\n" in head.decode()
        assert (b"connection: close" in head) is not stays
        told = model.model_validate_json(body)
        assert refusal.detail in (told.detail if model is Problem else told.errors)


async def test_trackers_are_refused_in_their_own_words(port, full):
    track = b"POST /track/v2/projects/p/batch HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\n"
    for request in (track + b"\r\n", track + b"X: a\r\n" * 200 + b"\r\n"):
        reply = await answer(port, request)
        assert b"content-type: application/json\r\n" in reply
        assert orjson.loads(reply.partition(b"\r\n\r\n")[2])["success"] is False


async def test_who_watches_a_full_process_and_who_wants_a_head_is_answered(port, application, full):
    for line in (b"GET /health/ready", b"GET /metrics", b"HEAD /"):
        reply = await answer(port, line + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 200 ")
    assert len(application.seen) == 3


async def test_a_full_process_closes_where_the_client_wants_that(port, full):
    reply = await answer(port, b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close\r\n" in reply


async def test_requests_in_one_breath_are_each_answered_by_a_full_process(port, full):
    reply = await answer(port, (GET + b"\r\n") * 500 + GET + b"Connection: close\r\n\r\n")
    assert reply.count(b"HTTP/1.1 ") == 501


CHUNKED = b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", CHUNKED),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
        (b"Content-Length: 2, 2\r\n", b"{}"),
        (b"Content-Length: +2\r\n", b"{}"),
        (b"Transfer-Encoding: xchunked\r\n", CHUNKED),
        (b"Transfer-Encoding: chunked, identity\r\n", CHUNKED),
        (b"Transfer-Encoding : chunked\r\n", CHUNKED),
        (b"Transfer-Encoding: \x0bchunked\r\n", CHUNKED),
        (b"Content-Length: 2\r\nX: a\r\n Transfer-Encoding: chunked\r\n", b"{}"),
        (b"X: a\rContent-Length: 7\r\nContent-Length: 2\r\n", b"{}"),
        (b"Transfer-Encoding: chunked\r\n", b"2 \r\n{}\r\n" + CHUNKED),
        (b"Transfer-Encoding: chunked\r\n", b'2;a="\n"\r\n{}\r\n' + CHUNKED),
        (b"Transfer-Encoding: chunked\r\n", b"FFFFFFFFFFFFFFFFF\r\n{}\r\n" + CHUNKED),
    ],
)
async def test_no_request_is_smuggled_in_the_body_of_another(port, application, lines, body):
    """Where a proxy and this service could differ on where a body ends, nothing behind it is read."""
    behind = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
    reply = await answer(port, HEAD + lines + b"\r\n" + body + behind)
    assert status(reply) == 400
    assert reply.count(b"HTTP/1.1 ") == 1
    assert "/smuggled" not in [scope["path"] for scope in application.seen]


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
"""As Java's own client sends with each request."""


@pytest.mark.parametrize("asks", [H2C, b"Connection: upgrade\r\nUpgrade: websocket\r\n"])
@pytest.mark.parametrize(
    ("lines", "body", "length"),
    [
        (b"Content-Length: 37\r\n", b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"[:37], b"37"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nGET /\r\n" + CHUNKED, b"5"),
        (b"", b"", b"0"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_what_asks_for_another_protocol_is_read_as_if_it_did_not(
    port, application, asks, lines, body, length, size
):
    one = HEAD.replace(b" / ", b" /one ") + lines + asks + b"\r\n" + body
    sent = one + one + GET.replace(b" / ", b" /last ") + b"Connection: close\r\n\r\n"
    reply = await answer(port, *(sent[at : at + size] for at in range(0, len(sent), size)))
    said = [part.rpartition(b"\r\n\r\n")[2] for part in reply.split(b"HTTP/1.1 200 OK")[1:]]
    assert said == [length, length, b"0"]
    assert [scope["path"] for scope in application.seen] == ["/one", "/one", "/last"]
    assert b"upgrade" not in dict(application.seen[0]["headers"])


async def test_however_many_ask_at_once_for_another_protocol_they_are_answered(port, application):
    asks = GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    reply = await answer(port, (asks + b"\r\n") * 3000 + asks + b"Connection: close\r\n\r\n")
    assert reply.count(b"HTTP/1.1 200 OK") == 3001


async def test_a_head_that_asks_for_another_protocol_stays_within_the_bounds(port):
    many = b"".join(b"X-%d: 1\r\n" % n for n in range(200))
    assert status(await answer(port, GET + H2C + many + b"\r\n")) == 431
    assert status(await answer(port, GET + H2C + b"X: " + b"x" * 70_000 + b"\r\n\r\n")) == 431


async def test_nothing_is_read_behind_what_asks_for_a_tunnel(port, application):
    asked = b"CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n"
    reply = await answer(port, asked, GET + b"\r\n", pause=0.1)
    assert (reply.count(b"HTTP/1.1 "), b"connection: close" in reply) == (1, True)


async def test_what_asks_for_another_protocol_stays_within_the_bounds_of_this_one(port, fast):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += b"Sec-WebSocket-Key: eA==\r\n\r\n"
    assert status(await answer(port, GET + upgrade)) == 200
    while Protocol._by_address:
        await asyncio.sleep(0.01)


def test_a_reply_to_somebody_who_is_gone_is_no_fault(monkeypatch):
    """It waits for the event loop to come round, and the connection may be lost meanwhile."""
    faults, gathered = [], http_protocol._Gathering.write

    def write(self, data):
        self._transport.abort()
        self._loop.call_later(0.05, gathered, self, data)

    async def ask():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with served(Application()) as port:
            assert await answer(port, GET + b"\r\n") == b""
            await asyncio.sleep(0.1)

    monkeypatch.setattr(http_protocol._Gathering, "write", write)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # asyncio's own says nothing of it
        runner.run(ask())
    assert faults == []
