"""Sends that break off, or come again: the same codes, and none for nothing."""

import asyncio
import uuid

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.api import rendering
from app.domain.rendering import service
from app.domain.rendering.batch import render_one_by_one
from app.domain.rendering.renderers import RendererDiedError, Renderers
from app.domain.rendering.schemas import Channel, KeyedRequest, MessageTarget, RenderSpec, parts_of
from app.web.dependencies import held_by
from tests.domain.rendering.help import counts, render
from tests.factories import fill

BATCH = "/v1/render/batch"
ONE = "{{ vouchers['p'].assign_available() }}"
NEW = "{{ vouchers['p'].assign_available(cached=False) }}"
SORRY = "{% if vouchers['p'].count_available() > 0 %}Code " + ONE + "{% else %}Sorry{% endif %}"
ADD = "/v1/customers/{}/events/render"
SET = "/v1/customers/c1/properties/render"
CODE = "{{ vouchers['p'].assign_available() | json }}"


async def batch(client, template, n, *, key=None, lines=False, **body):
    headers = {"Idempotency-Key": key} if key else {}
    headers |= {"Accept": "application/x-ndjson"} if lines else {}
    recipients = [{"customer_id": f"c{i}"} for i in range(n)]
    body = {"template": template, "channel": "email", "recipients": recipients} | body
    reply = await client.post(BATCH, json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    if lines:
        return [orjson.loads(line) for line in reply.text.splitlines()]
    return reply.json()["items"]


@pytest.mark.parametrize("lines", [False, True])
async def test_a_keyed_batch_again_finds_everything(client, engine, lines):
    await fill(engine, "p", 900)
    first = await batch(client, ONE, 300, key="k", lines=lines)
    assert await batch(client, ONE, 300, key="k", lines=not lines) == first
    assert await counts(client, "p") == (600, 300)


async def test_a_keyed_render_again_finds_its_message(client, engine):
    await fill(engine, "p", 9)
    body = {"template": ONE, "channel": "email", "customer_id": "c1"}
    replies = [
        (await client.post("/v1/render", json=body, headers={"Idempotency-Key": key})).json()
        for key in ("k", "k", "other")
    ]
    assert replies[0] == replies[1] != replies[2]
    assert await counts(client, "p") == (7, 2)


SAME = {"template": ONE, "channel": "email"}
OTHERS = [
    {"template": NEW},
    {"parts": {"html": ONE}, "template": None},
    {"channel": "sms"},
    {"context": {"a": 1}},
    {"campaign_id": "other"},
]


async def test_a_key_of_a_render_is_refused_for_another_request(client, engine):
    await fill(engine, "p", 9)
    body = SAME | {"customer_id": "c1"}
    headers = {"Idempotency-Key": "k"}
    first = (await client.post("/v1/render", json=body, headers=headers)).json()
    for other in (*OTHERS, {"customer_id": "c2"}):
        reply = await client.post("/v1/render", json=body | other, headers=headers)
        said = reply.status_code, reply.json()["type"]
        assert said == (422, "/problems/idempotency-key-reused"), reply.text
        assert (await client.post("/v1/render", json=body, headers=headers)).json() == first
    assert await counts(client, "p") == (8, 1)


@pytest.mark.parametrize("lines", [False, True])
async def test_a_key_of_a_batch_is_refused_for_another_request(client, engine, lines):
    await fill(engine, "p", 9)
    body = SAME | {"recipients": [{"customer_id": "c1"}]}
    headers = {"Idempotency-Key": "k"} | ({"Accept": "application/x-ndjson"} if lines else {})
    first = (await client.post(BATCH, json=body, headers=headers)).text
    for other in (*OTHERS, {"recipients": [{"customer_id": "c2"}]}):
        reply = await client.post(BATCH, json=body | other, headers=headers)
        said = reply.status_code, reply.json()["type"]
        assert said == (422, "/problems/idempotency-key-reused"), reply.text
        assert (await client.post(BATCH, json=body, headers=headers)).text == first
    assert await counts(client, "p") == (8, 1)


async def test_two_requests_of_one_key_at_once_make_one_of_them(client, engine):
    await fill(engine, "p", 9)
    bodies = [SAME | {"customer_id": f"c{n % 4}"} for n in range(12)]
    headers = {"Idempotency-Key": "k"}
    replies = await asyncio.gather(
        *(client.post("/v1/render", json=body, headers=headers) for body in bodies)
    )
    assert sorted(reply.status_code for reply in replies) == [200] * 3 + [422] * 9
    assert len({reply.json()["rendered"] for reply in replies if reply.status_code == 200}) == 1
    assert await counts(client, "p") == (8, 1)


async def test_a_key_whose_request_made_nothing_may_come_with_another(client, engine):
    await fill(engine, "p", 9)
    headers = {"Idempotency-Key": "k"}
    wrong = await client.post("/v1/render", json=SAME | {"template": "{{ nope }}"}, headers=headers)
    assert wrong.status_code == 422
    assert (await client.post("/v1/render", json=SAME, headers=headers)).status_code == 200
    body = SAME | {"recipients": [{"customer_id": "c1"}]}
    for template, status in (("{{ nope }}", "failed"), (ONE, "rendered")):
        reply = await client.post(BATCH, json=body | {"template": template}, headers=headers)
        assert reply.json()["items"][0]["status"] == status


@pytest.mark.parametrize("lines", [False, True])
async def test_a_nameless_batch_takes_nothing_for_a_caller_that_has_gone(client, engine, monkeypatch, lines):
    await fill(engine, "p", 600)

    async def gone(_request):
        return True

    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    items = await batch(client, ONE, 600, lines=lines)
    assert [item["status"] for item in items] == ["failed"] * 600
    assert await counts(client, "p") == (600, 0)


@pytest.mark.parametrize("lines", [False, True])
async def test_what_a_nameless_batch_took_is_taken_back_where_the_caller_left_after_the_commit(
    client, engine, monkeypatch, lines
):
    await fill(engine, "p", 60)
    asked = []

    async def gone(_request):
        asked.append(1)
        return len(asked) > 1  # there as the first chunk is committed, gone as it is sent

    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    await batch(client, ONE, 60, lines=lines)
    assert await counts(client, "p") == (60, 0)


async def test_what_a_nameless_render_took_is_taken_back_where_the_caller_left_after_the_commit(
    client, engine, monkeypatch
):
    await fill(engine, "p", 2)
    asked = []

    async def gone(_request):
        asked.append(1)
        return len(asked) > 1

    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    await client.post("/v1/render", json=SAME)
    assert await counts(client, "p") == (2, 0)
    asked.clear()
    await client.post("/v1/render", json=SAME | {"message_id": "m"})  # this one can be named
    assert await counts(client, "p") == (1, 1)


@pytest.mark.parametrize(("failures", "status", "left"), [(1, 200, 60), (2, 503, 40)])
async def test_what_cannot_be_taken_back_is_tried_again_and_keeps_no_other(
    client, engine, monkeypatch, failures, status, left
):
    await fill(engine, "p", 60)
    monkeypatch.setattr(service, "AT_A_TIME", 20)
    release_unseen, asked, fails = service.assignments.release_unseen, [], []

    async def failing(connection, ids):
        fails.append(ids)
        if len(fails) >= 2 and ids == fails[1] and fails.count(ids) <= failures:
            raise OperationalError("UPDATE", {}, ConnectionResetError())
        await release_unseen(connection, ids)

    async def gone(_request):
        return len(asked.append(1) or asked) > 1

    monkeypatch.setattr(service.assignments, "release_unseen", failing)
    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    recipients = [{"customer_id": f"c{n}"} for n in range(60)]
    reply = await client.post(BATCH, json=SAME | {"recipients": recipients})
    assert reply.status_code == status, reply.text
    assert [len(ids) for ids in fails] == [20] * 4
    assert await counts(client, "p") == (left, 60 - left)


async def test_a_chunk_that_was_committed_for_a_request_that_is_cancelled_is_taken_back(
    app, client, engine, monkeypatch
):
    await fill(engine, "p", 90)
    committed = asyncio.Event()
    render_ = service.render

    async def slow(*arguments):
        outcomes = await render_(*arguments)
        committed.set()
        await asyncio.sleep(0.05)
        return outcomes

    spec = RenderSpec(parts_of(ONE, Channel.SMS), Channel.SMS)
    targets = [MessageTarget(f"c{n}", f"m{n}", is_new=True) for n in range(60)]
    request = KeyedRequest(uuid.uuid4(), "digest", is_first=True)
    chunks = render_one_by_one(engine, held_by(app, Renderers), spec, targets, request)
    assert len(await anext(chunks)) == 25
    monkeypatch.setattr(service, "render", slow)
    task = asyncio.create_task(anext(chunks))
    await committed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if await counts(client, "p") == (65, 25):
            break
        await asyncio.sleep(0.02)
    assert await counts(client, "p") == (65, 25)


LINES = {"Accept": "application/x-ndjson"}


async def lines_of(client, key=None, *, n=60, template=ONE):
    """Lines for customers without ids; what the head says of the key."""
    body = SAME | {"template": template, "recipients": [{"customer_id": f"c{i}"} for i in range(n)]}
    reply = await client.post(BATCH, json=body, headers=LINES | ({"Idempotency-Key": key} if key else {}))
    assert reply.status_code == 200, reply.text
    return [orjson.loads(line) for line in reply.text.splitlines()], reply.headers.get("idempotency-key")


async def test_what_is_taken_back_for_lines_is_so_though_their_request_is_cancelled(
    client, engine, monkeypatch
):
    await fill(engine, "p", 60)
    take_back, asked = service.take_back, []
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(*arguments):
        begun.set()
        await go_on.wait()
        await take_back(*arguments)
        ended.set()

    async def gone(_request):
        asked.append(1)
        return len(asked) > 2  # there as they are checked and committed, gone as they are sent

    monkeypatch.setattr(service, "take_back", slow)
    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    request = asyncio.create_task(lines_of(client, n=20))
    async with asyncio.timeout(10):
        await begun.wait()
        assert await counts(client, "p") == (40, 20)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        go_on.set()
        await ended.wait()
    assert await counts(client, "p") == (60, 0)


async def test_the_head_of_lines_tells_a_key_with_which_they_are_found_again(client, engine):
    await fill(engine, "p", 90)
    first, key = await lines_of(client)
    again, told = await lines_of(client, key)
    assert again == first
    assert told is None
    other, other_key = await lines_of(client, n=30)
    assert other_key != key
    assert not {item["rendered"] for item in other} & {item["rendered"] for item in first}
    assert await counts(client, "p") == (0, 90)


async def test_the_key_that_a_head_told_is_refused_for_another_request(client, engine):
    await fill(engine, "p", 90)
    _, key = await lines_of(client, n=2)
    body = SAME | {"recipients": [{"customer_id": "other"}]}
    reply = await client.post(BATCH, json=body, headers=LINES | {"Idempotency-Key": key})
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/idempotency-key-reused")


async def test_what_was_taken_back_is_drawn_anew_with_the_key_that_the_head_told(client, engine, monkeypatch):
    await fill(engine, "p", 60)
    asked = []

    async def gone(_request):
        asked.append(1)
        return len(asked) > 3  # there as the second chunk is committed, gone as it is sent

    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    first, key = await lines_of(client)
    assert await counts(client, "p") == (35, 25)
    monkeypatch.undo()
    again, _ = await lines_of(client, key)
    assert [item["status"] for item in again] == ["rendered"] * 60
    assert again[:25] == first[:25]
    assert len({item["rendered"] for item in again}) == 60
    assert await counts(client, "p") == (0, 60)


async def test_what_a_repeat_has_found_is_not_taken_back(client, engine, monkeypatch):
    await fill(engine, "p", 60)
    take_back = service.take_back
    late = []

    async def later(*arguments):
        late.append(arguments)

    async def gone(_request):
        return len(asked.append(1) or asked) > 1

    asked = []
    monkeypatch.setattr(service, "take_back", later)
    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    _, key = await lines_of(client, n=20)
    monkeypatch.undo()
    again, _ = await lines_of(client, key, n=20)
    for arguments in late:
        await take_back(*arguments)
    assert await counts(client, "p") == (40, 20)
    assert (await lines_of(client, key, n=20))[0] == again


async def test_a_template_that_is_wrong_is_refused_before_a_line_is_sent(client, engine):
    await fill(engine, "p", 9)
    for template in ("{% if %}", "{{ 'x' * 10**9 }}", "{% for i in range(9999) %}{{ i }}{% endfor %}" * 20):
        body = SAME | {"template": template, "recipients": [{"customer_id": "c1"}]}
        replies = [
            await client.post(BATCH, json=body, headers=headers | {"Content-Type": "application/json"})
            for headers in (LINES, {})
        ]
        assert [reply.status_code for reply in replies] == [422, 422]
        assert len({reply.json()["detail"] for reply in replies}) == 1
    assert await counts(client, "p") == (9, 0)


async def test_a_message_with_an_id_is_not_taken_back(client, engine, monkeypatch):
    await fill(engine, "p", 9)
    asked = []

    async def gone(_request):
        return len(asked.append(1) or asked) > 1

    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    recipients = [{"customer_id": "c1", "message_id": "m1"}, {"customer_id": "c2"}]
    await client.post(BATCH, json=SAME | {"recipients": recipients})
    assert await counts(client, "p") == (8, 1)
    monkeypatch.undo()
    assert (await render(client, ONE))["vouchers"]
    assert await counts(client, "p") == (8, 1)


@pytest.mark.parametrize("lines", [False, True])
async def test_a_customer_who_comes_twice_without_ids_has_one_message(client, engine, lines):
    await fill(engine, "p", 9)
    recipients = [{"customer_id": each} for each in ("a", "b", "a", "a")]
    if lines:
        items = await batch(client, ONE, 0, recipients=recipients, lines=True)
    else:
        reply = (await client.post(BATCH, json=SAME | {"recipients": recipients})).json()
        items = reply["items"]
        assert reply["repeats"] == 2
    assert [item["repeat_of"] for item in items] == [None, None, 0, 0]
    assert len({item["rendered"] for item in items}) == 2
    assert await counts(client, "p") == (7, 2)


@pytest.mark.parametrize("lines", [False, True])
async def test_counts_are_as_of_each_message_of_a_batch(client, engine, lines):
    await fill(engine, "p", 5)
    first = await batch(client, SORRY, 10, key="k", lines=lines)
    assert [item["rendered"][:4] for item in first] == ["Code"] * 5 + ["Sorr"] * 5
    assert await batch(client, SORRY, 10, key="k", lines=lines) == first
    assert await counts(client, "p") == (0, 5)


async def test_a_node_answers_with_what_it_stored(client, engine):
    await fill(engine, "p", 3)
    body = {"template": '{"n": {{ context.n }}}', "message_id": "m", "context": {"n": 1}}
    first = (await client.post(SET, json=body)).json()
    await client.patch("/v1/customers/c1", json={"properties": {"n": 9}})
    again = (await client.post(SET, json=body | {"context": {"n": 2}})).json()
    assert again == first
    assert (await client.get("/v1/customers/c1")).json()["properties"] == {"n": 9}
    other = await client.post(SET, json=body | {"template": '{"n": 3}'})
    assert other.json()["type"] == "/problems/idempotency-key-reused"


async def test_a_fixed_event_id_spends_no_code_for_the_second_customer(client, engine):
    await fill(engine, "p", 3)
    template = f'{{"event_id": "e", "event_type": "t", "properties": {{"v": {CODE}}}}}'
    assert (await client.post(ADD.format("c1"), json={"template": template})).status_code == 200
    assert (await client.post(ADD.format("c2"), json={"template": template})).status_code == 422
    assert await counts(client, "p") == (2, 1)


async def test_an_event_that_stands_with_another_time_is_not_said_to_be_stored(client):
    times = (("m1", ', "timestamp": "2026-01-01T00:00:00Z"', 200), ("m2", "", 200))
    others = (("m3", ', "timestamp": "2026-02-01T00:00:00Z"', 422), ("m4", ', "timestamp": 1767225600', 200))
    for message, time_, status in (*times, *others):
        template = f'{{"event_type": "v", "event_id": "E", "properties": {{}}{time_}}}'
        reply = await client.post(ADD.format("c1"), json={"template": template, "message_id": message})
        assert reply.status_code == status, (message, reply.text)
    (stored,) = (await client.get("/v1/customers/c1/events")).json()["items"]
    assert stored["timestamp"] == "2026-01-01T00:00:00Z"


async def test_a_node_may_store_a_list_of_events_all_or_none(client, engine):
    await fill(engine, "p", 3)
    event = f'{{"event_type": "t", "properties": {{"v": {CODE}}}, "timestamp": 1700000000}}'
    reply = await client.post(ADD.format("c1"), json={"template": f"[{event}, {event}]", "message_id": "m"})
    assert len(reply.json()["stored"]) == 2, reply.text
    await client.post(ADD.format("c2"), json={"template": f'[{event}, {{"nope": 1}}]'})
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM event"))).scalar_one() == 2


async def test_nodes_that_read_and_write_one_property_lose_no_step(client):
    template = {"template": '{"n": {{ (customer.n or 0) + 1 }}}'}
    await asyncio.gather(*(client.post(SET, json=template) for _ in range(20)))
    assert (await client.get("/v1/customers/c1")).json()["properties"] == {"n": 20}


@pytest.mark.long
async def test_a_nameless_batch_with_a_message_that_ends_its_process_is_made_in_one_transaction(
    client, engine, connection
):
    """Else what a killed service had made before that would be lost: nobody can name it."""
    await fill(engine, "p", 9)
    recipients = [{"customer_id": f"c{n}", "context": {"n": 9 if n == 2 else 1}} for n in range(5)]
    deadly = ONE + "{% set _ = 9 ** (9 ** context.n) %}"
    for mode, left in (("preview", 9), ("send", 5)):
        items = await batch(client, deadly, 5, recipients=recipients, mode=mode)
        assert [item["status"] for item in items] == ["rendered"] * 2 + ["failed"] + ["rendered"] * 2
        assert items[2]["problem"]["type"] == "/problems/template-limit"
        assert await counts(client, "p") == (left, 9 - left)
    transactions = "SELECT count(DISTINCT xmin::text) FROM assignment"
    assert (await connection.execute(text(transactions))).scalar_one() == 1


async def test_a_database_that_fails_amid_messages_made_singly_takes_none_from_those_made_before(
    client, engine, monkeypatch
):
    await fill(engine, "p", 9)
    whole, tried = service.render, []

    async def failing(engine, renderers, spec, targets, *rest, **named):
        if len(targets) > 1:
            raise RendererDiedError
        tried.append(targets[0].customer_id)
        if targets[0].customer_id == "c2":
            raise OperationalError("SELECT", {}, ConnectionResetError())
        return await whole(engine, renderers, spec, targets, *rest, **named)

    monkeypatch.setattr(service, "render", failing)
    items = await batch(client, ONE, 5, key="k")
    assert [item["status"] for item in items] == ["rendered"] * 2 + ["failed"] * 3
    assert {item["problem"]["type"] for item in items[2:]} == {"/problems/database-unavailable"}
    assert tried == ["c0", "c1", "c2"]  # each more would wait in vain as well
    assert await counts(client, "p") == (7, 2)
