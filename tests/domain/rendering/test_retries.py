"""The same message again, and messages that are never made."""

import asyncio

import orjson
import pytest
from sqlalchemy import text

from app.domain.rendering import service
from app.domain.rendering.message_vouchers import MessageVouchers
from tests.domain.rendering.help import counts, render
from tests.factories import KEY, fill

ONE = "{{ vouchers['p'].assign_available() }}"
NEW = "{{ vouchers['p'].assign_available(cached=False) }}"


async def test_a_retry_works_when_the_pool_has_run_out_meanwhile(client, engine):
    await fill(engine, "p", 3)
    first = await render(client, f"{NEW} {ONE} {NEW}")
    await render(client, ONE, status=409, message_id="m2")
    assert await render(client, f"{NEW} {ONE} {NEW}") == first


async def test_retries_that_race_agree(client, engine):
    await fill(engine, "p", 99)
    replies = await asyncio.gather(*(render(client, f"{NEW} {ONE} {NEW}") for _ in range(20)))
    assert len({reply["rendered"] for reply in replies}) == 1
    assert await counts(client, "p") == (96, 3)


async def test_retries_that_race_for_the_last_code_agree(client, engine):
    await fill(engine, "p", 1)
    replies = await asyncio.gather(*(render(client, ONE) for _ in range(8)))
    assert len({reply["rendered"] for reply in replies}) == 1


async def test_after_a_crash_between_commit_and_reply_the_retry_has_the_same_codes(
    client, engine, monkeypatch
):
    await fill(engine, "p", 9)
    made = []

    async def crash(*arguments):
        made.extend(await service_render(*arguments))
        raise RuntimeError("the process dies here")

    service_render = service.render
    with monkeypatch.context() as patch:
        patch.setattr(service, "render", crash)
        await render(client, f"{NEW} {ONE}", status=500)
    assert await counts(client, "p") == (7, 2)
    assert (await render(client, f"{NEW} {ONE}"))["rendered"] == made[0].rendered


async def test_a_crash_before_the_commit_takes_nothing(client, engine, monkeypatch):
    await fill(engine, "p", 9)
    write = MessageVouchers.write

    async def crash(self, uses):
        await write(self, uses)
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(MessageVouchers, "write", crash)
        await render(client, f"{NEW} {ONE}", status=500)
    assert await counts(client, "p") == (9, 0)


async def test_a_template_error_after_the_third_code_takes_nothing(client, engine):
    await fill(engine, "p", 9)
    reply = await render(client, f"{NEW}\n{NEW}\n{NEW}\n{{{{ nope }}}}", status=422)
    assert (reply["type"], reply["line"]) == ("/problems/template-error", 4)
    assert await counts(client, "p") == (9, 0)


async def test_an_exhausted_second_pool_takes_nothing_from_the_first(client, engine):
    await fill(engine, "p", 9)
    await fill(engine, "q", 0)
    reply = await render(client, ONE + "{{ vouchers['q'].assign_available() }}", status=409)
    assert reply["pool"] == "q"
    assert await counts(client, "p") == (9, 0)


async def test_for_a_client_that_hangs_up_nothing_is_taken(app, client, engine):
    await fill(engine, "p", 9)
    body = orjson.dumps({"template": ONE, "channel": "email", "customer_id": "c1"})
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent = []

    async def receive():
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/render",
        "raw_path": b"/v1/render",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [(b"authorization", f"Bearer {KEY}".encode()), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert await counts(client, "p") == (9, 0)


async def test_codes_locked_by_others_make_the_pool_busy_and_not_exhausted(client, engine):
    await fill(engine, "p", 2)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT FROM voucher FOR UPDATE"))
        reply = await render(client, ONE, status=503)
    assert reply["type"] == "/problems/pool-busy"
    assert (await render(client, ONE))["vouchers"]


@pytest.mark.parametrize("n", [2, 5])
async def test_a_pool_with_fewer_codes_than_a_message_needs_is_exhausted_not_busy(client, engine, n):
    await fill(engine, "p", n - 1)
    for _ in range(2):  # unknown and known templates go different ways
        reply = await render(client, NEW * n, status=409)
        assert reply["type"] == "/problems/pool-exhausted"


async def test_a_released_code_is_not_sent_again_in_its_message(client, engine):
    await fill(engine, "p", 2)
    await render(client, ONE)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE assignment SET released_at = now()"))
    reply = await render(client, ONE, status=409)
    assert reply["type"] == "/problems/assignment-released"


async def test_an_assignment_and_a_message_of_one_id_share_their_code(client, engine):
    await fill(engine, "p", 9)
    body = {"customer_id": "c1", "message_id": "m1"}
    given = (await client.post("/v1/pools/p/assignments", json=body)).json()
    assert (await render(client, ONE))["rendered"] == given["code"]


async def test_another_template_for_the_same_message_goes_on_from_its_codes(client, engine):
    await fill(engine, "p", 9)
    first = (await render(client, f"{ONE} {NEW}"))["rendered"].split()
    second = (await render(client, f"{NEW} {NEW} {ONE}"))["rendered"].split()
    assert [second[2], second[0]] == first
    assert await counts(client, "p") == (6, 3)


async def test_what_is_held_for_a_campaign_is_left_to_its_messages(client, engine):
    await fill(engine, "p", 3)
    hold = await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": 2})
    assert hold.status_code == 201, hold.text
    assert (await render(client, ONE, message_id="m1"))["vouchers"]
    reply = await render(client, ONE, message_id="m2", status=409)
    assert (reply["type"], reply["campaign_status"]) == ("/problems/pool-exhausted", "enqueue_failed")
    await render(client, f"{NEW} {NEW}", message_id="m3", campaign_id="spring")
    await render(client, ONE, message_id="m4", campaign_id="spring", status=409)
    assert await counts(client, "p") == (0, 3)
