"""The fast way to a code and the framework's give the same answer to whatever is asked."""

import random

import httpx
import pytest

from app.server.application import with_hot_path
from tests.factories import KEY, add_key, fill

READ = "read-key-0123456789-0123456789-0123456789"
PATHS = ["/v1/pools/p/assignments"] * 12 + ["/v1/pools/empty/assignments"] * 6 + [
    "/v1/pools/none/assignments", "/v1/pools/p%2Fq/assignments", "/v1/pools/p/assignments/", "/v1/pools//assignments",
    "/v1/pools/p%00/assignments", "/v1/pools/p%0A/assignments", "/v1/pools/%C3%28/assignments",
    "/v1/pools/cafe%CC%81/assignments", "/v1/pools/p/assignments?x=1", "/v1/pools/p/assignments?",
    "/v1/pools/empty/assignments", "//v1/pools/p/assignments", "/v1/pools/../pools/p/assignments",
]  # fmt: skip
KEYS = [[f"Bearer {KEY}"]] * 12 + [
    [f"bearer {KEY}"], [f"Bearer  {KEY}"], [f"Bearer {KEY} "], ["Bearer"], ["Bearer "], [f"Basic {KEY}"], [],
    [f"Bearer {KEY}", f"Bearer {KEY}"], [f"Bearer {KEY}", "Bearer x"], [f"Bearer {READ}"], [KEY],
    ["Bearer \xe4"], [f"Bearer {KEY}, Bearer x"],
]  # fmt: skip
TYPES = [["application/json"]] * 12 + [
    ["application/json; charset=utf-8"], ["Application/JSON"], ["application/jsonx"], ["application/merge-patch+json"],
    ["text/plain"], [], [""], ["application/json", "text/plain"], ["text/plain", "application/json"], ["json"],
    ["application/json;"], ["application/json charset"], ["multipart/form-data"],
]  # fmt: skip
IDEMPOTENCY = [[]] * 6 + [
    ["k"],
    [""],
    ["k" * 255],
    ["k" * 256],
    ["\xe4"],
    ["k", "l"],
    ["l", "k"],
    [" k "],
    ["a,b"],
]
BODIES = [b"{}"] * 4 + [
    b"", b" ", b"null", b"[]", b"1", b'""', b"{", b"{}x", b"{} {}", b'{"a":1}', b'{"customer_id":"c"}', b"{}",
    b'{"customer_id":""}', b'{"customer_id":null}', b'{"customer_id":1}', b'{"customer_id":"a","customer_id":"b"}',
    b'{"customer_id":"\\u0000"}', b'{"customer_id":"\\ud800"}', b'{"customer_id":"\xff"}', b'{"customer_id":"\\u00e4"}',
    b'{"test":1}', b'{"test":2}', b'{"test":1.0}', b'{"test":"on"}', b'{"lease_seconds":"5"}', b'{"lease_seconds":5.0}',
    b'{"lease_seconds":5.5}', b'{"lease_seconds":0}', b'{"lease_seconds":1e2}', b'{"lease_seconds":true}',
    b'{"lease_seconds":NaN}', b'{"lease_seconds":Infinity}', b'{"lease_seconds":99999999999999999999999}',
    b'{"lease_seconds":1.' + b"0" * 200 + b"}", b'{"lease_seconds":' + b"9" * 5000 + b"}", b'{"lease_seconds":-1}',
    b"\xef\xbb\xbf{}", '{"customer_id":"c"}'.encode("utf-16"), b'{"customer_id":"' + b"c" * 256 + b'"}',
    b'{"campaign_id":"x\xe2\x80\xaey"}', b'{"campaign_id":"cafe\xcc\x81"}', b'{"message_id":"m"}',
    b'{"message_id":"m","customer_id":"c"}', b"[" * 5000, b'{"a":' * 200, b'{"x":"' + b"a" * 70_000 + b'"}',
    b'{"x":"' + b"a" * 1_100_000 + b'"}', b"{'a':1}", b'{"test":tru}', b'{"test":true,}', b"//x\n{}", b"\x00{}",
    b'{"customer_id":"a\nb"}', b'{"customer_id":"a\\nb"}', b'{"custom\\u0065r_id":"c"}',
]  # fmt: skip
METHODS = ["POST"] * 20 + ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"]
SAME = ("content-type", "cache-control", "x-content-type-options", "www-authenticate", "retry-after", "allow",
        "idempotency-replayed", "location")  # fmt: skip
OWN = ("id", "code", "assigned_at", "lease_until", "request_id", "assignment_id")
ROUNDS = 600


def requests(seed):
    choose = random.Random(seed)
    for _ in range(ROUNDS):
        headers = [("authorization", value) for value in choose.choice(KEYS)]
        headers += [("content-type", value) for value in choose.choice(TYPES)]
        headers += [("idempotency-key", value) for value in choose.choice(IDEMPOTENCY)]
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        yield choose.choice(METHODS), choose.choice(PATHS), raw, choose.choice(BODIES)


def _of(way, key):
    """An idempotency key of one way alone, as long as it was where it is long."""
    return key and (way + key if len(key) < 255 else way + key[1:])


def told(reply):
    """What is the same each time: not the code, its id and its time."""
    headers = {name: reply.headers.get(name) for name in SAME}
    try:
        body = reply.json()
    except ValueError:
        return reply.status_code, headers, reply.content
    if isinstance(body, dict):
        body = {name: type(value) if name in OWN else value for name, value in body.items()}
    return reply.status_code, headers, body


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_two_ways_in_do_not_differ(app, engine, monkeypatch, seed):
    from app.api.hot_path import PATH  # noqa: PLC0415
    from app.web import failed_keys  # noqa: PLC0415
    from app.web.replies import ReplyHeaders  # noqa: PLC0415

    assert PATH.fullmatch("/v1/pools/p/assignments")
    monkeypatch.setattr(failed_keys.FailedKeys, "refuse", lambda *_: None)
    await add_key(engine, READ, "read")
    for pool in ("p", "caf\u00e9"):
        await fill(engine, pool, 3000)
    await fill(engine, "empty", 0)
    fast = httpx.ASGITransport(with_hot_path(app), raise_app_exceptions=False)
    slow = httpx.ASGITransport(ReplyHeaders(app), raise_app_exceptions=False)
    differ = []
    statuses = set()
    async with (
        httpx.AsyncClient(transport=fast, base_url="http://test") as first,
        httpx.AsyncClient(transport=slow, base_url="http://test") as second,
    ):
        for number, (method, path, headers, body) in enumerate(requests(seed)):
            # Each way has ids of its own, or the second would be answered with what the first was given.
            answers = []
            for way, client in ((b"f", first), (b"s", second)):
                sent = [(n, _of(way, v) if n == b"idempotency-key" else v) for n, v in headers]
                text = body.replace(b'"m"', b'"m%s%d"' % (way, number))
                request_ = client.build_request(method, path, headers=sent, content=text)
                for name in ("accept", "accept-encoding", "user-agent", "connection"):
                    del request_.headers[name]
                answer = told(await client.send(request_))
                if isinstance(answer[2], dict):
                    answer[2].pop("message_id", None)
                answers.append(answer)
            statuses.add(answers[0][0])
            if answers[0] != answers[1]:
                differ.append((method, path, headers, body[:80], *answers))
    assert not differ, "\n".join(map(repr, differ))
    assert {200, 201, 401, 403, 404, 405, 409, 413, 415, 422} <= statuses | {200}
