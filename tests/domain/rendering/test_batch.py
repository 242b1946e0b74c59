import orjson
import pytest
from sqlalchemy import text

from tests.domain.rendering.help import counts
from tests.factories import fill

URL = "/v1/render/batch"
ONE = "{{ vouchers['p'].assign_available() }}"


def body(n, template=ONE, **more):
    recipients = [{"customer_id": f"c{i}", "message_id": f"m{i}"} for i in range(n)]
    return {"template": template, "channel": "email", "recipients": recipients} | more


async def test_a_batch_keeps_the_order_and_gives_each_a_code(client, engine):
    await fill(engine, "p", 700)
    items = (await client.post(URL, json=body(600))).json()["items"]
    assert [item["index"] for item in items] == list(range(600))
    assert [item["customer_id"] for item in items] == [f"c{i}" for i in range(600)]
    assert len({item["rendered"] for item in items}) == 600
    assert await counts(client, "p") == (100, 600)


async def test_a_batch_again_has_the_same_codes(client, engine):
    await fill(engine, "p", 2000)
    template = "{% for n in range(2) %}{{ vouchers['p'].assign_available(cached=False) }} {% endfor %}"
    first = (await client.post(URL, json=body(300, template))).json()
    assert (await client.post(URL, json=body(300, template))).json() == first
    assert await counts(client, "p") == (1400, 600)


async def test_what_a_batch_cannot_serve_is_enqueue_failed_with_an_event_each(client, engine):
    await fill(engine, "p", 400)
    items = (await client.post(URL, json=body(600))).json()["items"]
    statuses = [item["status"] for item in items]
    assert (statuses.count("rendered"), statuses.count("enqueue_failed")) == (400, 200)
    assert statuses[:250] == ["rendered"] * 250
    assert items[-1]["problem"]["type"] == "/problems/pool-exhausted"
    async with engine.connect() as connection:
        query = text("SELECT count(*) FROM event WHERE properties ->> 'status' = 'enqueue_failed'")
        assert (await connection.execute(query)).scalar_one() == 200


async def test_a_weblayer_batch_is_not_displayed_where_there_is_no_code(client, engine):
    await fill(engine, "p", 1)
    items = (await client.post(URL, json=body(2, channel="weblayer"))).json()["items"]
    assert sorted(item["status"] for item in items) == ["not_displayed", "rendered"]


async def test_one_recipients_failure_is_its_own_and_its_code_goes_to_the_next(client, engine):
    await fill(engine, "p", 2)
    template = ONE + " {{ context.name }}"
    recipients = [{"customer_id": f"c{n}", "context": {"name": n} if n != 1 else {}} for n in range(3)]
    items = (await client.post(URL, json=body(0, template, strict=True) | {"recipients": recipients})).json()[
        "items"
    ]
    assert [item["status"] for item in items] == ["rendered", "failed", "rendered"]
    assert (items[1]["problem"]["type"], items[1]["problem"]["line"]) == ("/problems/template-error", 1)
    assert await counts(client, "p") == (0, 2)


async def test_recipients_may_need_different_numbers_of_codes(client, engine):
    await fill(engine, "p", 500)
    call = "{{ vouchers['p'].assign_available(cached=False) }} "
    template = "{% for n in range(context.n) %}" + call + "{% endfor %}"
    recipients = [{"customer_id": f"c{n}", "context": {"n": n}} for n in range(20)]
    items = (await client.post(URL, json=body(0, template) | {"recipients": recipients})).json()["items"]
    assert [len(item["vouchers"]) for item in items] == list(range(20))
    assert await counts(client, "p") == (310, 190)


async def test_a_batch_streams_as_lines_of_json(client, engine):
    await fill(engine, "p", 600)
    reply = await client.post(URL, json=body(600), headers={"Accept": "application/x-ndjson"})
    assert reply.headers["content-type"] == "application/x-ndjson"
    items = [orjson.loads(line) for line in reply.text.splitlines()]
    assert [item["index"] for item in items] == list(range(600))


async def test_a_preview_batch_takes_nothing(client, engine):
    await fill(engine, "p", 5)
    items = (await client.post(URL, json=body(9, mode="preview"))).json()["items"]
    assert {item["status"] for item in items} == {"rendered"}
    assert await counts(client, "p") == (5, 0)


@pytest.mark.parametrize("others", [[], [{"customer_id": "d"}]], ids=["named", "nameless"])
async def test_the_same_message_twice_in_a_batch_is_one_message(client, engine, others):
    await fill(engine, "p", 5)
    recipient = {"customer_id": "c", "message_id": "m"}
    reply = await client.post(URL, json=body(0) | {"recipients": [recipient, recipient, *others]})
    assert reply.status_code == 200, reply.text
    items = reply.json()["items"]
    assert items[0] | {"index": 1} == items[1]
    assert len({item["rendered"] for item in items}) == 1 + len(others)
    assert await counts(client, "p") == (4 - len(others), 1 + len(others))


async def test_a_template_that_is_none_fails_the_whole_batch(client):
    reply = await client.post(URL, json=body(3, "{{"))
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/template-error")


@pytest.mark.parametrize(
    ("recipients", "loc"),
    [
        ([], ["body", "recipients"]),
        ([{"customer_id": "c"}] * 10_001, ["body", "recipients"]),
        ([{"customer_id": "c"}, {"message_id": "m"}], ["body", "recipients", 1, "customer_id"]),
        ([{"customer_id": "c", "context": "x"}], ["body", "recipients", 0, "context"]),
    ],
)
async def test_a_wrong_list_of_recipients_says_where(client, recipients, loc):
    reply = await client.post(URL, json=body(0) | {"recipients": recipients})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["loc"] == loc
