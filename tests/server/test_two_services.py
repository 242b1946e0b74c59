"""Two services on two ports and one database: what is said to be exact is so, whichever of them is asked."""

import asyncio
import os
import random
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress

import httpx
import pytest

from tests.conftest import another_database
from tests.factories import KEY, fill
from tests.service import Service
from tests.worker import PROJECT, eventually

pytestmark = pytest.mark.long

TEMPLATE = "{{ vouchers['POOL'].assign_available() }}"
TWICE = "{{ vouchers['POOL'].assign_available(cached=False) }} " * 2
CODE = re.compile(r"\S+-\d+")
KILLS = int(os.environ.get("VOUCHERS_TEST_KILLS", "1"))
"""So many; 50 by hand."""
LONG = "3600"
"""Seconds for which keys are remembered here: who refuses one sooner was told."""


@pytest.fixture(scope="module")
def pair(server_url):
    """One that does jobs and one that does not, and a worker; the two start, and migrate, at the same time."""
    with another_database(server_url, "two_services") as url, ExitStack() as stack:
        environment = {"DATABASE_URL": url, "VOUCHERS_KEY_CACHE_SECONDS": LONG}
        services = [Service(1, arguments=given, **environment) for given in ((), ("--no-jobs",))]
        for service in services:
            service.environment.pop("VOUCHERS_SECRET_KEY")  # the database hands on the one that was made
        with ThreadPoolExecutor() as threads:
            list(threads.map(stack.enter_context, services))
        stack.enter_context(worker_beside(services[0]))
        yield services


@contextmanager
def worker_beside(service):
    """`vouchers worker` on the database of a service."""
    command = [sys.executable, "-m", "app.cli", "worker"]
    with subprocess.Popen(command, cwd=PROJECT, env=service.environment) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
async def both(pair):
    """A client of each."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(service.client()) for service in pair]


@pytest.fixture
async def pool(pair, request):
    """A pool of sixty codes, named as the test."""
    name = request.node.name.removeprefix("test_")[:60]
    engine = pair[0].engine()
    await fill(engine, name, 60)
    await engine.dispose()
    return name


async def each(both, method, path, **about):
    """Send the same to both at once."""
    return await asyncio.gather(*(client.request(method, path, **about) for client in both))


async def sent(client, method, path, **about):
    reply = await client.request(method, path, **about)
    assert reply.is_success, reply.text
    return reply.json() if reply.content else None


async def counts(client, pool):
    return await sent(client, "GET", f"/v1/pools/{pool}/counts")


def codes_in(replies):
    return [code for reply in replies for code in CODE.findall(reply.json()["rendered"])]


async def test_an_idempotency_key_that_is_sent_to_both_gives_one_code(both, pool):
    path = f"/v1/pools/{pool}/assignments"
    pairs = await asyncio.gather(
        *(
            each(both, "POST", path, json={"customer_id": f"c-{n}"}, headers={"Idempotency-Key": f"k-{n}"})
            for n in range(25)
        )
    )
    for first, second in pairs:
        assert {first.status_code, second.status_code} == {200, 201}
        assert first.json() == second.json()
    assert (await counts(both[1], pool))["assigned"] == 25
    again, other = await each(
        both, "POST", path, json={"customer_id": "another"}, headers={"Idempotency-Key": "k-1"}
    )
    assert (again.status_code, other.status_code) == (422, 422)


async def test_a_batch_of_assigns_that_is_sent_to_both_gives_each_item_once(both, pool):
    items = [{"customer_id": f"c-{n}", "idempotency_key": f"b-{n}"} for n in range(30)]
    replies = await each(both, "POST", f"/v1/pools/{pool}/assignments/batch", json={"items": items})
    first, second = ([item["code"] for item in reply.json()["items"]] for reply in replies)
    assert first == second
    assert len(set(first)) == 30
    keyed = {"json": {"items": [{"customer_id": "c"}] * 10}, "headers": {"Idempotency-Key": "whole"}}
    replies = await each(both, "POST", f"/v1/pools/{pool}/assignments/batch", **keyed)
    first, second = ([item["id"] for item in reply.json()["items"]] for reply in replies)
    assert first == second
    assert (await counts(both[0], pool))["assigned"] == 40


async def test_the_reply_that_one_kept_is_given_by_the_other(both, pool):
    for n, (path, body) in enumerate(
        (
            ("/v1/api-keys", {"name": "shop", "scopes": ["read"]}),
            (f"/v1/pools/{pool}/holds", {"campaign_id": "c", "count": 2}),
            ("/v1/pools", {"name": "made_once"}),
        )
    ):
        first, second = await each(both, "POST", path, json=body, headers={"Idempotency-Key": f"once-{n}"})
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.content == second.content  # the secret of the key too
        assert [reply.headers.get("idempotency-replayed") for reply in (first, second)].count("true") == 1


async def test_a_message_that_is_sent_to_both_has_the_same_codes_in_both(both, pool):
    pairs = await asyncio.gather(
        *(
            each(
                both,
                "POST",
                "/v1/render",
                json={
                    "template": (TWICE if n % 2 else TEMPLATE).replace("POOL", pool),
                    "channel": "sms",
                    "customer_id": f"c-{n}",
                    "message_id": f"m-{n}",
                },
            )
            for n in range(20)
        )
    )
    for first, second in pairs:
        assert first.json()["rendered"] == second.json()["rendered"]
    codes = codes_in(first for first, _ in pairs)
    assert len(set(codes)) == len(codes) == 30
    assert (await counts(both[0], pool))["assigned"] == 30


async def test_a_batch_of_messages_that_is_sent_to_both_takes_one_code_each(both, pool):
    recipients = [{"customer_id": f"c-{n}", "message_id": f"batch-{n}"} for n in range(40)]
    body = {"template": TEMPLATE.replace("POOL", pool), "channel": "sms", "recipients": recipients}
    replies = await each(both, "POST", "/v1/render/batch", json=body)
    shown = [[item["rendered"] for item in reply.json()["items"]] for reply in replies]
    assert shown[0] == shown[1]
    assert len(set(shown[0])) == 40
    assert (await counts(both[1], pool))["assigned"] == 40


async def test_a_customer_gets_one_code_by_the_rule_whoever_is_asked(both, pool):
    rule = {"per_customer": {"count": 1, "days": None, "then": "same"}}
    await sent(both[0], "PATCH", f"/v1/pools/{pool}", json=rule)
    message = {"template": TEMPLATE.replace("POOL", pool), "channel": "sms"}

    async def ask(n, client, how):
        if how == "render":
            reply = await sent(client, "POST", "/v1/render", json=message | {"customer_id": f"c-{n}"})
            return reply["rendered"]
        body = {"customer_id": f"c-{n}"}
        return (await sent(client, "POST", f"/v1/pools/{pool}/assignments", json=body))["code"]

    wanted = [
        (n, client, how) for n in range(12) for client in both for how in ("assign", "render", "assign")
    ]
    given = await asyncio.gather(*(ask(*one) for one in wanted))
    by_customer = {
        n: {code for code, (of, *_) in zip(given, wanted, strict=True) if of == n} for n in range(12)
    }
    assert [len(codes) for codes in by_customer.values()] == [1] * 12
    assert (await counts(both[0], pool))["assigned"] == 12


async def test_both_together_give_no_more_than_there_is_and_than_holds_leave(both, pool):
    await sent(both[0], "POST", f"/v1/pools/{pool}/holds", json={"campaign_id": "k", "count": 20})
    path = f"/v1/pools/{pool}/assignments"

    async def ask(client, **body):
        reply = await client.post(path, json=body)
        return reply.status_code, reply.json().get("reason"), reply.json().get("code")

    asked = [ask(both[n % 2]) for n in range(60)] + [ask(both[n % 2], campaign_id="k") for n in range(30)]
    replies = await asyncio.gather(*asked)
    given = [code for status, _, code in replies if status == 201]
    assert len(given) == len(set(given))
    assert {status for status, *_ in replies} <= {201, 409, 503}
    left = await counts(both[0], pool)
    while left["available"]:  # what was locked by the others at that moment
        held = left["available"] <= left["held"]
        status, _, code = await ask(both[0], **({"campaign_id": "k"} if held else {}))
        assert status == 201
        given.append(code)
        left = await counts(both[1], pool)
    assert len(given) == len(set(given)) == 60
    assert [(await ask(client))[:2] for client in both] == [(409, "empty")] * 2


async def test_what_one_reserved_is_confirmed_at_the_other_or_lapses(both, pool):
    path = f"/v1/pools/{pool}/assignments"
    first, second = both
    reserved = await sent(first, "POST", path, json={"customer_id": "c", "lease_seconds": 600})
    replies = await each(both, "POST", f"/v1/assignments/{reserved['id']}/confirm")
    assert [reply.json()["status"] for reply in replies] == ["assigned"] * 2
    short = await sent(second, "POST", path, json={"customer_id": "d", "lease_seconds": 1})

    async def lapsed():
        return (await counts(second, pool))["reserved"] == 0

    await eventually(lapsed)
    assert (await sent(second, "GET", f"/v1/assignments/{short['id']}"))["status"] == "lapsed"
    assert (await first.post(f"/v1/assignments/{short['id']}/confirm")).status_code == 409
    told = await counts(second, pool)
    assert (told["available"], told["reserved"], told["assigned"]) == (59, 0, 1)


async def test_an_event_that_is_sent_to_both_counts_once(both, pool):
    first, second = both
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    await sent(first, "PUT", "/v1/redemption-mapping", json=mapping)
    batch = {"items": [{"customer_id": f"e-{n}"} for n in range(20)]}
    given = await sent(second, "POST", f"/v1/pools/{pool}/assignments/batch", json=batch)
    events = [
        {
            "event_id": f"e-{n}",
            "customer_id": f"e-{n}",
            "event_type": "purchase",
            "properties": {"code": item["code"]},
        }
        for n, item in enumerate(given["items"])
    ]
    pairs = await asyncio.gather(
        *(each(both, "POST", "/v1/events", json={"events": [event]}) for event in events)
    )
    told = Counter(reply.json()["items"][0]["status"] for replies in pairs for reply in replies)
    assert told == {"accepted": 20, "duplicate": 20}
    assert (await counts(second, pool))["redeemed"] == 20
    other = [{**events[0], "properties": {"code": "another"}}]
    for reply in await each(both, "POST", "/v1/events", json={"events": other}):
        assert reply.json()["items"][0]["status"] == "conflict"
    direct = await sent(first, "POST", f"/v1/pools/{pool}/assignments", json={})
    replies = await each(
        both, "POST", f"/v1/vouchers/{direct['code']}/redemptions", headers={"Idempotency-Key": "r"}, json={}
    )
    assert replies[0].json() == replies[1].json()
    assert (await counts(second, pool))["redeemed"] == 21


async def test_settings_that_are_changed_at_one_hold_at_the_other_at_once(both, pool):
    first, second = both
    path = f"/v1/pools/{pool}"
    message = {"template": TEMPLATE.replace("POOL", pool), "channel": "sms", "customer_id": "s"}
    for client in (second, second, first):  # what the template asks for is known at both
        await sent(client, "POST", "/v1/render", json=message)
    await sent(first, "PATCH", path, json={"per_customer": {"count": 3, "days": None, "then": "refuse"}})
    reply = await second.post("/v1/render", json=message)
    assert reply.status_code == 409, reply.text
    await sent(second, "PATCH", path, json={"per_customer": None, "expires_after_days": 1})
    given = await sent(first, "POST", f"{path}/assignments", json={"customer_id": "s"})
    assert given["expires_at"] is not None
    for client in both:
        long = await client.post(f"{path}/assignments", json={"valid_for_seconds": 10 * 86400})
        assert (long.status_code, long.json()["reason"]) == (409, "too_short_lived")
    await sent(first, "PATCH", path, json={"expires_after_days": None})
    await sent(second, "POST", f"{path}/assignments", json={"valid_for_seconds": 10 * 86400})
    # Two customers who are merged at one are one at the other.
    await sent(first, "PATCH", path, json={"per_customer": {"count": 1, "days": None, "then": "same"}})
    ones = [await sent(client, "POST", f"{path}/assignments", json={"customer_id": "x"}) for client in both]
    await sent(second, "PATCH", "/v1/customers/y", json={"properties": {"a": 1}})
    await sent(first, "POST", "/v1/customers/x/merge", json={"from": "y"})
    ones += [await sent(client, "POST", f"{path}/assignments", json={"customer_id": "y"}) for client in both]
    assert len({one["code"] for one in ones}) == 1
    # An edit of one is seen by the version that the other compares.
    seen = (await second.get(path)).headers["etag"]
    await sent(first, "PATCH", path, json={"description": "changed"})
    lost = await second.patch(path, json={"description": "lost"}, headers={"If-Match": seen})
    assert lost.status_code == 412


async def test_a_page_that_one_began_is_continued_by_the_other_and_so_is_a_session(both, pool):
    first, second = both
    page = await sent(first, "GET", f"/v1/pools/{pool}/vouchers?limit=40")
    rest = await sent(
        second, "GET", f"/v1/pools/{pool}/vouchers", params={"limit": 40, "cursor": page["next_cursor"]}
    )
    assert len({item["code"] for item in page["items"] + rest["items"]}) == 60
    signed_in = await first.post(
        "/console/login", data={"api_key": KEY}, headers={"Origin": str(first.base_url).rstrip("/")}
    )
    (cookie,) = signed_in.headers.get_list("set-cookie")
    opened = await second.get("/console/pools", headers={"Cookie": cookie.partition(";")[0]})
    assert (opened.status_code, pool in opened.text) == (200, True)


async def test_a_key_that_is_revoked_or_rotated_at_one_is_refused_by_the_other(both):
    first, second = both

    async def status(client, secret):
        return (await client.get("/v1/pools", headers={"Authorization": f"Bearer {secret}"})).status_code

    async def refused(client, secret):
        return await status(client, secret) == 401

    for how in ("revoke", "rotate"):
        key = await sent(first, "POST", "/v1/api-keys", json={"name": how, "scopes": ["read"]})
        assert [await status(client, key["secret"]) for client in both] == [200, 200]
        if how == "revoke":
            await sent(first, "DELETE", f"/v1/api-keys/{key['id']}")
        else:
            path = f"/v1/api-keys/{key['id']}/rotate"
            renewed = await sent(second, "POST", path, json={"grace_seconds": 0})
            assert [await status(client, renewed["secret"]) for client in both] == [200, 200]
        for client in both:
            await eventually(lambda client=client, secret=key["secret"]: refused(client, secret))


async def test_a_project_that_is_renamed_or_deleted_at_one_is_so_at_the_other(pair, both):
    first, second = both
    made = pair[1].run("api-key", "create", "--name", "operator", "--scope", "operator")
    headers = {"Authorization": f"Bearer {made.stdout.split()[-1]}"}
    await sent(first, "POST", "/v1/projects", json={"name": "shop"}, headers=headers)
    key = await sent(
        second,
        "POST",
        "/v1/projects/shop/api-keys",
        json={"name": "k", "scopes": ["admin"]},
        headers=headers,
    )
    own = {"Authorization": f"Bearer {key['secret']}"}

    async def track(client, project):
        body = {"customer_ids": {"registered": "c"}, "properties": {"a": 1}}
        return (
            await client.post(f"/track/v2/projects/{project}/customers", json=body, headers=own)
        ).status_code

    assert [await track(client, "shop") for client in both] == [200, 200]
    await sent(first, "PATCH", "/v1/projects/shop", json={"name": "store"}, headers=headers)

    async def renamed():
        return await track(second, "store") == 200

    await eventually(renamed)
    await sent(first, "DELETE", "/v1/projects/store?confirm=store", headers=headers)

    async def gone():
        return (await second.get("/v1/pools", headers=own)).status_code == 401

    await eventually(gone)


async def test_each_process_counts_the_requests_of_a_key_for_itself(both):
    body = {"name": "few", "scopes": ["read"], "requests_per_minute": 3}
    key = await sent(both[0], "POST", "/v1/api-keys", json=body)
    headers = {"Authorization": f"Bearer {key['secret']}"}
    told = [
        [(await client.get("/v1/pools", headers=headers)).status_code for _ in range(4)] for client in both
    ]
    assert all(200 in statuses for statuses in told)  # a minute may end meanwhile
    assert sum(statuses.count(200) for statuses in told) >= 6


async def test_a_send_whose_service_is_killed_goes_on_at_the_other(pair, both, pool):
    """Killed at any moment of a batch: who sends it again, elsewhere, gets one code a message."""
    engine = pair[0].engine()
    await fill(engine, f"{pool}_many", 3000)
    await engine.dispose()
    many = f"{pool}_many"
    recipients = [{"customer_id": f"k-{n}", "message_id": f"killed-{n}"} for n in range(2000)]
    body = {"template": TEMPLATE.replace("POOL", many), "channel": "sms", "recipients": recipients}
    sending = asyncio.create_task(both[1].post("/v1/render/batch", json=body))

    async def some_given():
        return (await counts(both[0], many))["assigned"] > 0

    await eventually(some_given)
    (web,) = pair[1].web()
    web.kill()
    await asyncio.gather(sending, return_exceptions=True)
    done = await sent(both[0], "POST", "/v1/render/batch", json=body)
    assert len({item["rendered"] for item in done["items"]}) == 2000
    assert (await counts(both[0], many))["assigned"] == 2000


async def test_two_workers_do_each_job_once(pair, both, pool):
    """The service that does jobs, and a worker beside it."""
    alert = {"thresholds": [50], "webhook_url": "https://hooks.example.org/low"}
    await sent(both[0], "PUT", f"/v1/pools/{pool}/alerts", json=alert)
    batch = {"items": [{"customer_id": f"w-{n}"} for n in range(20)]}
    await sent(both[1], "POST", f"/v1/pools/{pool}/assignments/batch", json=batch)
    codes = "\n".join(["code", *(f"{pool}-new-{n}" for n in range(500))])
    body = {"source": {"type": "text", "text": codes}, "has_header": True}
    replies = await each(both, "POST", f"/v1/pools/{pool}/imports", json=body)
    assert {reply.status_code for reply in replies} == {202}

    async def done():
        found = [await sent(both[0], "GET", f"/v1/imports/{reply.json()['id']}") for reply in replies]
        return all(one["status"] == "succeeded" for one in found) and found

    imports = await eventually(done, 60)
    assert sum(one["imported"] for one in imports) == 500
    assert sum(one["ignored"] for one in imports) == 500
    assert (await counts(both[1], pool))["available"] == 540

    async def told():
        return (await sent(both[1], "GET", f"/v1/pools/{pool}/alerts/deliveries"))["items"]

    assert len(await eventually(told)) == 1


class Caller:
    """Sends each thing until it is answered, to whichever answers, and now and then once more."""

    def __init__(self, both, pool, name):
        self.both, self.pool, self.name = both, pool, name
        self.codes = {}

    async def insist(self, path, body, **headers):
        while True:
            try:
                reply = await random.choice(self.both).post(path, json=body, headers=headers, timeout=5)
                if reply.status_code < 500:
                    assert reply.is_success, reply.text
                    return reply.json()
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)

    def note(self, key, code):
        assert self.codes.setdefault(key, code) == code, key

    async def assign(self, n):
        path, key = f"/v1/pools/{self.pool}/assignments", f"{self.name}-a-{n}"
        given = await self.insist(path, {"customer_id": self.name}, **{"Idempotency-Key": key})
        self.note(key, given["code"])

    async def assign_many(self, n):
        items = [{"customer_id": self.name, "idempotency_key": f"{self.name}-b-{n}-{k}"} for k in range(10)]
        done = await self.insist(f"/v1/pools/{self.pool}/assignments/batch", {"items": items})
        for asked, item in zip(items, done["items"], strict=True):
            self.note(asked["idempotency_key"], item["code"])

    async def render(self, n):
        key = f"{self.name}-m-{n}"
        body = {"template": TEMPLATE.replace("POOL", self.pool), "channel": "sms"}
        done = await self.insist("/v1/render", body | {"customer_id": self.name, "message_id": key})
        self.note(key, done["rendered"])

    async def reserve(self, n):
        path, key = f"/v1/pools/{self.pool}/assignments", f"{self.name}-l-{n}"
        body = {"customer_id": self.name, "lease_seconds": 600}
        reserved = await self.insist(path, body, **{"Idempotency-Key": key})
        await self.insist(f"/v1/assignments/{reserved['id']}/confirm", None)
        self.note(key, reserved["code"])

    async def go_on(self, stop):
        n = 0
        while not stop.is_set():
            act = random.choice((self.assign, self.assign_many, self.render, self.reserve))
            for _ in range(random.choice((1, 1, 2))):
                await act(n)
            n += 1


async def test_whichever_is_killed_callers_go_on_at_the_other(pair, both, pool):
    engine = pair[0].engine()
    await fill(engine, f"{pool}_many", 30_000)
    await engine.dispose()
    callers, stop = [Caller(both, f"{pool}_many", f"caller-{n}") for n in range(6)], asyncio.Event()
    going_on = [asyncio.create_task(caller.go_on(stop)) for caller in callers]
    for n in range(KILLS):
        victim = pair[n % 2]
        before = [len(caller.codes) for caller in callers]

        def all_went_on(before=before):
            for task in going_on:
                if task.done():
                    task.result()  # what it met
            return all(len(caller.codes) > had + 20 for caller, had in zip(callers, before, strict=True))

        await eventually(all_went_on, 120)
        (web,) = await eventually(victim.web, 120)
        web.kill()
    stop.set()
    await asyncio.gather(*going_on)
    codes = [code for caller in callers for code in caller.codes.values()]
    assert len(set(codes)) == len(codes)
    assert (await counts(await eventually_ready(both), f"{pool}_many"))["assigned"] == len(codes)


async def eventually_ready(both):
    """One of them, once it answers."""

    async def ready():
        for client in both:
            with suppress(httpx.HTTPError):
                if (await client.get("/health/ready")).status_code == 200:
                    return client
        return None

    return await eventually(ready)


def test_nothing_is_out_of_order_then(pair):
    checked = pair[0].run("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
