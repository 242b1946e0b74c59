"""The fast way to a code and the framework's give the same answer to whatever is asked."""

import base64
import contextlib
import random
import uuid

import httpx
import pytest

from app.api import tracking
from app.domain.access.keys.ring import KeyRing
from app.server.application import with_hot_path
from app.web.dependencies import held_by
from tests.factories import KEY, add_key, fill
from tests.loopback import served
from tests.shops import shops

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
T = b'"template":"{{ vouchers[\'p\'].assign_available() }}"'
M = T + b',"channel":"sms"'
RENDERS = [b"{%s}" % M] * 4 + [b'{%s,"customer_id":"c","message_id":"m"}' % M] * 4 + [
    b"{%s}" % T, b'{%s,"channel":"fax"}' % T, b'{%s,"channel":null}' % T, b'{%s,"channel":["sms"]}' % T,
    b'{%s,"template":"x"}' % M, b'{%s,"parts":{"html":"x"}}' % M, b'{"channel":"sms"}', b"{}", b"", b"[]", b"{%s" % M,
    b'{"channel":"email","parts":{"html":"<b>{{ context.a }}","text":"{{ context.a }}"},"context":{"a":"<"}}',
    b'{"channel":"email","parts":{}}', b'{"channel":"email","parts":{"1":"x"}}', b'{"channel":"sms","template":1}',
    b'{"channel":"sms","template":"{{ context.a }}{{ context.b }}","context":{"b":1.50}}',
    b'{"channel":"sms","template":"{{ context.a }}","context":{"a":1e400}}',
    b'{"channel":"sms","template":"{{ 1/0 }}"}',
    b'{"channel":"sms","template":"{{ context.a }}","context":{"a":NaN}}', b'{"channel":"sms","template":"\\ud800"}',
    b'{"channel":"sms","template":"{{ context.a }}","context":{"a":99999999999999999999}}',
    b'{"channel":"sms","template":"{{ context.a }}","context":{"a":"\\u0000"}}',
    b'{"channel":"sms","template":"{{ x }}"}',
    b'{"channel":"sms","template":"{{ context.a }}","context":[]}', b'{"channel":"sms","template":"{% if %}"}',
    b'{"channel":"sms","template":"{% abort \'no\' %}"}', b'{"channel":"sms","template":"\xff"}',
    b'{"channel":"sms","template":"{{ context.a }}","context":{"a":%s}}' % (b"[" * 70 + b"]" * 70),
    b'{"channel":"sms","template":"{{ vouchers[\'none\'].assign_available() }}"}',
    b'{"channel":"sms","template":"{{ vouchers[\'empty\'].assign_available() }}","customer_id":"c"}',
    b'{"channel":"weblayer","template":"{{ vouchers[\'empty\'].assign_available() }}"}',
    b'{%s,"mode":"preview"}' % M, b'{%s,"mode":"test","message_id":"m"}' % M,
    b'{%s,"mode":"x"}' % M, b'{%s,"mode":1}' % M,
    b'{%s,"preview_code":"sample","mode":"preview"}' % M, b'{%s,"strict":true}' % M, b'{%s,"strict":1}' % M,
    b'{%s,"customer_id":""}' % M, b'{%s,"customer_id":"."}' % M, b'{%s,"message_id":1}' % M, b'{%s,"x":1}' % M,
    b'{%s,"customer":{"a":{}}}' % M, b'{%s,"customer":null}' % M, b'{%s,"campaign_id":"cafe\xcc\x81"}' % M,
    b'{%s,"campaign_id":"x\xe2\x80\xaey"}' % M, b'{"channel":"sms","template":"%s"}' % (b"a" * 70_000),
    b'{"channel":"sms","template":"%s"}' % (b"a" * 1_100_000), b'{"channel":"sms","template":""}',
]  # fmt: skip
RENDER_PATHS = ["/v1/render"] * 12 + [
    "/v1/render/",
    "/v1/render?x=1",
    "/v1/render?",
    "//v1/render",
    "/v1/render%00",
]
E = b'"customer_id":"c","event_type":"visit"'
EVENTS = [b'{"events":[{%s}]}' % E] * 4 + [b'{"events":[{%s,"event_id":"m"}]}' % E] * 2 + [
    b'{"events":[]}', b'{"events":{}}', b'{"events":[{}]}', b'{"events":[1]}', b"{}", b"", b"[]", b'{"events":[{%s' % E,
    b'{"events":[{%s}],"x":1}' % E, b'{"events":[{%s,"x":1}]}' % E, b'{"events":[{%s,"customer_id":"d"}]}' % E,
    b'{"events":[{"customer_id":"c"}]}', b'{"events":[{"customer_id":"c","event_type":""}]}',
    b'{"events":[%s]}' % b",".join([b"{%s}" % E] * 10), b'{"events":[%s]}' % b",".join([b"{%s}" % E] * 11),
    b'{"events":[{%s,"event_id":"m"},{%s,"event_id":"m"}]}' % (E, E),
    b'{"events":[{%s,"event_id":"m"},{%s,"event_id":"m","properties":{"a":1}}]}' % (E, E),
    b'{"events":[{%s,"properties":{"a":NaN}}]}' % E, b'{"events":[{%s,"properties":{"a":1e400}}]}' % E,
    b'{"events":[{%s,"properties":{"a":99999999999999999999}}]}' % E, b'{"events":[{%s,"properties":[]}]}' % E,
    b'{"events":[{%s,"properties":{"a":"\\u0000"}}]}' % E, b'{"events":[{%s,"properties":{"\\ud800":1}}]}' % E,
    b'{"events":[{%s,"properties":{"a":%s}}]}' % (E, b"[" * 70 + b"]" * 70), b'{"events":[{%s,"event_id":1}]}' % E,
    b'{"events":[{%s,"timestamp":"2026-01-01T00:00:00Z"}]}' % E, b'{"events":[{%s,"timestamp":1767225600.5}]}' % E,
    b'{"events":[{%s,"timestamp":"today"}]}' % E, b'{"events":[{%s,"timestamp":1e20}]}' % E,
    b'{"events":[{"customer_id":"c","event_type":"buy","properties":{"code":"none"}}]}',
    b'{"events":[{%s,"properties":{"a":"%s"}}]}' % (E, b"a" * 70_000), b'{"events":[{%s}]}' % E.replace(b"c", b"\xff"),
]  # fmt: skip
EVENT_PATHS = ["/v1/events"] * 12 + [
    "/v1/events/",
    "/v1/events?x=1",
    "/v1/events?",
    "//v1/events",
    "/v1/events%00",
]
V = b'"event_type":"visit"'
VISITS = [b'{"customer_ids":{"cookie":"k"},%s}' % V] * 4 + [
    b'{"customer_ids":{"registered":"c"},%s,"timestamp":1767225600.5}' % V, b'{"customer_ids":{},%s}' % V,
    b'{"customer_ids":{"cookie":null},%s}' % V, b'{"customer_ids":{"cookie":7,"registered":"c"},%s}' % V, b"{}", b"",
    b'{"customer_ids":"k",%s}' % V, b"[]", b"null", b'{"customer_ids":{"cookie":"k"},%s' % V, b'{"customer_ids":1}',
    b'{"customer_ids":{"cookie":"k"},%s,"properties":{"a":NaN}}' % V, b'{"customer_ids":{"a":1e400},%s}' % V,
    b'{"customer_ids":{"cookie":"k"},%s,"properties":[]}' % V, b'{"customer_ids":{"cookie":"k"},%s,"age":1}' % V,
    b'{"customer_ids":{"cookie":"\\u0000"},%s}' % V, b'{"customer_ids":{"cookie":"\\ud800"},%s}' % V,
    b'{"customer_ids":{"cookie":"k"},%s,"properties":{"a":%s}}' % (V, b"[" * 70 + b"]" * 70), b"\xff",
    b'{"customer_ids":{"cookie":"k"},%s,"timestamp":"x"}' % V, b'{"customer_ids":{"cookie":"k"},"event_type":""}',
]  # fmt: skip
TRACKED = "/track/v2/projects/default/customers/events"
VISIT_PATHS = [TRACKED] * 12 + [
    f"{TRACKED}/",
    f"{TRACKED}?x=1",
    *(TRACKED.replace("/default", f"/{name}") for name in ("x", "", "Default", "default%20", "%64efault")),
    *(TRACKED.replace("/default", name) for name in ("", "/x/default", "/default/x", "/default%2F")),
    f"/{TRACKED}",
]
METHODS = ["POST"] * 20 + ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"]
SAME = ("content-type", "cache-control", "x-content-type-options", "www-authenticate", "retry-after", "allow",
        "idempotency-replayed", "location")  # fmt: skip
OWN = ("id", "code", "assigned_at", "lease_until", "request_id", "assignment_id")


def at_random(short, long):
    """How many requests are made at random; so many more take long."""
    return pytest.mark.parametrize("rounds", [short, pytest.param(long, marks=pytest.mark.long)])


def each_once(path, paths, bodies):
    """Requests that are odd in one thing."""
    plain = {"authorization": KEYS[0], "content-type": TYPES[0], "idempotency-key": IDEMPOTENCY[0]}
    yield from (("POST", other, _raw(plain), bodies[0]) for other in _different(paths))
    yield from (("POST", path, _raw(plain), body) for body in _different(bodies))
    yield from ((method, path, _raw(plain), bodies[0]) for method in _different(METHODS))
    for name, odd in (("authorization", KEYS), ("content-type", TYPES), ("idempotency-key", IDEMPOTENCY)):
        yield from (("POST", path, _raw(plain | {name: one}), bodies[0]) for one in _different(odd))


def _different(values):
    return {repr(value): value for value in values}.values()


def requests(seed, paths, bodies, rounds):
    choose = random.Random(seed)
    for _ in range(rounds):
        headers = {"authorization": choose.choice(KEYS), "content-type": choose.choice(TYPES)}
        raw = _raw(headers | {"idempotency-key": choose.choice(IDEMPOTENCY)})
        yield choose.choice(METHODS), choose.choice(paths), raw, choose.choice(bodies)


def _raw(headers):
    return [(name.encode(), value.encode("latin-1")) for name, values in headers.items() for value in values]


def _of(way, key):
    """An idempotency key of one way alone, as long as it was where it is long."""
    return key and (way + key if len(key) < 255 else way + key[1:])


def _may_be_sent(headers):
    """Whether a client puts these on a wire as they are."""
    return all(value == value.strip() for _, value in headers)


def told(reply):
    """What is the same each time: not the code, its id and its time."""
    headers = {name: reply.headers.get(name) for name in SAME}
    try:
        body = reply.json()
    except ValueError:
        return reply.status_code, headers, reply.content
    if isinstance(body, dict):
        # Of a message: what stands in it is its code.
        own = (*OWN, "rendered") if body.get("vouchers") else OWN
        body = {name: type(value) if name in own else value for name, value in body.items()}
        if isinstance(body.get("items"), list):
            body["items"] = [each | {"event_id": "?"} for each in body["items"]]
        body["vouchers"] = [each | {"code": "?"} for each in body.get("vouchers") or ()]
    return reply.status_code, headers, body


@at_random(60, 1200)
async def test_the_two_ways_in_do_not_differ(app, engine, monkeypatch, rounds):
    from app.api.hot_path import PATH  # noqa: PLC0415

    assert PATH.fullmatch("/v1/pools/p/assignments")
    asked = [*each_once(PATHS[0], PATHS, BODIES), *requests(1, PATHS, BODIES, rounds)]
    statuses = await compare_with_at_once(app, engine, monkeypatch, asked)
    assert {200, 201, 401, 403, 404, 405, 409, 413, 415, 422} <= statuses | {200}  # few rounds repeat none


@at_random(40, 200)
async def test_the_two_ways_to_a_message_do_not_differ(app, engine, monkeypatch, rounds):
    each = each_once(RENDER_PATHS[0], RENDER_PATHS, RENDERS)
    odd = requests(3, RENDER_PATHS, RENDERS, rounds)
    statuses = await compare(app, engine, monkeypatch, [*each, *odd])
    assert {200, 401, 403, 404, 405, 409, 415, 422} <= statuses


@at_random(40, 100)
async def test_the_two_ways_of_events_do_not_differ(app, client, engine, monkeypatch, rounds):
    mapping = {"mappings": [{"event_type": "buy", "property": "code"}]}
    assert (await client.put("/v1/redemption-mapping", json=mapping)).is_success
    each = each_once(EVENT_PATHS[0], EVENT_PATHS, EVENTS)
    odd = requests(4, EVENT_PATHS, EVENTS, rounds)
    statuses = await compare_with_at_once(app, engine, monkeypatch, [*each, *odd])
    assert {200, 401, 403, 404, 405, 415, 422} <= statuses


@at_random(40, 100)
async def test_the_two_ways_of_trackers_do_not_differ(app, client, engine, monkeypatch, rounds):
    key_id = next(
        key["id"] for key in (await client.get("/v1/api-keys")).json()["items"] if "admin" in key["scopes"]
    )
    keys = [
        f"Token {KEY}",
        f"token  {KEY} ",
        "Token",
        _basic(key_id),
        _basic(str(uuid.uuid4())),
        _basic("x"),
        "Basic ?",
    ]
    monkeypatch.setattr(f"{__name__}.KEYS", [*KEYS, *([key] for key in keys * 2)])
    each = [
        ("POST", TRACKED, [(b"authorization", key.encode()), (b"content-type", b"application/json")], body)
        for key in (keys[0], keys[3])
        for body in VISITS
    ]
    odd = requests(5, VISIT_PATHS, VISITS, rounds)
    statuses = await compare_with_at_once(app, engine, monkeypatch, [*each, *odd])
    assert {200, 400, 401, 404} <= statuses


def _basic(key_id: str) -> str:
    return "Basic " + base64.b64encode(f"{key_id}:{KEY}".encode()).decode()


async def test_plain_requests_are_answered_at_once(app, engine, monkeypatch):
    """Once the key is known; else the comparison would compare one way with itself."""
    await fill(engine, "p", 3)
    remember_keys(app)
    way = with_hot_path(app)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with served(way) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.post(PATHS[0], json={}, headers=headers)).status_code == 201
        monkeypatch.setattr(way, "app", None)
        monkeypatch.setattr(app, "router", None)
        reply = await client.post(PATHS[0], json={}, headers=headers | {"X-Request-Id": "mine"})
        assert (reply.status_code, reply.headers["x-request-id"]) == (201, "mine")
        for given in (201, 200):
            reply = await client.post(PATHS[0], json={}, headers=headers | {"Idempotency-Key": "k"})
            assert reply.status_code == given
        reply = await client.post(PATHS[0], json={}, headers=headers | {"X-Request-Id": "mine"})
        assert reply.status_code == 409
        assert reply.json()["request_id"] == reply.headers["x-request-id"] == "mine"
        for path, body in (("/v1/events", EVENTS[0]), (TRACKED, VISITS[0])):
            json_body = headers | {"Content-Type": "application/json"}
            reply = await client.post(path, content=body, headers=json_body)
            assert reply.status_code == 200, reply.text
        monkeypatch.setattr(tracking, "reply", lambda _: 1 / 0)
        reply = await client.post("/v1/events", content=EVENTS[0], headers=json_body)
        assert (reply.status_code, reply.json()["title"]) == (500, "Internal error")


async def test_plain_messages_take_the_short_way(app, client, engine, monkeypatch):
    """Else the comparison would compare the framework with itself."""
    await fill(engine, "p", 3)
    monkeypatch.setattr(app, "router", None)
    reply = await client.post("/v1/render", content=b"{%s}" % M, headers={"Content-Type": "application/json"})
    assert reply.status_code == 200, reply.text
    async with shops(app, engine, "shop") as (shop,):
        theirs = TRACKED.replace("default", "shop")
        for who, path, body in (
            (client, "/v1/events", EVENTS[0]),
            (client, TRACKED, VISITS[0]),
            (shop.client, theirs, VISITS[0]),
        ):
            reply = await who.post(path, content=body, headers={"Content-Type": "application/json"})
            assert reply.status_code == 200, reply.text


async def compare_with_at_once(app, engine, monkeypatch, asked):
    """Compare also with what is answered without a task, where it comes over a wire by a key that is known."""
    remember_keys(app)
    async with served(with_hot_path(app)) as port:
        at_once = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}")
        return await compare(app, engine, monkeypatch, asked, at_once)


def remember_keys(app):
    """As the service does, and tests do not."""
    held_by(app, KeyRing)._remember_seconds = 1000


async def compare(app, engine, monkeypatch, asked, another=None):
    """Ask both ways, and by `another` client; the statuses that came."""
    from app.web import failed_keys  # noqa: PLC0415
    from app.web.replies import ReplyHeaders  # noqa: PLC0415

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
        another or contextlib.nullcontext(first) as third,
    ):
        for number, (method, path, headers, body) in enumerate(asked):
            # Each way has ids of its own, or the second would be answered with what the first was given.
            answers = []
            for way, client in ((b"f", first), (b"s", second), (b"t", third)):
                if client is third and (client is first or not _may_be_sent(headers)):
                    continue
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
            if any(answer != answers[0] for answer in answers[1:]):
                differ.append((method, path, headers, body[:80], *answers))
    assert not differ, "\n".join(map(repr, differ))
    return statuses
