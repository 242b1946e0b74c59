"""An id that is accepted anywhere works everywhere, percent-encoded; `.` and `..` are refused."""

import string
from urllib.parse import quote

from tests.factories import fill

PRINTABLE = "".join(chr(n) for n in range(33, 127))
IDS = [
    "a/b",
    "/",
    "//",
    "a/",
    "/a",
    "a//b/../c",
    "%2F",
    "a%2Fb",
    "?a=b&c#d",
    "a+b c",
    "…ü/日本",
    *(PRINTABLE[at : at + 24] for at in range(0, len(PRINTABLE), 24)),
    string.punctuation,
]


def encoded(id_):
    return quote(id_, safe="")


async def test_an_id_of_any_characters_works_on_every_route(client, engine):
    mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
    await client.put("/v1/redemption-mapping", json=mapping)
    for id_ in IDS:
        await _works(client, engine, id_)


async def _works(client, engine, id_):
    """Use an id as a customer's, an event's, a code's, a campaign's, a message's and an aggregate's."""
    await fill(engine, "p", [id_])
    path = encoded(id_)
    given = await client.post(
        "/v1/pools/p/assignments", json={"customer_id": id_, "campaign_id": id_, "message_id": id_}
    )
    assert (given.status_code, given.json()["code"]) == (201, id_)
    customer = f"/v1/customers/{path}"
    assert (await client.patch(customer, json={"properties": {"a": 1}})).json()["id"] == id_
    assert (await client.get(customer)).json()["id"] == id_
    event = {"event_id": id_, "customer_id": id_, "event_type": "purchase", "properties": {"code": id_}}
    tracked = (await client.post("/v1/events", json={"events": [event]})).json()
    assert [(item["event_id"], item["redemption"]) for item in tracked["items"]] == [(id_, "redeemed")]
    assert [each["event_id"] for each in (await client.get(f"{customer}/events")).json()["items"]] == [id_]
    for kind, template in (("properties", '{"b": 2}'), ("events", '{"event_type": "visit"}')):
        reply = await client.post(f"{customer}/{kind}/render", json={"template": template})
        assert reply.status_code == 200, reply.text
    assert (await client.get(customer)).json()["properties"] == {"a": 1, "b": 2}
    voucher = (await client.get(f"/v1/vouchers/{path}")).json()
    assert (voucher["code"], voucher["status"], voucher["customer_id"]) == (id_, "redeemed", id_)
    for action in ("redemptions", "void"):
        reply = await client.post(f"/v1/vouchers/{path}/{action}", json={})
        assert reply.json()["type"] == "/problems/already-redeemed", reply.text
    listed = await client.get(
        "/v1/assignments", params={"customer_id": id_, "campaign_id": id_, "message_id": id_}
    )
    assert [each["code"] for each in listed.json()["items"]] == [id_]
    aggregate = {"event_type": "purchase", "property": "code", "function": "last"}
    assert (await client.put(f"/v1/aggregates/{path}", json=aggregate)).json()["name"] == id_
    assert (await client.get(f"/v1/aggregates/{path}")).json()["name"] == id_
    assert (await client.delete(f"/v1/aggregates/{path}")).status_code == 204
    erased = await client.delete(customer)
    assert (erased.status_code, erased.json()["customers"]) == (200, 1)
    assert (await client.get(customer)).status_code == 404


async def test_what_a_client_would_make_another_path_of_is_refused(client, engine):
    await fill(engine, "p", 1)
    event = {"customer_id": "c", "event_type": "purchase"}
    for id_ in (".", ".."):
        replies = [
            await client.post("/v1/pools/p/assignments", json={"customer_id": id_}),
            await client.post("/v1/events", json={"events": [event | {"customer_id": id_}]}),
            await client.post("/v1/events", json={"events": [event | {"event_id": id_}]}),
            await client.post("/v1/pools", json={"name": id_}),
        ]
        assert [reply.status_code for reply in replies] == [422] * 4, [reply.text for reply in replies]


async def test_a_name_with_a_slash_is_refused_as_it_was_written(client):
    source = {"source": {"type": "text", "text": "code\nA-1\n"}}
    reply = await client.post("/v1/pools/a%2Fb/imports", json=source)
    assert reply.status_code == 422
    assert "A pool's name has no '/'; there is one at character 2." in reply.text
    assert "named 'a/b'" in (await client.get("/v1/pools/a%2Fb")).text
