"""A message that comes again, in each form of a request: single, JSON batch, NDJSON batch."""

from functools import partial

import pytest

from tests.domain.rendering.help import FORMS, counts, sent
from tests.factories import fill

ONE = "{{ vouchers['p'].assign_available() }}"
SORRY = "{% if vouchers['p'].count_available() > 0 %}Code " + ONE + "{% else %}Sorry{% endif %}"


@pytest.fixture(params=FORMS)
def send(request, client):
    """Send message m1 to customer c1 in one of the forms; return its item, or its problem."""
    return partial(sent, client, request.param)


async def test_a_retry_sees_the_count_that_the_message_saw(client, engine, send):
    await fill(engine, "p", 1)
    first = await send(SORRY)
    assert first["rendered"].startswith("Code ")
    assert await send(SORRY) == first
    assert (await send(SORRY, message_id="m2"))["rendered"] == "Sorry"


@pytest.mark.parametrize("call", ["fallback=['q']", "default='D'", "cached=False"])
async def test_a_voided_code_is_replaced_where_the_template_allows_it(client, engine, send, call):
    await fill(engine, "p", 2)
    await fill(engine, "q", 2)
    template = f"{{{{ vouchers['p'].assign_available({call}) }}}}"
    first = await send(template)
    await client.post(f"/v1/vouchers/{first['rendered']}/void")
    second = await send(template)
    assert second["rendered"] != first["rendered"]
    assert await send(template) == second


async def test_a_voided_code_is_not_sent_again(client, engine, send):
    await fill(engine, "p", 2)
    await client.post(f"/v1/vouchers/{(await send(ONE))['rendered']}/void")
    assert (await send(ONE))["type"] == "/problems/void"


async def test_what_was_given_belongs_to_its_pool(engine, send):
    await fill(engine, "p", 2)
    await fill(engine, "q", 2)
    assert (await send("{{ vouchers['q'].assign_available() }}"))["vouchers"][0]["pool"] == "q"
    chain = "{{ vouchers['p'].assign_available(fallback=['q']) }}"
    assert (await send(chain))["vouchers"][0]["pool"] == "p"


async def test_a_proof_is_not_the_message_and_another_campaign_is(client, engine, send):
    await fill(engine, "p", 3)
    proof = await send(ONE, mode="test")
    message = await send(ONE)
    assert proof["rendered"] != message["rendered"]
    assert (await send(ONE, campaign_id="non-openers"))["rendered"] == message["rendered"]
    assert await counts(client, "p") == (1, 2)


async def test_an_abort_takes_nothing(client, engine, send):
    await fill(engine, "p", 1)
    reply = await send(ONE + "{% abort 'too late' %}")
    assert reply.get("reason", reply.get("detail")) == "too late"
    assert await counts(client, "p") == (1, 0)


async def test_what_nobody_set_is_listed(send):
    assert (await send("[{{ customer.a.b }}{{ event.c }}]"))["undefined"] == ["customer.a.b", "event.c"]
    assert (await send("{{ customer.a }}", strict=True))["type"] == "/problems/template-error"
