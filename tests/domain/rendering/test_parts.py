"""Messages of several parts: one code in all of them, each escaped as it must be."""

from itertools import product

import orjson
import pytest

from tests.domain.rendering.help import counts
from tests.factories import fill

ONE = "{{ vouchers['p'].assign_available() }}"
NEW = "{{ vouchers['p'].assign_available(cached=False) }}"
NAME = "{{ customer.name }}"
FORMS = ["render", "json", "ndjson"]


async def send(client, form, parts, *, status=200, **body):
    """Send a message of parts in one of the three forms of a request; return what became of it."""
    request = {"parts": parts, "channel": "email"} | body
    recipient = {"customer_id": "c1", "message_id": "m1"}
    if "customer" in request:
        recipient["customer"] = request.pop("customer")
    if form == "render":
        reply = await client.post("/v1/render", json=request | recipient)
        assert reply.status_code == status, reply.text
        return reply.json()
    headers = {"Accept": "application/x-ndjson"} if form == "ndjson" else {}
    reply = await client.post("/v1/render/batch", json=request | {"recipients": [recipient]}, headers=headers)
    assert reply.status_code == 200, reply.text
    item = orjson.loads(reply.text) if form == "ndjson" else reply.json()["items"][0]
    return item if status == 200 else item["problem"]


@pytest.mark.parametrize("form", FORMS)
async def test_html_is_escaped_and_nothing_else_is(client, engine, form):
    await fill(engine, "p", 9)
    parts = dict.fromkeys(("subject", "preheader", "html", "text", "amp"), f"{NAME} {ONE}")
    reply = await send(client, form, parts, customer={"name": "O'Neil & <b>"})
    code = reply["vouchers"][0]["code"]
    plain = f"O'Neil & <b> {code}"
    assert reply["rendered"] is None
    assert list(reply["parts"].items()) == [
        ("subject", plain),
        ("preheader", plain),
        ("html", f"O&#39;Neil &amp; &lt;b&gt; {code}"),
        ("text", plain),
        ("amp", plain),
    ]
    assert await counts(client, "p") == (8, 1)


@pytest.mark.parametrize("form", FORMS)
async def test_the_places_of_a_part_stay_when_it_is_rendered_alone(client, engine, form):
    await fill(engine, "p", 9)
    parts = {"subject": NEW, "html": f"{NEW} {NEW}", "text": NEW}
    first = await send(client, form, parts)
    assert [use["occurrence"] for use in first["vouchers"]] == [1, 2, 3, 4]
    for name in ("text", "html", "subject"):
        alone = await send(client, form, {name: parts[name]})
        assert alone["parts"][name] == first["parts"][name]
    assert (await send(client, form, parts))["parts"] == first["parts"]
    assert await counts(client, "p") == (5, 4)


async def test_a_part_that_was_first_keeps_its_places_among_others(client, engine):
    await fill(engine, "p", 9)
    alone = await send(client, "render", {"html": f"{NEW} {NEW}"})
    whole = await send(client, "render", {"subject": f"{NEW} {NEW}", "html": f"{NEW} {NEW}", "text": ONE})
    assert whole["parts"]["html"] == alone["parts"]["html"]
    longer = await send(client, "render", {"text": ONE, "html": f"{NEW} {NEW} {NEW}", "subject": NEW})
    assert longer["parts"]["html"].split()[:2] == alone["parts"]["html"].split()
    assert longer["parts"]["subject"] == whole["parts"]["subject"].split()[0]
    assert longer["parts"]["text"] == whole["parts"]["text"]
    assert await counts(client, "p") == (3, 6)


async def test_a_template_and_the_parts_of_one_message_share_their_codes(client, engine):
    await fill(engine, "p", 9)
    body = {"template": f"{ONE} {NEW}", "channel": "sms", "customer_id": "c1", "message_id": "m1"}
    template = (await client.post("/v1/render", json=body)).json()
    assert "parts" not in template
    parts = await send(client, "render", {"subject": ONE, "text": NEW})
    assert template["rendered"] == f"{parts['parts']['subject']} {parts['parts']['text']}"


async def test_a_preview_of_parts_takes_nothing_and_shows_one_code(client, engine):
    await fill(engine, "p", 9)
    reply = await send(client, "render", {"subject": ONE, "html": NEW}, mode="preview")
    assert len(set(reply["parts"].values())) == 1
    assert reply["vouchers"][0]["preview"] is True
    assert await counts(client, "p") == (9, 0)


WRONG = [
    ("\n{{ nope }}", "template-error", 2),
    ("a\n\n{% if %}", "template-error", 3),
    ("{{ vouchers['q'].assign_available() }}", "pool-exhausted", 1),
    ("\n{% for i in range(10**6) %}{% endfor %}", "template-limit", 2),
]


async def test_an_error_names_the_part_and_its_line(client, engine):
    await fill(engine, "p", 9)
    await fill(engine, "q", 0)
    for form, (wrong, name, line) in product(FORMS, WRONG):
        status = 409 if name == "pool-exhausted" else 422
        parts = {"subject": ONE, "html": wrong, "text": ONE}
        if form != "render" and ("{% if %}" in wrong or "range" in wrong):  # the same for every recipient
            body = {"parts": parts, "channel": "email", "recipients": [{"customer_id": "c1"}]}
            reply = (await client.post("/v1/render/batch", json=body)).json()
        else:
            reply = await send(client, form, parts, status=status)
        assert (reply["type"], reply["part"], reply["line"]) == (f"/problems/{name}", "html", line)
    assert await counts(client, "p") == (9, 0)


async def test_limits_hold_over_all_parts_together(client, engine):
    await fill(engine, "p", 300)
    loop = "{% for i in range(40000) %}{% endfor %}"
    take = "{% for i in range(60) %}" + NEW + "{% endfor %}"
    print_ = "{% for i in range(9) %}{{ 'x' * 10**5 }}{% endfor %}"
    for part in (loop, take, print_, "x" * 400_000):
        parts = {"a": part, "b": part, "c": part}
        assert (await send(client, "render", parts, status=422))["type"] == "/problems/template-limit"
    assert await counts(client, "p") == (300, 0)


NEITHER = [
    {},
    {"template": "x", "parts": {"html": "x"}},
    {"parts": {}},
    {"parts": {"a b": "x"}},
    {"parts": {"html": None}},
    {"parts": {"": "x"}},
    {"parts": {f"p{n}": "x" for n in range(21)}},
]


async def test_a_message_is_either_a_template_or_parts(client):
    for body in NEITHER:
        for url, whom in (("/v1/render", {}), ("/v1/render/batch", {"recipients": [{"customer_id": "c1"}]})):
            reply = await client.post(url, json={"channel": "email"} | body | whom)
            assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request"), body


async def test_chance_and_time_in_parts_are_the_same_on_a_retry(client):
    parts = {"subject": "{{ range(99999) | random }}", "html": "{{ range(99999) | random }} {{ now() }}"}
    first = await send(client, "render", parts)
    assert await send(client, "render", parts) == first
    assert (await send(client, "render", {"html": parts["html"]}))["parts"]["html"] == first["parts"]["html"]
