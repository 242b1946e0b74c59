"""Webhooks: what is told, in which order, and what becomes of it when the receiver fails."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from sqlalchemy import text

from app.domain.alerts import service as alerts
from app.domain.assignments import service as assignments
from app.domain.changes import service as changes
from app.domain.imports.merging import pipeline
from app.domain.lifecycle.requests import AssignmentRequest
from app.domain.vouchers import service as vouchers
from app.domain.webhooks import queries, sending
from app.domain.webhooks import service as webhooks
from app.domain.webhooks.schemas import WebhookUpdate
from app.platform import hooks
from app.platform.connections import connect_sync
from app.platform.database import transaction
from app.platform.projects import DEFAULT, everywhere
from tests.domain.imports.imported import queue, run_job
from tests.factories import KEY, add_key, fill
from tests.receivers import Receiver
from tests.waiting import until_somebody_waits
from tests.worker import eventually

ALL = [
    "voucher.assigned",
    "voucher.redeemed",
    "voucher.released",
    "voucher.voided",
    "voucher.redemption_cancelled",
    "voucher.reinstated",
    "voucher.expiry_changed",
    "import.finished",
    "pool.low",
]
URL = "/v1/webhooks"


async def subscribe(client, receiver, *events, **more):
    reply = await client.post(URL, json={"url": receiver.url, "events": events or ALL, **more})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def give(client, pool="p", **body):
    reply = await client.post(f"/v1/pools/{pool}/assignments", json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()


async def told(engine, settings, receiver, hook):
    """Tell what is due; return the events of all messages so far, each once, in the order in which they came."""
    await sending.tell(engine, settings)
    messages = receiver.payloads(hook["secret"])
    events = [event for message in messages for event in message["data"]["events"]]
    return list({event["id"]: event for event in events}.values())


async def no_wait(engine):
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE webhook SET next_try_at = now()"))


async def deliveries(client, hook):
    return (await client.get(f"{URL}/{hook['id']}/deliveries")).json()["items"]


async def shown(client, hook):
    return (await client.get(f"{URL}/{hook['id']}")).json()


async def test_what_happens_to_codes_is_told_in_order_with_who_and_what(client, engine, settings, receiver):
    await fill(engine, "p", 9)
    await give(client)
    hook = await subscribe(client, receiver)
    first = await give(client, customer_id="c1", campaign_id="spring", message_id="m1")
    leased = await give(client, lease_seconds=60, customer_id="c2")
    confirmed = await give(client, lease_seconds=60)
    await client.post(f"/v1/assignments/{confirmed['id']}/confirm")
    await client.post(f"/v1/vouchers/{first['code']}/redemptions", json={})
    await client.post(f"/v1/assignments/{leased['id']}/release")
    await client.post(f"/v1/vouchers/{confirmed['code']}/void")
    events = await told(engine, settings, receiver, hook)
    assert [(event["type"], event["data"]["code"]) for event in events] == [
        ("voucher.assigned", first["code"]),
        ("voucher.assigned", confirmed["code"]),
        ("voucher.redeemed", first["code"]),
        ("voucher.released", leased["code"]),
        ("voucher.voided", confirmed["code"]),
    ]
    assert events[0] == {
        "id": f"assignment-{first['id']}",
        "type": "voucher.assigned",
        "timestamp": first["assigned_at"],
        "data": {
            "pool": "p",
            "code": first["code"],
            "assignment_id": first["id"],
            "customer_id": "c1",
            "campaign_id": "spring",
            "message_id": "m1",
            "test": False,
            "expires_at": None,
        },
    }
    assert "redeemed_at" in events[2]["data"]
    assert events[3]["data"]["lapsed"] is False
    assert await told(engine, settings, receiver, hook) == events
    assert len(receiver.received) == 1
    (delivery,) = await deliveries(client, hook)
    assert (delivery["status"], delivery["events"], delivery["attempts"]) == ("delivered", 5, 1)
    assert delivery["id"] == receiver.received[0].headers["webhook-id"]


async def test_each_text_arrives_as_it_is_whatever_stands_in_it(client, engine, settings, receiver):
    odd = [
        '"',
        "\\",
        r"\u0041",
        r"\"",
        "א",
        "é😀",
        "{0}",
        "%s",
        ":ledger_at",
        "</script>",
        "12:00:00.000000Z",
    ]
    await fill(engine, odd[0], odd)
    hook = await subscribe(client, receiver)
    given = [await give(client, "%22", customer_id=text, campaign_id=text) for text in odd]
    await client.post(f"/v1/assignments/{given[-1]['id']}/release")
    events = await told(engine, settings, receiver, hook)
    told_of = [event["data"] | {"at": event["timestamp"]} for event in events]
    named = ("code", "customer_id", "campaign_id")
    assert [[each[name] for name in named] for each in told_of] == [
        [row[name] for name in named] for row in [*given, given[-1]]
    ]
    assert {each["pool"] for each in told_of} == {odd[0]}
    assert [each["at"] for each in told_of[:-1]] == [row["assigned_at"] for row in given]


async def test_a_code_that_ends_as_its_pool_says_is_told_with_that_end_everywhere(
    client, engine, settings, receiver
):
    await fill(engine, "p", 3)
    await client.patch("/v1/pools/p", json={"expires_after_days": 14})
    hook = await subscribe(client, receiver)
    given = await give(client, customer_id="c1")
    leased = await give(client, lease_seconds=60)
    await client.post(f"/v1/assignments/{leased['id']}/confirm")
    message = {"template": "{{ vouchers['p'].assign_available().expires_at }}", "channel": "sms"}
    shown = (await client.post("/v1/render", json=message)).json()
    ends = {
        given["code"]: given["expires_at"],
        leased["code"]: leased["expires_at"],
        shown["vouchers"][0]["code"]: shown["rendered"],
    }
    assert all(datetime.fromisoformat(end) > datetime.now(UTC) + timedelta(days=13) for end in ends.values())
    for path in ("/v1/assignments", "/v1/pools/p/vouchers"):
        items = (await client.get(path)).json()["items"]
        assert {item["code"]: item["expires_at"] for item in items} == ends
    for path in ("/v1/assignments/export", "/v1/pools/p/export"):
        lines = (await client.get(path, params={"format": "ndjson"})).text.splitlines()
        assert {row["code"]: row["expires_at"] for row in map(json.loads, lines)} == ends
    events = await told(engine, settings, receiver, hook)
    assert {event["data"]["code"]: event["data"]["expires_at"] for event in events} == ends
    await client.post(f"/v1/assignments/{given['id']}/release")
    released = (await told(engine, settings, receiver, hook))[-1]
    assert (released["type"], released["data"]["expires_at"]) == ("voucher.released", None)


async def test_only_what_was_asked_for_is_told_and_of_these_pools(client, engine, settings, receiver):
    await fill(engine, "p", 3)
    await fill(engine, "q", 3)
    hook = await subscribe(client, receiver, "voucher.released", pools=["q"])
    assert hook["pools"] == ["q"]
    rows = {pool: await give(client, pool) for pool in ("p", "q")}
    for row in rows.values():
        await client.post(f"/v1/assignments/{row['id']}/release")
    events = await told(engine, settings, receiver, hook)
    assert [(event["type"], event["data"]["pool"]) for event in events] == [("voucher.released", "q")]
    async with engine.begin() as connection:
        ended = "SELECT least(ledger_at, change_at) > now() - interval '1 minute' FROM webhook"
        assert (await connection.execute(text(ended))).scalar_one()


async def test_what_is_under_way_is_told_once_it_is_committed_and_nothing_is_passed_over(
    client, engine, settings, receiver
):
    await fill(engine, "p", 10)
    hook = await subscribe(client, receiver)
    async with transaction(engine) as slow:
        requests = [AssignmentRequest(uuid.uuid4()) for _ in range(3)]
        await assignments.claim_many(slow, "p", requests)
        assert await told(engine, settings, receiver, hook) == []
    after = await give(client)
    events = await told(engine, settings, receiver, hook)
    ids = [event["data"]["assignment_id"] for event in events]
    assert sorted(ids[:3]) == sorted(str(request.id) for request in requests)
    assert ids[3:] == [after["id"]]


async def test_of_one_code_each_release_is_told_before_it_is_given_again(client, engine, settings, receiver):
    await fill(engine, "p", ["only"])
    hook = await subscribe(client, receiver)
    first = await give(client)
    async with transaction(engine) as begun_before:
        await begun_before.execute(text("SELECT 1"))
        await client.post(f"/v1/assignments/{first['id']}/release")
        await assignments.claim_many(begun_before, "p", [AssignmentRequest(uuid.uuid4())])
    types = [event["type"] for event in await told(engine, settings, receiver, hook)]
    assert types == ["voucher.assigned", "voucher.released", "voucher.assigned"]


async def test_a_receiver_that_is_slow_holds_up_no_other(client, engine, settings, receiver, monkeypatch):
    monkeypatch.setattr(sending, "LOOK_SECONDS", 0.02)
    await fill(engine, "p", 5)
    receiver.held, other = asyncio.Event(), Receiver()
    await other.up()
    slow, quick = await subscribe(client, receiver), await subscribe(client, other)
    await give(client)
    telling = asyncio.create_task(sending.tell(engine, settings))
    await eventually(lambda: receiver.received and other.received)
    await give(client)
    await eventually(lambda: len(other.received) == 2)
    assert not telling.done()
    assert len(receiver.received) == 1
    receiver.held.set()
    await telling
    await other.down()
    for each, hook in ((receiver, slow), (other, quick)):
        assert len(await told(engine, settings, each, hook)) == 2


async def test_one_look_passes_no_more_than_so_many_changes_and_misses_none(
    client, engine, settings, receiver, monkeypatch
):
    monkeypatch.setattr(sending, "MOST_CHANGES", 3)
    codes = await fill(engine, "p", 10)
    await fill(engine, "q", 1)
    rare = await subscribe(client, receiver, "voucher.reinstated")
    all_of_it = await subscribe(client, receiver)
    for code in codes:
        await client.post(f"/v1/vouchers/{code}/void")
    await bulk(client, engine, "reinstate", {"codes": codes[:1]})
    await give(client, pool="q")
    events = [event["type"] for event in await told(engine, settings, receiver, all_of_it)]
    assert events == ["voucher.voided"] * 10 + ["voucher.reinstated", "voucher.assigned"]
    assert await deliveries(client, rare) == []  # what it is told of is further on
    for _ in range(3):
        await sending.tell(engine, settings)
    assert [each["events"] for each in await deliveries(client, rare)] == [1]


async def test_a_message_is_signed_by_the_keys_of_its_own_time(
    client, engine, settings, receiver, monkeypatch
):
    monkeypatch.setattr(sending, "MAX_EVENTS", 1)
    await fill(engine, "p", 2)
    receiver.held = asyncio.Event()
    hook = await subscribe(client, receiver)
    await give(client)
    await give(client)
    telling = asyncio.create_task(sending.tell(engine, settings))
    await eventually(lambda: receiver.received)
    rotated = (await client.post(f"{URL}/{hook['id']}/rotate")).json()
    receiver.held.set()
    await telling
    first, second = receiver.received
    assert second.verified(rotated["secret"]) == second.verified(hook["secret"])
    assert first.verified(hook["secret"])


async def test_of_two_rotations_at_once_both_keys_are_good(client, engine, settings, receiver):
    await fill(engine, "p", 1)
    hook = await subscribe(client, receiver)
    webhook_id = uuid.UUID(hook["id"])
    async with transaction(engine) as connection:
        one = await webhooks.rotate(connection, None, webhook_id)
        other = asyncio.create_task(client.post(f"{URL}/{hook['id']}/rotate"))
        await until_somebody_waits(engine)
    await give(client)
    await told(engine, settings, receiver, hook)
    for secret in (hook["secret"], one.secret, (await other).json()["secret"]):
        assert receiver.payloads(secret)


async def test_a_large_batch_is_told_in_messages_of_a_thousand(client, engine, settings, receiver):
    await fill(engine, "p", 2100)
    hook = await subscribe(client, receiver)
    reply = await client.post("/v1/pools/p/assignments/batch", json={"items": [{}] * 2050})
    events = await told(engine, settings, receiver, hook)
    sizes = [len(message["data"]["events"]) for message in receiver.payloads(hook["secret"])]
    assert sizes == [1000, 1000, 50]
    assert {event["data"]["assignment_id"] for event in events} == {
        item["id"] for item in reply.json()["items"]
    }


async def test_a_receiver_that_is_down_misses_nothing_and_the_order_stays(client, engine, settings, receiver):
    await fill(engine, "p", 20)
    hook = await subscribe(client, receiver)
    rows = [await give(client)]
    await receiver.down()
    assert await told(engine, settings, receiver, hook) == []
    failing = await shown(client, hook)
    assert failing["failures"] == 1
    assert failing["next_try_at"] is not None
    rows.append(await give(client))
    await told(engine, settings, receiver, hook)  # not before its time
    assert (await shown(client, hook))["failures"] == 1
    await no_wait(engine)
    receiver.status = 500
    await receiver.up()
    await told(engine, settings, receiver, hook)
    assert (await shown(client, hook))["failures"] == 2
    receiver.status = 204
    await no_wait(engine)
    events = await told(engine, settings, receiver, hook)
    assert [event["data"]["code"] for event in events] == [row["code"] for row in rows]
    ids = [request.headers["webhook-id"] for request in receiver.received]
    assert ids[0] == ids[1] != ids[2]
    assert receiver.received[0].body != b""
    assert (await shown(client, hook))["failing_since"] is None
    assert [delivery["attempts"] for delivery in await deliveries(client, hook)] == [1, 3]


async def test_a_worker_that_dies_before_it_notes_the_answer_has_the_same_message_sent_again(
    client, engine, settings, receiver, monkeypatch
):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    rows = [await give(client)]
    with monkeypatch.context() as dying:
        dying.setattr(queries, "arrived", lambda *_: asyncio.sleep(0, 1 / 0))
        await sending.tell(engine, settings)
    rows.append(await give(client))
    await sending.tell(engine, settings)
    assert len(receiver.received) == 1  # the dead one holds its lease
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE webhook SET leased_until = now()"))
    events = await told(engine, settings, receiver, hook)
    assert [event["data"]["code"] for event in events] == [row["code"] for row in rows]
    first, again, _ = receiver.received
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.verified(hook["secret"])["data"] == again.verified(hook["secret"])["data"]


PAST = {"column": "code", "customer_id_column": "customer", "assigned_at_column": "given"}


async def test_what_was_given_elsewhere_is_told_once_also_where_no_time_is_told(
    client, engine, settings, receiver
):
    hook = await subscribe(client, receiver)
    past = f"code,customer,given\nA-1,anna,\nA-2,ben,{datetime.now(UTC).isoformat()}\n"
    await run_job(engine, settings, client, past, **PAST)
    events = await told(engine, settings, receiver, hook)
    told_of = [(event["type"], event["data"].get("code")) for event in events]
    assert told_of == [
        ("voucher.assigned", "A-1"),
        ("voucher.assigned", "A-2"),
        ("import.finished", None),
    ]


async def test_what_was_given_elsewhere_meanwhile_takes_no_place_of_what_a_message_said_that_failed(
    client, engine, settings, receiver, monkeypatch
):
    monkeypatch.setattr(sending, "MAX_EVENTS", 3)
    await fill(engine, "p", 3)
    hook = await subscribe(client, receiver, "voucher.assigned")
    await receiver.down()
    rows = [await give(client)]
    past = f"code,customer,given\nA-1,anna,{datetime.now(UTC).isoformat()}\n"
    rows += [await give(client) for _ in range(2)]
    assert await told(engine, settings, receiver, hook) == []
    await run_job(engine, settings, client, past, **PAST)
    await receiver.up()
    await no_wait(engine)
    events = await told(engine, settings, receiver, hook)
    assert [event["data"]["code"] for event in events] == [*(row["code"] for row in rows), "A-1"]


async def test_two_workers_at_once_tell_each_thing_once(client, engine, settings, receiver):
    await fill(engine, "p", 20)
    hook = await subscribe(client, receiver)
    for _ in range(5):
        await give(client)
        await asyncio.gather(*(sending.tell(engine, settings) for _ in range(3)))
    await told(engine, settings, receiver, hook)
    messages = receiver.payloads(hook["secret"])
    assert len([event for message in messages for event in message["data"]["events"]]) == 5


async def test_a_worker_that_lost_its_webhook_begins_no_message_of_it(client, engine, settings, receiver):
    await fill(engine, "p", 1)
    hook = await subscribe(client, receiver)
    await give(client)
    until = queries.Position.before(datetime.now(UTC) + timedelta(minutes=1))
    async with engine.begin() as connection:
        first = await queries.take(connection, uuid.UUID(hook["id"]), uuid.uuid4(), -1)
    async with engine.begin() as connection:
        second = await queries.take(connection, uuid.UUID(hook["id"]), uuid.uuid4(), -1)
        assert await queries.begin(connection, first, until, 9) is None
        message = await queries.begin(connection, second, until, 9)
        assert not await queries.arrived(connection, first, message, 204, 0)
        assert await queries.arrived(connection, second, message, 204, 0)
    assert [each["status"] for each in await deliveries(client, hook)] == ["delivered"]


async def test_410_disables_and_enabling_goes_on_where_it_stopped(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    rows = [await give(client)]
    receiver.status = 410
    await told(engine, settings, receiver, hook)
    disabled = await shown(client, hook)
    assert disabled["disabled_because"] == "it answered 410 Gone"
    assert disabled["next_try_at"] is None
    rows.append(await give(client))
    receiver.status = 204
    await no_wait(engine)
    await told(engine, settings, receiver, hook)
    assert len(receiver.received) == 1
    assert (await client.post(f"{URL}/{hook['id']}/enable")).json()["disabled_at"] is None
    events = await told(engine, settings, receiver, hook)
    assert [event["data"]["code"] for event in events] == [row["code"] for row in rows]
    assert {delivery["status"] for delivery in await deliveries(client, hook)} == {"delivered", "failed"}


async def wait_of(client, hook):
    hook = await shown(client, hook)
    return (datetime.fromisoformat(hook["next_try_at"]) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("status", "further", "least", "most"),
    [
        (503, "", 40, 75),
        (404, "", 40, 75),
        (400, "", 86_000, 86_401),
        (429, "retry-after: 120\r\n", 100, 121),
        (503, "retry-after: soon\r\n", 40, 75),
        (503, "retry-after: 99999999\r\n", 86_000, 86_401),
        (503, "at", 3000, 3601),
    ],
)
async def test_the_next_try_waits_as_the_answer_says(
    client, engine, settings, receiver, status, further, least, most
):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    await give(client)
    receiver.status = status
    receiver.further = further
    if further == "at":
        at = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        receiver.further = f"retry-after: {at}\r\n"
    await told(engine, settings, receiver, hook)
    assert least - 1 <= await wait_of(client, hook) <= most


async def test_pauses_grow_to_an_hour_and_no_two_are_the_same():
    def pauses(n):
        return {hooks.Answer(503, "answered 503").pause(5, n) for _ in range(20)}

    assert all(4 <= pause <= 6 for pause in pauses(0))
    assert all(2880 <= pause <= 4320 for pause in pauses(12) | pauses(10**6))
    assert len(pauses(3)) > 1


async def test_a_test_that_arrives_has_what_waits_tried_at_once(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    await give(client)
    receiver.status = 403
    await told(engine, settings, receiver, hook)
    receiver.status = 204
    reply = await client.post(f"{URL}/{hook['id']}/test")
    assert (reply.status_code, reply.json()["test"]) == (202, True)
    await sending.send_test(engine, settings, uuid.UUID(reply.json()["id"]))
    await sending.send_test(engine, settings, uuid.UUID(reply.json()["id"]))  # a job that runs twice
    messages = [request.verified(hook["secret"]) for request in receiver.received]
    assert [message["type"] for message in messages] == ["events", "test"]
    assert len(await told(engine, settings, receiver, hook)) == 1
    tests = [each for each in await deliveries(client, hook) if each["test"]]
    assert [(each["status"], each["attempts"]) for each in tests] == [("delivered", 1)]


async def test_a_webhook_that_fails_for_days_is_disabled(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    await give(client)
    receiver.status = 500
    await told(engine, settings, receiver, hook)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE webhook SET failing_since = now() - interval '6 days', next_try_at = now()")
        )
    await told(engine, settings, receiver, hook)
    assert (await shown(client, hook))["disabled_because"] == "no message arrived for 5 days"


async def test_what_fails_after_one_that_arrived_has_failed_for_no_longer(
    client, engine, settings, receiver, monkeypatch
):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    await give(client)
    receiver.status = 500
    await told(engine, settings, receiver, hook)
    await give(client)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE webhook SET failing_since = now() - interval '6 days', next_try_at = now()")
        )
    answers = iter([hooks.Answer(204), hooks.Answer(500, "answered 500")])
    monkeypatch.setattr(hooks.Sender, "post", lambda *_: asyncio.sleep(0, next(answers)))
    await sending.tell(engine, settings)
    failing = await shown(client, hook)
    assert (failing["failures"], failing["disabled_at"]) == (1, None)
    assert datetime.fromisoformat(failing["failing_since"]) > datetime.now(UTC) - timedelta(hours=1)


async def test_who_was_erased_is_in_no_message_that_is_sent_later_and_in_no_table(
    client, engine, settings, receiver
):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    await give(client, customer_id="anna")
    receiver.status = 500
    await told(engine, settings, receiver, hook)
    await client.delete("/v1/customers/anna")
    receiver.status = 204
    await no_wait(engine)
    receiver.received.clear()
    (event,) = await told(engine, settings, receiver, hook)
    assert event["data"]["customer_id"] is None
    async with engine.begin() as connection:
        for table in ("webhook", "webhook_delivery", "pool_change"):
            rows = await connection.execute(text(f"SELECT {table}::text FROM {table}"))
            assert all("anna" not in row for (row,) in rows)


async def test_a_finished_import_and_a_pool_that_runs_low_are_told(client, engine, settings, receiver):
    await fill(engine, "p", 3)
    hook = await subscribe(client, receiver, "import.finished", "pool.low")
    await client.put("/v1/pools/p/alerts", json={"thresholds": [2], "webhook_url": receiver.url})
    await give(client)
    async with transaction(engine) as connection:
        await alerts.notify_crossed(connection)
    ids = []
    for more in ({"dry_run": True}, {}, {}):
        body = {"source": {"type": "text", "text": "code\nnew-1\n"}, "column": "code", **more}
        ids.append((await client.post("/v1/pools/p/imports", json=body)).json()["id"])
        if len(ids) < 3:
            await asyncio.to_thread(pipeline.run, settings, DEFAULT, uuid.UUID(ids[-1]))
    with connect_sync(settings, project=DEFAULT, autocommit=True) as driver:
        pipeline.fail(driver, uuid.UUID(ids[2]), "the source is gone")
    events = await told(engine, settings, receiver, hook)
    assert [(event["type"], event["data"]) for event in events] == [
        ("pool.low", {"pool": "p", "threshold": 2, "available": 2}),
        ("import.finished", {"pool": "p", "import_id": ids[1], "status": "succeeded"}),
        ("import.finished", {"pool": "p", "import_id": ids[2], "status": "failed"}),
    ]


async def test_a_cancelled_import_is_told_once_and_a_dry_run_never(client, engine, settings, receiver):
    await fill(engine, "p", 1)
    hook = await subscribe(client, receiver, "import.finished")
    ids = []
    for more in ({}, {"dry_run": True}):
        body = {"source": {"type": "text", "text": "code\nnew-1\n"}, "column": "code", **more}
        ids.append((await client.post("/v1/pools/p/imports", json=body)).json()["id"])
        assert (await client.post(f"/v1/imports/{ids[-1]}/cancel")).status_code == 200
        await asyncio.to_thread(pipeline.run, settings, DEFAULT, uuid.UUID(ids[-1]))
    events = await told(engine, settings, receiver, hook)
    assert [event["data"] for event in events] == [{"pool": "p", "import_id": ids[0], "status": "failed"}]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_import_whose_pool_goes_with_it_is_told(client, engine, settings, receiver, cancelled):
    hook = await subscribe(client, receiver, "import.finished")
    import_id = await queue(engine, 'code\nA1\n"never closed\n', "made")
    if cancelled:
        await client.post(f"/v1/imports/{import_id}/cancel")
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    assert (await client.get("/v1/pools/made")).status_code == 404
    (event,) = await told(engine, settings, receiver, hook)
    assert event["data"] == {"pool": "made", "import_id": str(import_id), "status": "failed"}


async def test_what_happened_to_codes_of_a_pool_that_was_deleted_is_not_told(
    client, engine, settings, receiver
):
    (code,) = await fill(engine, "p", 1)
    hook = await subscribe(client, receiver, "voucher.voided")
    await client.post(f"/v1/vouchers/{code}/void")
    assert (await client.delete("/v1/pools/p")).status_code == 204
    assert await told(engine, settings, receiver, hook) == []


async def bulk(client, engine, action, chosen, **more):
    body = {"action": action, "filter": chosen, **more}
    await changes.run(engine, (await client.post("/v1/bulk-changes", json=body)).json()["id"])


async def test_that_a_code_is_good_again_is_told_and_that_it_expires_at_another_time(
    client, engine, settings, receiver
):
    codes = await fill(engine, "p", 4)
    mapping = [
        {"event_type": "order", "property": "code"},
        {"event_type": "refund", "property": "code", "effect": "cancel"},
    ]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    given = await give(client, customer_id="c")
    hook = await subscribe(
        client, receiver, "voucher.redemption_cancelled", "voucher.reinstated", "voucher.expiry_changed"
    )
    for type_ in ("order", "refund"):
        event = {"customer_id": "c", "event_type": type_, "properties": {"code": given["code"]}}
        assert (await client.post("/v1/events", json={"events": [event]})).json()["accepted"] == 1
    free = next(code for code in codes if code != given["code"])
    for code in (given["code"], free):
        await client.post(f"/v1/vouchers/{code}/void")
    await bulk(client, engine, "reinstate", {"codes": [given["code"], free]})
    since = datetime.now(UTC).isoformat()
    at = "2099-01-01T00:00:00Z"
    await bulk(client, engine, "set_expiry", {"pool": "p"}, expires_at=at)
    events = await told(engine, settings, receiver, hook)
    seen = [(event["type"], event["data"]["code"], event["data"].get("status")) for event in events]
    assert seen[0] == ("voucher.redemption_cancelled", given["code"], None)
    assert sorted(seen[1:3]) == sorted(
        [
            ("voucher.reinstated", given["code"], "assigned"),
            ("voucher.reinstated", free, "available"),
        ]
    )
    # Only of codes that somebody has.
    assert seen[3:] == [("voucher.expiry_changed", given["code"], None)]
    assert events[3]["data"]["expires_at"] == at
    # And the delta has it.
    delta = await client.get("/v1/assignments/export", params={"since": since, "format": "ndjson"})
    assert [row["id"] for row in map(json.loads, delta.text.splitlines())] == [given["id"]]


async def test_a_use_of_a_void_code_is_told_as_a_use_and_its_cancellation_as_a_void(
    client, engine, settings, receiver
):
    await fill(engine, "p", 1)
    mapping = [
        {"event_type": "order", "property": "code"},
        {"event_type": "refund", "property": "code", "effect": "cancel"},
    ]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    given = await give(client, customer_id="c")
    hook = await subscribe(client, receiver)
    await client.post(f"/v1/vouchers/{given['code']}/void")
    for type_ in ("order", "refund"):
        event = {"customer_id": "c", "event_type": type_, "properties": {"code": given["code"]}}
        event["timestamp"] = given["assigned_at"]
        assert (await client.post("/v1/events", json={"events": [event]})).json()["accepted"] == 1
    events = await told(engine, settings, receiver, hook)
    assert [event["type"] for event in events] == ["voucher.voided", "voucher.redeemed", "voucher.voided"]


async def test_a_lease_that_lapses_on_a_used_code_is_told_as_any_other(client, engine, settings, receiver):
    await fill(engine, "p", 1)
    mapping = [{"event_type": "order", "property": "code"}]
    await client.put("/v1/redemption-mapping", json={"mappings": mapping})
    given = await give(client, lease_seconds=60)
    hook = await subscribe(client, receiver)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = now() - interval '1 day'"))
    event = {"customer_id": "c", "event_type": "order", "properties": {"code": given["code"]}}
    reply = await client.post("/v1/events", json={"events": [event]})
    assert reply.json()["items"][0]["redemption"] == "expired"
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE assignment SET lease_until = now()"))
    assert await vouchers.sweep(engine) == (1, 0)
    (event,) = await told(engine, settings, receiver, hook)
    assert (event["type"], event["data"]["lapsed"]) == ("voucher.released", True)


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ftp://example.org/"},
        {"url": "https://"},
        {"url": "http://10.0.0.1/hook"},
        {"url": "http://[::1]/hook"},
        {"url": "http://127.0.0.2/hook"},
        {"events": []},
        {"events": ["voucher.lost"]},
        {"events": ["pool.low", "pool.low"]},
        {"pools": []},
        {"pools": ["p", "p"]},
        {"secret": "mine"},
    ],
)
async def test_what_can_never_work_is_refused_when_it_is_given(client, engine, body):
    await fill(engine, "p", 1)
    reply = await client.post(URL, json={"url": "https://example.org/h", "events": ["pool.low"], **body})
    assert reply.status_code == 422, reply.text
    assert (await client.get(URL)).json()["items"] == []


async def test_an_alert_to_a_url_that_can_never_be_called_is_refused(client, engine):
    await fill(engine, "p", 1)
    alert = {"thresholds": [1], "webhook_url": "http://10.0.0.1/hook"}
    assert (await client.put("/v1/pools/p/alerts", json=alert)).status_code == 422


async def test_webhooks_are_listed_rotated_and_deleted_and_show_no_secret(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    made = [await subscribe(client, receiver) for _ in range(3)]
    page = (await client.get(URL, params={"limit": 2})).json()
    rest = (await client.get(URL, params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [each["id"] for each in page["items"] + rest["items"]] == [each["id"] for each in made]
    assert "whsec_" not in str(page)
    for each in made[1:]:
        assert (await client.delete(f"{URL}/{each['id']}")).status_code == 204
        assert (await client.delete(f"{URL}/{each['id']}")).status_code == 404
    hook = made[0]
    rotated = (await client.post(f"{URL}/{hook['id']}/rotate")).json()
    assert rotated["secret"] != hook["secret"]
    await give(client)
    assert len(await told(engine, settings, receiver, hook)) == 1
    assert receiver.payloads(rotated["secret"]) == receiver.payloads(hook["secret"])


async def test_only_a_key_that_sees_codes_whole_may_have_them_sent(client, engine):
    await add_key(engine, KEY[::-1], "read", "assign", "events")
    headers = {"Authorization": f"Bearer {KEY[::-1]}"}
    body = {"url": "https://example.org/h", "events": ["pool.low"]}
    assert (await client.post(URL, json=body, headers=headers)).status_code == 403
    assert (await client.get(URL, headers=headers)).status_code == 403


async def test_of_an_unknown_pool_or_webhook_is_a_problem(client, engine, monkeypatch):
    body = {"url": "https://example.org/h", "events": ["pool.low"]}
    reply = await client.post(URL, json={**body, "pools": ["nope"]})
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/pool-not-found")
    for method, path in (("GET", ""), ("POST", "/rotate"), ("POST", "/test"), ("GET", "/deliveries")):
        reply = await client.request(method, f"{URL}/{uuid.uuid4()}{path}")
        assert (reply.status_code, reply.json()["type"]) == (404, "/problems/webhook-not-found")
    monkeypatch.setattr("app.domain.webhooks.service.MAX_WEBHOOKS", 0)
    assert (await client.post(URL, json=body)).status_code == 409


async def test_the_log_of_messages_is_cleared_but_not_of_those_under_way(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    await give(client)
    await told(engine, settings, receiver, hook)
    receiver.status = 500
    await give(client)
    await told(engine, settings, receiver, hook)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE webhook_delivery SET created_at = created_at - interval '8 days'")
        )
    await queries.forget(everywhere(engine), timedelta(days=7))
    assert [each["status"] for each in await deliveries(client, hook)] == ["pending"]


async def change(client, hook, **wanted):
    reply = await client.patch(f"{URL}/{hook['id']}", json=wanted)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.fixture
async def other():
    """Another receiver."""
    other = Receiver()
    await other.up()
    yield other
    await other.down()


@pytest.mark.parametrize("status", [500, 410])
async def test_with_another_url_it_goes_on_at_once_with_the_same_message_and_key(
    client, engine, settings, receiver, other, status
):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver)
    receiver.status = status
    rows = [await give(client)]
    await told(engine, settings, receiver, hook)
    rows.append(await give(client))
    same = await change(client, hook, url=receiver.url, events=hook["events"], pools=None)
    assert same["failures"] == 1, "it is as it was, and goes on waiting"
    assert (await deliveries(client, hook))[0]["error"] != webhooks.CHANGED
    changed = await change(client, hook, url=other.url)
    assert (changed["url"], changed["failures"], changed["disabled_at"]) == (other.url, 0, None)
    events = await told(engine, settings, other, hook)
    assert [event["data"]["code"] for event in events] == [row["code"] for row in rows]
    assert len(receiver.received) == 1
    (first,), (again, *_) = receiver.received, other.received
    same = first.headers["webhook-id"] == again.headers["webhook-id"]
    assert same is (status == 500), "what was refused for good is another message"


async def test_what_was_not_told_yet_follows_the_change_in_a_message_of_its_own(
    client, engine, settings, receiver
):
    await fill(engine, "p", 5)
    await fill(engine, "q", ["q-1"])
    hook = await subscribe(client, receiver, "voucher.voided", pools=["p"])
    receiver.status = 500
    given = await give(client)
    await client.post(f"/v1/vouchers/{given['code']}/void")
    await give(client, pool="q")
    await told(engine, settings, receiver, hook)
    await change(client, hook, events=["voucher.assigned", "voucher.voided"])
    await change(client, hook, pools=None)
    receiver.status = 204
    await no_wait(engine)
    await sending.tell(engine, settings)
    before, after = receiver.payloads(hook["secret"])
    assert receiver.received[0].headers["webhook-id"] != receiver.received[1].headers["webhook-id"]
    said = [(event["type"], event["data"]["pool"]) for event in after["data"]["events"]]
    assert said == [("voucher.assigned", "p"), ("voucher.voided", "p"), ("voucher.assigned", "q")]
    assert before["data"]["events"] == [after["data"]["events"][1]], "an event is known again by its id"
    new, old = await deliveries(client, hook)
    assert (new["status"], new["events"]) == ("delivered", 3)
    assert (old["status"], old["attempts"], old["error"]) == ("failed", 1, webhooks.CHANGED)


async def test_who_sends_while_it_is_changed_lets_go_and_nothing_is_missed(
    client, engine, settings, receiver, other, monkeypatch
):
    monkeypatch.setattr(sending, "MAX_EVENTS", 1)
    await fill(engine, "p", 5)
    receiver.held = asyncio.Event()
    hook = await subscribe(client, receiver)
    rows = [await give(client), await give(client)]
    telling = asyncio.create_task(sending.tell(engine, settings))
    await eventually(lambda: receiver.received)
    await change(client, hook, url=other.url, pools=["p"])
    receiver.held.set()
    await telling
    events = await told(engine, settings, other, hook)
    assert [event["data"]["code"] for event in events] == [row["code"] for row in rows]
    assert len(receiver.received) == 1, "no further message goes to where it was"
    assert [each["status"] for each in await deliveries(client, hook)] == ["delivered", "delivered", "failed"]


async def test_a_look_from_before_a_change_passes_over_nothing_that_it_wants(
    client, engine, settings, receiver, monkeypatch
):
    await fill(engine, "p", 5)
    hook = await subscribe(client, receiver, "voucher.redeemed")
    given, settled = [], sending.order.settled

    async def changed_meanwhile(engine):
        if not given:
            await change(client, hook, events=["voucher.assigned"])
            given.append(await give(client))
        return await settled(engine)

    monkeypatch.setattr(sending, "IDLE", timedelta(0))
    monkeypatch.setattr(sending.order, "settled", changed_meanwhile)
    for _ in range(2):
        events = await told(engine, settings, receiver, hook)
    assert [event["data"]["code"] for event in events] == [given[0]["code"]]


async def test_no_message_begins_by_what_a_webhook_was_before_a_change(client, engine, settings, receiver):
    await fill(engine, "p", 1)
    hook = await subscribe(client, receiver)
    given = await give(client)
    webhook_id, until = (
        uuid.UUID(hook["id"]),
        queries.Position.before(datetime.now(UTC) + timedelta(minutes=1)),
    )
    async with transaction(engine) as connection:
        taken = await queries.take(connection, webhook_id, uuid.uuid4(), 60)

    async def begin():
        async with transaction(engine) as connection:
            return await queries.begin(connection, taken, until, 9)

    async with transaction(engine) as connection:
        await webhooks.change(connection, None, webhook_id, WebhookUpdate(pools=["p"]))
        beginning = asyncio.create_task(begin())
        await until_somebody_waits(engine)
    assert await beginning is None
    events = await told(engine, settings, receiver, hook)
    assert [event["data"]["code"] for event in events] == [given["code"]]
    assert len(await deliveries(client, hook)) == 1


async def test_a_change_that_makes_no_sense_changes_nothing(client, engine, settings, receiver):
    await fill(engine, "p", 1)
    hook = await subscribe(client, receiver, "voucher.assigned", pools=["p"])
    for wanted, status, said in (
        ({}, 422, "say what to change"),
        ({"url": None}, 422, "cannot be null"),
        ({"events": None}, 422, "cannot be null"),
        ({"events": []}, 422, "at least 1"),
        ({"events": ["voucher.voided"] * 2}, 422, "each stands once"),
        ({"pools": []}, 422, "at least 1"),
        ({"secret": "whsec_x"}, 422, "not"),
        ({"url": "http://10.0.0.1/"}, 422, "10.0.0.1"),
        ({"url": "https://example.org/", "pools": ["none"]}, 404, "none"),
    ):
        reply = await client.patch(f"{URL}/{hook['id']}", json=wanted)
        assert (reply.status_code, said in reply.text) == (status, True), (wanted, reply.text)
    left = {
        name: value
        for name, value in (await shown(client, hook)).items()
        if name in ("url", "events", "pools")
    }
    assert left == {"url": receiver.url, "events": ["voucher.assigned"], "pools": ["p"]}
    assert (await client.patch(f"{URL}/{uuid.uuid4()}", json={"pools": None})).status_code == 404
