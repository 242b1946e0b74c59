"""The whole chain: codes are assigned, a count falls to a threshold, a worker tells a real receiver of it."""

import asyncio
import time
from datetime import datetime

import pytest
from sqlalchemy import text

from app.domain.alerts import service as alerts
from app.domain.alerts.deliveries import sending
from app.domain.lifecycle.thresholds import note_fallen
from app.platform.database import transaction
from app.platform.jobs import enqueue, jobs
from app.platform.settings import Settings
from tests.factories import COUNT, fill
from tests.waiting import until_somebody_waits
from tests.worker import eventually, worker_process, working

URL = "/v1/pools/p/alerts"


async def set_alerts(client, receiver, *thresholds):
    reply = await client.put(URL, json={"thresholds": thresholds, "webhook_url": receiver.url})
    return reply.json()["webhook_secret"]


async def assign(client, n, at_once=50):
    """Hand out `n` codes one by one, many requests at once."""
    places = asyncio.Semaphore(at_once)

    async def one():
        async with places:
            assert (await client.post("/v1/pools/p/assignments", json={})).status_code == 201

    await asyncio.gather(*(one() for _ in range(n)))


async def deliveries(client):
    return (await client.get(f"{URL}/deliveries")).json()["items"]


async def all_delivered(client, n):
    items = await deliveries(client)
    return len(items) == n and all(item["status"] == "delivered" for item in items) and items


async def the_only_one_failed(client):
    (item,) = await deliveries(client)
    return item["status"] == "failed" and item


def delays(received, secret):
    """Seconds from each crossing to its arrival."""
    return [
        request.at - datetime.fromisoformat(request.verified(secret)["timestamp"]).timestamp()
        for request in received
    ]


@pytest.mark.long
async def test_three_thresholds_crossed_under_load_arrive_once_each(
    client, engine, settings, receiver, capsys
):
    await fill(engine, "p", 1500)
    secret = await set_alerts(client, receiver, 1000, 100, 0)
    async with working(settings):
        await assign(client, 1500)
        log = await eventually(lambda: all_delivered(client, 3))
    told = [(payload["type"], payload["data"]["threshold"]) for payload in receiver.payloads(secret)]
    assert sorted(told) == [("pool.exhausted", 0), ("pool.low", 100), ("pool.low", 1000)]
    assert {request.headers["webhook-id"] for request in receiver.received} == {item["id"] for item in log}
    assert max(delays(receiver.received, secret)) < 5
    with capsys.disabled():
        print(  # noqa: T201  (the figure that this test is asked for)
            "\nfrom crossing to delivery:", [f"{d:.2f} s" for d in delays(receiver.received, secret)]
        )


@pytest.mark.long
async def test_two_workers_tell_once(client, engine, settings, receiver):
    await fill(engine, "p", 60)
    secret = await set_alerts(client, receiver, *range(20, 40))
    with worker_process(settings), worker_process(settings):
        await assign(client, 60, at_once=5)
        await eventually(lambda: all_delivered(client, 20))
        # A message that was sent twice has come by the time that a later one has.
        await client.post(f"{URL}/test")
        await eventually(lambda: all_delivered(client, 21))
    told = [payload["data"].get("threshold") for payload in receiver.payloads(secret)]
    assert sorted(told[:20]) == [*range(20, 40)]
    assert told[20:] == [None]


@pytest.mark.long
async def test_a_receiver_that_was_down_gets_it_with_the_same_id(client, engine, settings, receiver):
    await fill(engine, "p", 2)
    secret = await set_alerts(client, receiver, 1)
    receiver.status = 500
    async with working(settings):
        await assign(client, 1)
        await eventually(lambda: len(receiver.received) >= 2)
        await receiver.down()

        async def refused():
            (item,) = await deliveries(client)
            return item["status"] == "pending" and item["error"].startswith("ConnectError") and item

        tried = await eventually(refused)
        receiver.status = 204
        await receiver.up()
        (item,) = await eventually(lambda: all_delivered(client, 1))
    assert item["attempts"] > tried["attempts"] >= 3
    assert (item["response_status"], item["error"]) == (204, None)
    assert item["created_at"] < item["delivered_at"] == item["attempted_at"]
    assert {request.headers["webhook-id"] for request in receiver.received} == {item["id"]}
    assert len({request.body for request in receiver.received}) == 1
    assert receiver.received[-1].verified(secret)["data"] == {"pool": "p", "threshold": 1, "available": 1}


async def test_what_falls_while_no_worker_runs_is_told_late(client, engine, settings, receiver):
    await fill(engine, "p", 3)
    secret = await set_alerts(client, receiver, 1)
    await assign(client, 2)
    async with transaction(engine) as connection:
        pool_id = (await connection.execute(text("SELECT id FROM pool"))).scalar_one()
        await note_fallen(connection, [pool_id])
        await connection.execute(COUNT, {"pool_id": pool_id, "n": 100})
    async with working(settings):
        await eventually(lambda: all_delivered(client, 1))
    assert receiver.payloads(secret)[0]["data"]["available"] == 1


@pytest.mark.long
async def test_a_worker_killed_while_it_sends_is_followed_by_another_with_the_same_id(
    client, engine, settings, receiver
):
    await fill(engine, "p", 2)
    secret = await set_alerts(client, receiver, 1)
    arrived, answer = asyncio.Event(), receiver._serve

    async def never_answer(reader, _writer):
        arrived.set()
        await reader.read()

    receiver._serve = never_answer
    await receiver.down()
    await receiver.up()
    with worker_process(settings) as process:
        await assign(client, 1)
        async with asyncio.timeout(20):
            await arrived.wait()
        process.kill()
    (before,) = await deliveries(client)
    assert (before["status"], before["attempts"]) == ("pending", 0)
    receiver._serve = answer
    await receiver.down()
    await receiver.up()
    async with working(settings):
        await eventually(lambda: all_delivered(client, 1), seconds=30)
    assert [request.headers["webhook-id"] for request in receiver.received] == [before["id"]]
    assert receiver.payloads(secret)[0]["type"] == "pool.low"


async def test_a_test_message_says_at_once_how_it_went(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    secret = await set_alerts(client, receiver, 1)
    async with working(settings):
        reply = await client.post(f"{URL}/test")
        assert reply.status_code == 202
        (item,) = await eventually(lambda: all_delivered(client, 1))
    assert item["id"] == reply.json()["items"][0]["id"]
    assert receiver.payloads(secret) == [item["payload"]]
    assert item["payload"]["data"] == {"pool": "p", "available": 5}


async def test_a_new_secret_signs_beside_the_old_one_for_a_day(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    old = await set_alerts(client, receiver, 1)
    rotated = (await client.post(f"{URL}/secret")).json()
    async with working(settings):
        await client.post(f"{URL}/test")
        await eventually(lambda: all_delivered(client, 1))
        assert receiver.payloads(old) == receiver.payloads(rotated["webhook_secret"])
        async with transaction(engine) as connection:
            await connection.execute(
                text("UPDATE alert SET previous_secrets = jsonb_build_object(CAST(:old AS text), now())"),
                {"old": old},
            )
        await client.post(f"{URL}/test")
        await eventually(lambda: all_delivered(client, 2))
    assert receiver.received[0].headers["webhook-signature"].count("v1,") == 2
    assert receiver.received[1].headers["webhook-signature"].count("v1,") == 1
    assert receiver.received[1].verified(rotated["webhook_secret"])
    assert (datetime.fromisoformat(rotated["previous_valid_until"]).timestamp() - time.time()) > 23 * 3600


async def test_of_two_rotations_at_once_both_keys_are_good(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    await set_alerts(client, receiver, 1)
    async with transaction(engine) as connection:
        one = await alerts.rotate_secret(connection, None, "p")
        rotating = asyncio.create_task(client.post(f"{URL}/secret"))
        await until_somebody_waits(engine)
    other = (await rotating).json()["webhook_secret"]
    async with working(settings):
        await client.post(f"{URL}/test")
        await eventually(lambda: all_delivered(client, 1))
    assert receiver.payloads(one.webhook_secret) == receiver.payloads(other)


async def test_a_webhook_goes_to_no_private_address_that_is_not_allowed(client, engine, settings, receiver):
    await fill(engine, "p", 5)
    await set_alerts(client, receiver, 1)
    async with working(settings.model_copy(update={"allowed_hosts": ()})):
        await client.post(f"{URL}/test")

        async def refused():
            (item,) = await deliveries(client)
            return item["error"]

        assert "VOUCHERS_ALLOWED_HOSTS" in await eventually(refused)
    assert receiver.received == []


def test_the_tries_spread_over_near_a_day():
    waits = [Settings().alert_retry_seconds * 2**n for n in range(sending.MAX_ATTEMPTS - 1)]
    assert waits[0] == 5
    assert 22 * 3600 < sum(waits) < 24 * 3600


async def test_tries_end_and_the_log_says_so(client, engine, settings, receiver, monkeypatch):
    monkeypatch.setattr(sending, "MAX_ATTEMPTS", 3)
    await fill(engine, "p", 5)
    await set_alerts(client, receiver, 1)
    receiver.status = 500
    async with working(settings.model_copy(update={"alert_retry_seconds": 0.001})):
        await client.post(f"{URL}/test")
        item = await eventually(lambda: the_only_one_failed(client))
    assert (item["attempts"], item["response_status"], item["error"]) == (3, 500, "answered 500")
    assert len(receiver.received) == 3


async def test_a_receiver_that_is_gone_for_good_is_asked_once_until_it_is_set_again(
    client, engine, settings, receiver
):
    await fill(engine, "p", 5)
    await set_alerts(client, receiver, 1)
    receiver.status = 410
    async with working(settings.model_copy(update={"alert_retry_seconds": 0.001})):
        await client.post(f"{URL}/test")
        item = await eventually(lambda: the_only_one_failed(client))
        assert (item["attempts"], item["response_status"]) == (1, 410)
        receiver.status = 200
        await set_alerts(client, receiver, 1)
        await client.post(f"{URL}/test")
        await eventually(lambda: all_of(client, {"failed", "delivered"}))
    assert len(receiver.received) == 2


async def all_of(client, wanted):
    return {item["status"] for item in await deliveries(client)} == wanted


async def test_imports_that_take_every_place_of_a_worker_delay_no_alert(client, engine, settings, receiver):
    await fill(engine, "p", 2)
    secret = await set_alerts(client, receiver, 1)
    done = asyncio.Event()

    @jobs.task(name="tests.long")
    async def long():
        await done.wait()

    async with working(settings.model_copy(update={"job_concurrency": 1})):
        async with transaction(engine) as connection:
            for _ in range(3):
                await enqueue(connection, long.name)
        await assign(client, 1)
        await eventually(lambda: all_delivered(client, 1))
        done.set()
    assert max(delays(receiver.received, secret)) < 5
