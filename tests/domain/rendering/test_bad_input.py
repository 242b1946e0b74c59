import pytest

from tests.domain.rendering.help import counts, render
from tests.factories import add_key, fill

SYNTAX = [
    ("one\n{{ 1 + }}", 2, 8),
    ("{% if %}", 1, 7),
    ("a\nb {% for x in y %}", 2, 17),
    ("{{ 'open }}", 1, 4),
    ("{% nonsense %}", 1, 4),
    ("{{ x|nofilter }}", 1, None),
    ("ok {{ a b }}", 1, 9),
]


async def test_a_syntax_error_has_its_line_and_column(client):
    for template, line, column in SYNTAX:
        reply = await render(client, template, status=422)
        assert reply["type"] == "/problems/template-error"
        assert (reply["line"], reply.get("column")) == (line, column), template


async def test_an_undefined_name_is_a_template_error_with_its_line(client, engine):
    await fill(engine, "p", 1)
    for name in ("nope", "customer.nope", "context.a.b", "campaign.nope", "vouchers.p.nope"):
        template = f"\n\n{{{{ {name} }}}}"
        reply = await render(client, template, status=422, context={"a": {}}, strict=True)
        assert (reply["type"], reply["line"]) == ("/problems/template-error", 3)
        assert "nope" in reply["detail"] or "'b'" in reply["detail"]


async def test_an_undefined_name_may_have_a_default(client):
    assert (await render(client, "{{ customer.nope|default('-') }}"))["rendered"] == "-"


@pytest.mark.parametrize("argument", ["", "fallback=['spring_sael'], default='D'"])
async def test_an_unknown_pool_is_named_with_those_nearest(client, engine, argument):
    await fill(engine, "spring_sale", 1)
    pool = "spring_sale" if argument else "spring_sael"
    reply = await render(client, f"\n{{{{ vouchers['{pool}'].assign_available({argument}) }}}}", status=404)
    assert reply["type"] == "/problems/pool-not-found"
    assert (reply["similar"], reply["line"]) == (["spring_sale"], 2)
    assert await counts(client, "spring_sale") == (1, 0)


async def test_a_count_of_an_unknown_pool_is_refused(client):
    await render(client, "{{ vouchers['nope'].count_total() }}", status=404)


async def test_a_wrong_argument_is_a_template_error(client, engine):
    await fill(engine, "p", 1)
    long = f"default='{'x' * 256}'"
    for argument in ("cached='maybe'", "cached=2", "fallback=[1]", "default=1", long, "nope=1"):
        call = f"{{{{ vouchers['p'].assign_available({argument}) }}}}"
        assert (await render(client, call, status=422))["type"] == "/problems/template-error", argument
    assert await counts(client, "p") == (1, 0)


WRONG = [
    ({"context": [1]}, ["body", "context"]),
    ({"customer": "x"}, ["body", "customer"]),
    ({"channel": "fax"}, ["body", "channel"]),
    ({"mode": "dry"}, ["body", "mode"]),
    ({"nope": 1}, ["body", "nope"]),
    ({"customer_id": ""}, ["body", "customer_id"]),
    ({"message_id": "a\0b"}, ["body", "message_id"]),
    ({"context": {"a": "\0"}}, ["body", "context"]),
]


async def test_a_wrong_body_says_where(client):
    for body, loc in WRONG:
        reply = await render(client, "x", status=422, **body)
        assert reply["type"] == "/problems/invalid-request"
        assert reply["errors"][0]["loc"] == loc


async def test_numbers_that_templates_cannot_take_are_refused(client):
    reply = await render(client, "x", status=422, context={"n": 2**70})
    assert reply["type"] == "/problems/invalid-request"


async def test_keys_like_dunders_are_data_and_nothing_else(client):
    context = {"__class__": "a", "__init__": {"__globals__": "b"}, "items": "c"}
    template = "{{ context.__class__ }} {{ context['__init__'].__globals__ }} {{ context.items }}"
    assert (await render(client, template, context=context))["rendered"] == "a b c"
    reply = await render(client, "{{ customer.a.__class__.__mro__ }}", status=422, customer={"a": {}})
    assert reply["type"] == "/problems/template-error"


async def test_rendering_needs_the_scope(client, engine):
    await add_key(engine, "k" * 32, "read")
    for path in ("/v1/render", "/v1/render/batch", "/v1/customers/c/properties/render"):
        reply = await client.post(path, json={}, headers={"Authorization": f"Bearer {'k' * 32}"})
        assert reply.status_code == 403
