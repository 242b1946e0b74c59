"""The table of CONTRACT.md's *Rendering*, cell by cell, and what the guide says beside it."""

from itertools import product

import pytest
from sqlalchemy import text

from tests.domain.rendering.help import counts, render
from tests.factories import fill

SENT = ("send", "test")
CHANNELS = ("email", "sms", "mms", "push", "webhook")
ONE = "{{ vouchers['p'].assign_available() }}"
NEW = "{{ vouchers['p'].assign_available(cached=False) }}"


@pytest.mark.parametrize("mode", SENT)
async def test_default_sent_one_code_per_message_customer_and_pool_however_often_called(client, engine, mode):
    codes = await fill(engine, "p", 5)
    reply = await render(client, f"{ONE} {ONE} {ONE}", mode=mode)
    first, *others = reply["rendered"].split()
    assert first in codes
    assert others == [first, first]
    assert reply["vouchers"] == [{"pool": "p", "code": first, "occurrence": 0}]
    assert await counts(client, "p") == (4, 1)


@pytest.mark.parametrize("mode", SENT)
async def test_default_sent_the_same_on_a_retry(client, engine, mode):
    await fill(engine, "p", 5)
    first = await render(client, ONE, mode=mode)
    assert await render(client, ONE, mode=mode) == first
    assert await counts(client, "p") == (4, 1)


@pytest.mark.parametrize("template", [ONE, NEW, f"{ONE} {NEW} {NEW}"])
async def test_preview_shows_a_code_always_the_same_and_takes_none(client, engine, template):
    codes = await fill(engine, "p", 5)
    first = await render(client, template, mode="preview", message_id=None)
    assert len(set(first["rendered"].split())) == 1
    assert first["rendered"].split()[0] in codes
    again = await render(client, template, mode="preview", message_id=None)
    assert again["rendered"] == first["rendered"]
    assert await counts(client, "p") == (5, 0)


async def test_uncached_sent_a_new_code_at_each_call(client, engine):
    await fill(engine, "p", 30)
    taken = 0
    for mode, argument in product(SENT, ("cached=False", "cached=false", "cached = false", "false")):
        call = f"{{{{ vouchers['p'].assign_available({argument}) }}}}"
        reply = await render(client, f"{call} {call} {call}", mode=mode, message_id=f"{mode} {argument}")
        assert len(set(reply["rendered"].split())) == 3
        assert [use["occurrence"] for use in reply["vouchers"]] == [1, 2, 3]
        taken += 3
        assert await counts(client, "p") == (30 - taken, taken)


@pytest.mark.parametrize("mode", SENT)
async def test_uncached_sent_on_a_retry_the_same_codes_in_the_same_places(client, engine, mode):
    await fill(engine, "p", 9)
    first = await render(client, f"{NEW} {ONE} {NEW} {ONE} {NEW}", mode=mode)
    assert len(set(first["rendered"].split())) == 4
    assert await render(client, f"{NEW} {ONE} {NEW} {ONE} {NEW}", mode=mode) == first
    assert await counts(client, "p") == (5, 4)


async def test_exhausted_sent_is_enqueue_failed_with_a_campaign_event_and_spends_nothing(client, engine):
    await fill(engine, "p", 1)
    for channel, mode in product(CHANNELS, SENT):
        customer = f"{channel}-{mode}"
        body = {"channel": channel, "mode": mode, "campaign_id": "spring", "customer_id": customer}
        for _ in range(2):  # a repeat is not told twice
            reply = await render(client, f"{ONE} {NEW}", status=409, **body)
            assert reply["type"] == "/problems/pool-exhausted"
            assert (reply["pool"], reply["campaign_status"]) == ("p", "enqueue_failed")
        async with engine.connect() as connection:
            query = text("SELECT * FROM event WHERE customer_id = :customer")
            (event,) = (await connection.execute(query, {"customer": customer})).all()
        assert event.event_type == "campaign"
        assert event.properties["status"] == "enqueue_failed"
        assert event.properties["campaign_id"] == "spring"
        assert event.properties["test"] == (mode == "test")
    assert await counts(client, "p") == (1, 0)


async def test_exhausted_weblayer_is_not_displayed_and_leaves_no_event(client, engine):
    await fill(engine, "p", 0)
    for mode in (*SENT, "preview"):
        reply = await render(client, ONE, channel="weblayer", mode=mode)
        assert (reply["displayed"], reply["rendered"], reply["vouchers"]) == (False, None, [])
    assert await events(engine) == 0


async def test_exhausted_preview_is_a_problem_without_an_event(client, engine):
    await fill(engine, "p", 0)
    for channel in CHANNELS:
        reply = await render(client, ONE, status=409, channel=channel, mode="preview")
        assert reply["type"] == "/problems/pool-exhausted"
    assert await events(engine) == 0


async def test_a_test_send_takes_a_code_and_the_ledger_says_that_it_was_a_test(client, engine):
    await fill(engine, "p", 2)
    await render(client, ONE, mode="test")
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT test FROM assignment"))).scalars().all() == [True]


CALLS = [
    ("{% for n in range(3) %}" + ONE + " {% endfor %}", 1),
    ("{% for n in range(3) %}" + NEW + " {% endfor %}", 3),
    ("{% macro code() %}" + NEW + "{% endmacro %}{{ code() }} {{ code() }}", 2),
    ("{% macro code() %}" + ONE + "{% endmacro %}{{ code() }} {{ code() }}", 1),
    ("{% set code = vouchers['p'].assign_available(cached=false) %}{{ code }} {{ code }}", 1),
    ("{% set code %}" + NEW + "{% endset %}{{ code }} {{ code }}", 1),
    ("{% if true %}" + NEW + "{% else %}" + NEW + NEW + "{% endif %}", 1),
    ("{% set pool = vouchers['p'] %}{{ pool.assign_available(false) }} {{ pool.assign_available() }}", 2),
    ("{{ vouchers.p.assign_available() }} " + ONE, 1),
    (ONE + " {{ vouchers['q'].assign_available() }} " + NEW, 3),
    ("{% block body %}" + ONE + "{% endblock %} {{ self.body() }}", 1),
]


async def test_calls_mean_the_same_wherever_they_stand(client, engine):
    await fill(engine, "p", 99)
    await fill(engine, "q", 9)
    for n, (template, different) in enumerate(CALLS):
        first = await render(client, template, message_id=f"m{n}")
        assert len(set(first["rendered"].split())) == different, template
        assert len(first["vouchers"]) == different
        assert await render(client, template, message_id=f"m{n}") == first


async def test_a_message_to_two_customers_has_a_code_for_each(client, engine):
    await fill(engine, "p", 5)
    one = await render(client, ONE, customer_id="c1")
    two = await render(client, ONE, customer_id="c2")
    assert one["rendered"] != two["rendered"]
    assert await render(client, ONE, customer_id="c1") == one


async def test_counts_are_those_of_the_stock(client, engine):
    await fill(engine, "p", 5)
    await render(client, ONE)
    template = "{{ vouchers['p'].count_available() }} of {{ vouchers['p'].count_total() }}"
    assert (await render(client, template, message_id=None))["rendered"] == "4 of 5"


async def test_a_fallback_serves_when_the_pool_has_run_out_and_the_reply_says_so(client, engine):
    await fill(engine, "p", 0)
    spare = await fill(engine, "spare", 1)
    template = "{{ vouchers['p'].assign_available(fallback=['empty', 'spare']) }}"
    await fill(engine, "empty", 0)
    reply = await render(client, template)
    assert reply["vouchers"] == [{"pool": "spare", "code": spare[0], "occurrence": 0}]
    await fill(engine, "p", ["late"])
    assert await render(client, template) == reply
    assert await events(engine) == 0


async def test_a_default_shows_when_all_have_run_out_and_again_on_a_retry(client, engine):
    await fill(engine, "p", 0)
    template = "{{ vouchers['p'].assign_available(default='SORRY') }} " * 2
    reply = await render(client, template)
    assert reply["rendered"] == "SORRY SORRY "
    assert reply["vouchers"] == [{"pool": None, "code": "SORRY", "occurrence": 0}]
    await fill(engine, "p", ["late"])
    assert await render(client, template) == reply
    assert (await render(client, template, message_id="m2"))["vouchers"][0]["code"] == "late"


async def test_a_fallback_is_not_touched_while_the_pool_has_codes(client, engine):
    await fill(engine, "p", 1)
    await fill(engine, "spare", 1)
    template = "{{ vouchers['p'].assign_available(fallback=['spare'], default='D') }}"
    assert (await render(client, template))["vouchers"][0]["pool"] == "p"
    assert await counts(client, "spare") == (1, 0)


async def test_a_weblayer_that_needs_two_pools_of_which_one_is_empty_takes_from_neither(client, engine):
    await fill(engine, "p", 3)
    await fill(engine, "q", 0)
    reply = await render(client, ONE + "{{ vouchers['q'].assign_available() }}", channel="weblayer")
    assert reply["displayed"] is False
    assert await counts(client, "p") == (3, 0)


async def test_html_is_escaped_where_the_channel_is_html(client):
    html, plain = ("email", "weblayer"), ("sms", "mms", "push", "webhook")
    shown = {**dict.fromkeys(html, "&lt;b&gt;"), **dict.fromkeys(plain, "<b>")}
    for channel, text_ in shown.items():
        reply = await render(client, "{{ context.name }}", channel=channel, context={"name": "<b>"})
        assert reply["rendered"] == text_


async def events(engine):
    async with engine.connect() as connection:
        return (await connection.execute(text("SELECT count(*) FROM event"))).scalar_one()
