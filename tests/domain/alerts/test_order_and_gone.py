"""In which order a fall is told, what is told at once, and what becomes of a webhook that is gone."""

from uuid import UUID

import pytest
from sqlalchemy import text

from app.domain.alerts import service
from app.domain.alerts.deliveries import queries, sending
from tests.factories import fill
from tests.worker import eventually, working

URL = "/v1/pools/p/alerts"


async def set_alerts(client, receiver, *thresholds):
    reply = await client.put(URL, json={"thresholds": thresholds, "webhook_url": receiver.url})
    assert reply.status_code == 200
    return reply.json()["webhook_secret"]


async def tell(engine):
    async with engine.begin() as connection:
        await service.notify_crossed(connection)


async def deliveries(client):
    return (await client.get(f"{URL}/deliveries")).json()["items"][::-1]


async def all_delivered(client, n):
    items = await deliveries(client)
    return len(items) == n and all(item["status"] == "delivered" for item in items)


async def test_a_fall_is_told_and_arrives_from_the_greatest_threshold_down(
    client, engine, settings, receiver
):
    await fill(engine, "p", 9)
    secret = await set_alerts(client, receiver, 2, 8, 5, 0, 1)
    await client.post("/v1/pools/p/assignments/batch", json={"items": [{}] * 9})
    await tell(engine)
    assert [item["payload"]["data"]["threshold"] for item in await deliveries(client)] == [8, 5, 2, 1, 0]
    async with working(settings):
        await eventually(lambda: all_delivered(client, 5))
    told = [payload["data"]["threshold"] for payload in receiver.payloads(secret)]
    assert told == [8, 5, 2, 1, 0]


async def test_one_that_fails_holds_up_no_other(client, engine, settings, receiver):
    await fill(engine, "p", 1)
    await set_alerts(client, receiver, 5, 2)
    await tell(engine)
    receiver.status = 500
    async with working(settings.model_copy(update={"alert_retry_seconds": 60})):

        async def both_tried():
            return [item["attempts"] for item in await deliveries(client)] == [1, 1]

        await eventually(both_tried)


async def test_alerts_on_a_pool_that_is_low_already_and_before_the_first_import_are_told_once(
    client, engine, settings, receiver
):
    await client.post("/v1/pools", json={"name": "p"})
    await set_alerts(client, receiver, 5, 2, 0)
    for _ in range(2):
        await tell(engine)
        assert [item["payload"]["data"]["threshold"] for item in await deliveries(client)] == [5, 2, 0]
    await fill(engine, "p", 3)
    await tell(engine)
    states = {state["threshold"]: state["armed"] for state in (await client.get(URL)).json()["states"]}
    assert states == {5: False, 2: True, 0: True}
    await set_alerts(client, receiver, 5, 3)
    await tell(engine)
    assert [item["payload"]["data"]["threshold"] for item in await deliveries(client)] == [5, 2, 0, 3]


async def test_nothing_is_sent_to_a_webhook_that_is_gone_and_it_says_so(client, engine, settings, receiver):
    await fill(engine, "p", 1)
    await set_alerts(client, receiver, 5, 2)
    receiver.status = 410
    await tell(engine)
    async with working(settings):

        async def failed():
            return {item["status"] for item in await deliveries(client)} == {"failed"}

        await eventually(failed)
    assert len(receiver.received) == 1
    assert (await client.get(URL)).json()["webhook_disabled_at"] is not None
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alert_threshold SET fell_at = now(), told_at = NULL"))
    await tell(engine)
    assert len(await deliveries(client)) == 2
    await set_alerts(client, receiver, 5, 2)
    assert (await client.get(URL)).json()["webhook_disabled_at"] is None


async def test_two_rotations_within_a_day_keep_both_older_secrets(client, engine, settings, receiver):
    await fill(engine, "p", 9)
    secrets = [await set_alerts(client, receiver, 5)]
    secrets += [(await client.post(f"{URL}/secret")).json()["webhook_secret"] for _ in range(2)]
    async with working(settings):
        await client.post(f"{URL}/test")
        await eventually(lambda: all_delivered(client, 1))
    (request,) = receiver.received
    assert request.headers["webhook-signature"].count("v1,") == 3
    assert all(request.verified(secret) for secret in secrets)


async def test_a_refusal_that_will_not_change_ends_the_tries_and_a_wait_that_is_asked_for_is_kept(
    client, engine, settings, receiver
):
    await fill(engine, "p", 3)
    await set_alerts(client, receiver, 1)
    receiver.status, receiver.further = 400, ""
    (refused,) = (await client.post(f"{URL}/test")).json()["items"]
    await sending.deliver(engine, settings, UUID(refused["id"]))
    receiver.status, receiver.further = 429, "retry-after: 90\r\n"
    (later,) = (await client.post(f"{URL}/test")).json()["items"]
    with pytest.raises(sending.NotDeliveredError) as raised:
        await sending.deliver(engine, settings, UUID(later["id"]))
    assert raised.value.again_in == 90
    told = {item["id"]: (item["status"], item["response_status"]) for item in await deliveries(client)}
    assert told == {refused["id"]: ("failed", 400), later["id"]: ("pending", 429)}


async def test_a_webhook_that_goes_while_a_message_awaits_its_turn_gets_no_more(
    client, engine, settings, receiver, monkeypatch
):
    await fill(engine, "p", 1)
    await set_alerts(client, receiver, 2)
    await tell(engine)

    async def the_earlier_one_ends(connection, message):
        async with engine.begin() as other:
            await queries.disable_webhook(other, message.pool_id, message.destination)
        return False

    monkeypatch.setattr(queries, "has_earlier", the_earlier_one_ends)
    await sending.deliver(engine, settings, UUID((await deliveries(client))[0]["id"]))
    assert [item["status"] for item in await deliveries(client)] == ["failed"]
    assert not receiver.received
