"""A request that has come whole is answered without a task of its own, as any other would be."""

import asyncio

import pytest

from app.platform.stopping import stopping
from app.server.http_protocol import Protocol
from tests.loopback import served

HEAD = b"POST / HTTP/1.1\r\nHost: test\r\n"
ASK = HEAD + b"Content-Length: 2\r\n\r\nhi"
LAST = HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi"


class Application:
    """Answers at once what it is told to, and the rest in a task."""

    def __init__(self):
        self.begun = []
        self.at_once = True
        self.waits = False
        self.came = asyncio.Event()
        self.seen = asyncio.Queue()

    def begin(self, scope, body, gone, tell):
        if not self.at_once:
            return False
        self.begun.append((scope, body, gone, tell))
        self.came.set()
        if not self.waits:
            self.tell(tell)
        return True

    def tell(self, tell):
        tell(b"at once", 201, b"x-way: short\r\n")

    async def __call__(self, _, receive, send):
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.put_nowait(body)
        told = b"task: " + body
        headers = [(b"content-length", str(len(told)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": told})


@pytest.fixture
async def application():
    return Application()


@pytest.fixture
async def port(application):
    async with served(application) as port:
        yield port
    assert not Protocol.without_task


async def answer(port, *pieces):
    """All that comes back for these pieces, sent one after the other, until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.02)
    async with asyncio.timeout(8):
        got = await reader.read()
    writer.close()
    return got


async def test_one_reply_follows_the_other_on_a_connection(application, port):
    reply = await answer(port, ASK, ASK, LAST)
    first, second, third, *rest = reply.split(b"HTTP/1.1 201 Created\r\n")[1:]
    assert not rest
    for told in (first, second):
        assert b"date: " in told
        assert told.endswith(b"content-length: 7\r\nx-way: short\r\n\r\nat once")
    assert b"connection: close\r\n" in third
    assert [body for _, body, _, _ in application.begun] == [b"hi"] * 3


async def test_one_who_speaks_the_old_protocol_is_answered_and_hung_up_on(port):
    reply = await answer(port, ASK.replace(b"1.1", b"1.0"))
    assert b"connection: close\r\n" in reply
    assert reply.endswith(b"\r\n\r\nat once")


@pytest.mark.parametrize("cuts", [(20,), (-2,), (-1,), (5, -2, -1)])
async def test_what_comes_in_pieces_is_answered_at_once_when_it_is_whole(application, port, cuts):
    pieces = [LAST[a:b] for a, b in zip((0, *cuts), (*cuts, None), strict=True)]
    assert (await answer(port, *pieces)).endswith(b"at once")
    assert len(application.begun) == 1


async def test_a_large_body_is_not_waited_for(application, port):
    large = LAST.replace(b"Length: 2", b"Length: 65537")
    assert (await answer(port, large, b"x" * 65535)).endswith(b"task: hi" + b"x" * 65535)
    assert application.begun == []


async def test_who_hangs_up_in_the_middle_of_a_body_is_seen_by_a_task(application, port):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ASK[:-1])
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    async with asyncio.timeout(8):
        assert await application.seen.get() == b""
    assert application.begun == []


async def test_what_is_left_to_a_task_comes_there_whole(application, port):
    application.at_once = False
    assert (await answer(port, LAST)).endswith(b"task: hi")
    cut = LAST.replace(b"Length: 2", b"Length: 12") + b"1234567"
    assert (await answer(port, cut, b"890")).endswith(b"task: hi1234567890")
    chunks = LAST.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked").removesuffix(b"hi")
    assert (await answer(port, chunks + b"2\r\nhi\r\n0\r\n\r\n")).endswith(b"task: hi")


async def test_chunks_that_come_together_are_a_whole_body(application, port):
    chunks = LAST.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked").removesuffix(b"hi")
    assert (await answer(port, chunks + b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n")).endswith(b"at once")
    assert application.begun[0][1] == b"hi"


async def test_who_waits_to_be_told_to_go_on_is_told_so(port):
    asked = LAST.replace(b"Host", b"Expect: 100-continue\r\nHost")
    assert (await answer(port, asked[:-2], b"hi")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


async def test_requests_in_one_breath_are_answered_in_their_order(application, port):
    reply = await answer(port, ASK * 3 + LAST)
    assert reply.count(b"HTTP/1.1 ") == 4
    application.waits = True
    asking = asyncio.create_task(answer(port, ASK + ASK + LAST))
    await application.came.wait()
    await asyncio.sleep(0.05)
    (*_, (_, _, _, tell)) = application.begun
    application.tell(tell)
    reply = await asking
    assert reply.count(b"HTTP/1.1 ") == 3
    assert reply.index(b"at once") < reply.index(b"task: hi")


async def test_each_in_one_breath_is_offered_once(application, port):
    offered = []

    def begin(scope, body, gone, tell):
        offered.append(scope["path"])
        return False

    application.begin = begin
    reply = await answer(
        port, b"".join(each.replace(b" / ", b" /%d " % n) for n, each in enumerate([ASK, ASK, LAST]))
    )
    assert reply.count(b"task: hi") == 3
    assert offered == ["/0"]


async def test_a_fault_in_the_beginning_is_left_to_the_task(application, port):
    application.begin = lambda *_: 1 / 0
    assert (await answer(port, LAST)).endswith(b"task: hi")


async def test_who_has_hung_up_is_told_nothing(application, port):
    application.waits = True
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ASK)
    await application.came.wait()
    ((_, _, gone, tell),) = application.begun
    assert not gone()
    writer.close()
    async with asyncio.timeout(8):
        while not gone():
            await asyncio.sleep(0.01)
    assert len(Protocol.without_task) == 1
    application.tell(tell)


async def test_what_is_under_way_counts_where_a_process_is_full(application, port, monkeypatch):
    monkeypatch.setattr(Protocol.admission, "look", lambda *_, **__: None)
    monkeypatch.setattr(Protocol.admission, "most", 1)
    application.waits = True
    first = asyncio.create_task(answer(port, LAST))
    await application.came.wait()
    assert (await answer(port, LAST)).startswith(b"HTTP/1.1 503 ")
    ((_, _, _, tell),) = application.begun
    application.tell(tell)
    assert (await first).endswith(b"at once")


async def test_while_the_process_leaves_a_reply_is_the_last_of_its_connection(port, monkeypatch):
    monkeypatch.setattr(stopping, "leaving", True)
    reply = await answer(port, ASK)
    assert b"connection: close\r\n" in reply
    assert reply.endswith(b"at once")


async def test_who_still_waits_at_the_end_is_told_once(application, port, monkeypatch):
    made = []
    plain = Protocol.connection_made

    def keep(self, transport):
        made.append(self)
        plain(self, transport)

    monkeypatch.setattr(Protocol, "connection_made", keep)
    application.waits = True
    asking = asyncio.create_task(answer(port, ASK))
    await application.came.wait()
    made[0].tell_stop()
    application.tell(application.begun[0][3])
    reply = await asking
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert reply.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("trusted", "line", "scheme"),
    [
        ("127.0.0.1", b"X-Forwarded-Proto: https\r\n", "https"),
        ("127.0.0.1", b"X-Forwarded-Proto: gopher\r\n", "http"),
        ("127.0.0.1", b"", "http"),
        ("192.0.2.1", b"X-Forwarded-Proto: https\r\n", "http"),
    ],
)
async def test_behind_a_proxy_it_is_seen_what_the_proxy_says(application, trusted, line, scheme):
    async with served(application, trusted) as port:
        assert (await answer(port, LAST.replace(b"Host", line + b"Host"))).endswith(b"at once")
    ((scope, *_),) = application.begun
    assert scope["scheme"] == scheme
