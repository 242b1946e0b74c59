"""The guide's *How to use the same voucher code multiple times*, and the nodes that it is done with."""

import pytest
from sqlalchemy import text

from app.domain.rendering.renderers import RendererDiedError, Renderers
from tests.domain.rendering.help import counts, render
from tests.factories import fill

SET = "/v1/customers/c1/properties/render"
ADD = "/v1/customers/c1/events/render"
CODE = "{{ vouchers['p'].assign_available() | json }}"


async def test_first_way_a_code_kept_as_a_property_is_shown_in_every_later_campaign(client, engine):
    (code,) = await fill(engine, "p", 1)
    reply = await client.post(SET, json={"template": f'{{"voucher": {CODE}}}', "message_id": "node-1"})
    assert reply.json()["stored"] == {"voucher": code}
    for message in ("m1", "m2"):
        shown = await render(client, "Your code: {{ customer.voucher }}", message_id=message)
        assert shown["rendered"] == f"Your code: {code}"
        assert shown["vouchers"] == []
    assert await counts(client, "p") == (0, 1)


async def test_second_way_a_code_kept_in_an_event_is_shown_through_an_aggregate(client, engine):
    await fill(engine, "p", 2)
    template = (
        '{"event_type": "voucher", "properties":'
        f' {{"voucher_code": {CODE}, "type": "spring", "status": "active"}}}}'
    )
    stored = (await client.post(ADD, json={"template": template, "message_id": "node-1"})).json()["stored"]
    await client.put(
        "/v1/aggregates/last_spring_code",
        json={
            "event_type": "voucher",
            "property": "voucher_code",
            "function": "last",
            "where": {"type": "spring", "status": "active"},
        },
    )
    for message in ("m1", "m2"):
        shown = await render(client, "{{ aggregates['last_spring_code'] }}", message_id=message)
        assert shown["rendered"] == stored["properties"]["voucher_code"]
    assert await counts(client, "p") == (1, 1)


@pytest.mark.parametrize("url", [SET, ADD])
async def test_a_node_again_has_the_same_code_and_stores_nothing_twice(client, engine, url):
    await fill(engine, "p", 2)
    body = {"template": f'{{"event_type": "e", "properties": {{"v": {CODE}}}}}', "message_id": "node-1"}
    first = await client.post(url, json=body)
    assert (await client.post(url, json=body)).json() == first.json()
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM event"))).scalar_one() == (url == ADD)
    assert await counts(client, "p") == (1, 1)


@pytest.mark.parametrize("url", [SET, ADD])
async def test_a_key_of_a_node_stands_for_one_request(client, engine, url):
    await fill(engine, "p", 3)
    template = f'{{"event_type": "e", "properties": {{"v": {CODE}, "a": {{{{ context.a }}}}}}}}'
    body = {"template": template, "context": {"a": 1, "b": 2}, "campaign_id": "spring"}
    key = {"Idempotency-Key": "node"}
    first = await client.post(url, json=body, headers=key)
    again = await client.post(url, json=body | {"context": {"b": 2, "a": 1}}, headers=key)
    assert (first.status_code, again.json()) == (200, first.json())
    others = [
        (url, {"context": {"a": 2, "b": 2}}),
        (url, {"campaign_id": "autumn"}),
        (url, {"template": "{}"}),
        (url, {"strict": True}),
        (url, {"mode": "test"}),
        (url, {"message_id": "m"}),
        (url.replace("c1", "c2"), {}),
        (ADD if url == SET else SET, {}),
    ]
    for path, other in others:
        reply = await client.post(path, json=body | other, headers=key)
        assert (reply.status_code, reply.json()["type"]) == (422, "/problems/idempotency-key-reused"), other
    assert await counts(client, "p") == (2, 1)
    by_id = body | {"message_id": first.json()["message_id"], "context": {"a": 3}}
    assert (await client.post(url, json=by_id)).json() == first.json(), "a message is as it was stored"


async def test_the_key_of_a_node_that_stored_nothing_stands_for_nothing(client, engine):
    await fill(engine, "p", 0)
    key = {"Idempotency-Key": "node"}
    assert (await client.post(SET, json={"template": CODE}, headers=key)).status_code == 409
    assert (await client.post(SET, json={"template": '{"a": 1}'}, headers=key)).status_code == 200


@pytest.mark.parametrize("url", [SET, ADD])
async def test_a_node_that_ends_its_process_exceeds_a_limit_and_takes_nothing(
    client, engine, monkeypatch, url
):
    async def die(*_):
        raise RendererDiedError

    await fill(engine, "p", 1)
    monkeypatch.setattr(Renderers, "render", die)
    reply = await client.post(url, json={"template": CODE})
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/template-limit")
    assert await counts(client, "p") == (1, 0)


async def test_a_code_with_quotes_in_it_is_written_whole(client, engine):
    await fill(engine, "p", ['A"\\<B'])
    reply = await client.post(SET, json={"template": f'{{"voucher": {CODE}}}'})
    assert reply.json()["stored"] == {"voucher": 'A"\\<B'}
    assert (await render(client, "{{ customer.voucher }}", channel="sms"))["rendered"] == 'A"\\<B'


async def test_a_preview_of_a_node_stores_nothing(client, engine):
    await fill(engine, "p", 2)
    reply = await client.post(SET, json={"template": f'{{"voucher": {CODE}}}', "mode": "preview"})
    assert reply.status_code == 200
    assert (await client.get("/v1/customers/c1")).status_code == 404
    assert await counts(client, "p") == (2, 0)


OTHERWISE = [
    (SET, "no json " + CODE),
    (SET, '{"a": {{ vouchers["p"].assign_available() }}}'),
    (SET, f"[{CODE}]"),
    (SET, f'{{"a": {CODE}, "b": "\\u0000"}}'),
    (ADD, f'{{"properties": {{"v": {CODE}}}}}'),
    (ADD, f'{{"event_type": "e", "properties": [{CODE}]}}'),
    (ADD, f'{{"event_type": "e", "nope": {CODE}}}'),
    (ADD, f'{{"event_type": "e", "timestamp": {CODE}}}'),
]


async def test_a_node_that_renders_to_something_else_stores_and_takes_nothing(client, engine):
    (code, *_) = await fill(engine, "p", 2)
    for url, template in OTHERWISE:
        reply = await client.post(url, json={"template": template})
        assert (reply.status_code, reply.json()["type"]) == (422, "/problems/template-error"), template
        assert code not in reply.text
    assert await counts(client, "p") == (2, 0)
    assert (await client.get("/v1/customers/c1")).status_code == 404


async def test_a_node_whose_pool_has_run_out_stores_nothing(client, engine):
    await fill(engine, "p", 0)
    reply = await client.post(ADD, json={"template": f'{{"event_type": "e", "properties": {{"v": {CODE}}}}}'})
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/pool-exhausted")
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM event"))).scalar_one() == 0


async def test_sent_properties_go_over_stored_ones(client):
    await client.patch("/v1/customers/c1", json={"properties": {"a": 1, "b": 2}})
    reply = await render(client, "{{ customer.a }}{{ customer.b }}{{ customer.id }}", customer={"b": 3})
    assert reply["rendered"] == "13c1"
