"""What templates may say, and what they are told where they may not."""

from sqlalchemy import text

from tests.domain.rendering.help import FORMS, counts, render, sent
from tests.factories import fill

ONE = "{{ vouchers['p'].assign_available() }}"
LOOP = (
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}"
    "{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}"
)


UNSET = [
    ("{% if customer.first_name %}x{% else %}y{% endif %}", "y", ["customer.first_name"]),
    ("[{{ customer.address.city }}]", "[]", ["customer.address.city"]),
    ("[{{ customer.gone }}]", "[]", ["customer.gone"]),
    ("[{{ event.x }}{{ context['y'] }}]", "[]", ["event.x", "context.y"]),
    ("[{{ customer.items }}]", "[]", ["customer.items"]),
    ("{{ customer.n > 5 }}", "False", ["customer.n"]),
]


async def test_a_property_that_nobody_set_is_empty_and_listed(client):
    for template, shown, undefined in UNSET:
        for form in FORMS:
            reply = await sent(client, form, template, customer={"gone": None})
            assert (reply["rendered"], reply["undefined"]) == (shown, undefined), form
    strict = "{{ customer.nope }}"
    assert (await render(client, strict, strict=True, status=422))["type"] == "/problems/template-error"


WRONG = [
    ("{{ custmer.name }}", "customer"),
    ("{{ vouchers['p'].assign_available }}", "parentheses"),
    ("{{ 'a'.upper }}", "parentheses"),
    ("{{ now }}", "now() with parentheses"),
    ("{{ range | string }}{{ [datetime] }}", "range() with parentheses"),
    ("{% macro m() %}{% endmacro %}{{ m }}", "m() with parentheses"),
    ("{{ [1] | reverse }}", "'join' or 'list'"),
    ("{{ [1] | map('string') or 1 }}", "'join' or 'list'"),
    ("{{ cycler('a') }}", "is no text"),
    ("{{ self }}", "is no text"),
    ("{{ vouchers | length }}", "vouchers['pool']"),
    ("{% for v in vouchers %}{% endfor %}", "vouchers['pool']"),
    ("{{ 'p' in vouchers }}", "vouchers['pool']"),
    ("{{ aggregates }}", "aggregates['name']"),
    ("{% for a in aggregates %}{% endfor %}", "aggregates['name']"),
    ("{% include 'x' %}", "one text"),
    ("{{ catalogs['x'] }}", "no catalogs"),
    ("{{ segmentations['x'] }}", "no segmentations"),
    ("{{ consents.x }}", "no consents"),
    ("{{ recommendations('x') }}", "no recommendations"),
]


async def test_what_is_wrong_is_an_error_that_says_so(client, engine):
    await fill(engine, "p", 1)
    for template, said in WRONG:
        for form in FORMS:
            assert said in (await sent(client, form, template))["detail"], (form, template)
        node = {"template": f"{{}}{template}", "message_id": "m1"}
        for path in ("properties", "events"):
            reply = await client.post(f"/v1/customers/c1/{path}/render", json=node)
            assert (reply.status_code, said in reply.json()["detail"]) == (422, True), reply.text


NAMES = [
    ("{{ 0 | from_timestamp('%Y-%m-%d', 'Europe/Prague') }}", "1970-01-01"),
    ("{{ '1970-01-02' | to_timestamp }}", "86400"),
    ("{{ 'a' | md5 }}", "0cc175b9c0f1b6a831c399e269772661"),
    ("{{ 'a' | hash('md5') }}", "0cc175b9c0f1b6a831c399e269772661"),
    ("{{ ('a' | sha1)[:6] }}{{ ('a' | sha256)[:6] }}", "86f7e4ca9781"),
    ("{{ ('[1, 2]' | json_load)[1] }}", "2"),
    ("{{ 'false' | bool }}", "False"),
    ("{{ project.name }} {{ campaign.name }} {{ customer_ids.registered }}", "P C c1"),
    (LOOP, "013"),
    ("{% do 1 %}{{ {'a': 1}.items() | list }}", "[('a', 1)]"),
    ("{{ (1700000000 | datetime).strftime('%Y') }}", "2023"),
    ("{{ 'abc' | reverse }}{{ range(2) }}{{ now is defined }}", "cbarange(0, 2)True"),
    ("{{ dict(a=1) }}{{ namespace(a=1).a }}{{ [3, 1] | sort | reverse | list }}", "{'a': 1}1[3, 1]"),
    ("{% set now = 'x' %}{{ now }}{% macro m() %}y{% endmacro %}{{ m() }}", "xy"),
    ("{{ now().year > 2000 }}{{ time > 0 }}", "TrueTrue"),
]  # fmt: skip


async def test_names_of_bloomreachs_pages(client):
    context = {"project": {"name": "P"}, "campaign": {"name": "C"}}
    for template, shown in NAMES:
        assert (await render(client, template, channel="sms", context=context))["rendered"] == shown


async def test_what_a_context_fixes_is_no_function_either(client):
    """The names of functions as variables of loops over the context, which are written out."""
    template = "{% for now in context.xs %}{{ now }}{{ now ~ loop.index }}{% endfor %}"
    body = {"template": template, "channel": "sms", "context": {"xs": ["a", "b"]}, "mode": "preview"}
    body["recipients"] = [{"customer_id": f"c{n}"} for n in range(3)]
    items = (await client.post("/v1/render/batch", json=body)).json()["items"]
    assert [item["rendered"] for item in items] == ["aa1bb2"] * 3


async def test_chance_and_time_are_the_same_on_a_retry(client):
    template = "{{ range(99999) | random }} {{ range(99) | list | shuffle }} {{ now() }}"
    assert await render(client, template) == await render(client, template)
    assert await render(client, template) != await render(client, template, message_id="m2")


async def test_an_aborted_message_takes_nothing_and_an_event_says_why(client, engine):
    await fill(engine, "p", 2)
    reply = await render(client, ONE + "{% abort 'too late' %}")
    assert (reply["status"], reply["displayed"], reply["reason"]) == ("aborted", False, "too late")
    body = {"template": ONE + "{% abort %}", "channel": "email", "recipients": [{"customer_id": "c"}]}
    assert (await client.post("/v1/render/batch", json=body)).json()["items"][0]["status"] == "aborted"
    assert await counts(client, "p") == (2, 0)


CHANGED = [
    ("{% set xs = [] %}{% for i in [3, 1] %}{% do xs.append(i) %}{% endfor %}{{ xs }}", "[3, 1]"),
    ("{% set xs = [2, 1] %}{% do xs.sort() %}{% do xs.extend([9]) %}{{ xs }}", "[1, 2, 9]"),
    ("{% set xs = [2] %}{% do xs.insert(0, 7) %}{{ xs }}", "[7, 2]"),
    ("{% set xs = [1, 2, 3] %}{% do xs.remove(2) %}{{ xs.pop() }}{% do xs.reverse() %}{{ xs }}", "3[1]"),
    ("{% set d = {} %}{% do d.update({'a': 1}) %}{% do d.setdefault('b', 2) %}{{ d }}", "{'a': 1, 'b': 2}"),
    ("{% set d = dict(a=1) %}{{ d.pop('a') }}{% do d.clear() %}{{ d }}", "1{}"),
    ("{% set xs = context.xs | list %}{% do xs.append(9) %}{{ xs }}{{ context.xs }}", "[1, 2, 9][1, 2]"),
    ("{% set d = context.d.copy() %}{% do d.update(b=2) %}{{ d }}{{ context.d }}", "{'a': [1], 'b': 2}{'a': [1]}"),
    ("{% set xs = '[1]' | json_load %}{% do xs.append(2) %}{{ xs }}", "[1, 2]"),
    ("{% set xs = (context.xs + [3]) %}{% do xs.append(4) %}{{ xs | sum }}", "10"),
]  # fmt: skip


async def test_a_template_may_change_what_it_made(client):
    data = {"xs": [1, 2], "d": {"a": [1]}}
    for template, shown in CHANGED:
        assert (await render(client, template, channel="sms", context=data))["rendered"] == shown


CHANGES = [
    "context.xs.append(9)",
    "context.d.update(b=2)",
    "context.d.a.append(9)",
    "context.d['a'].clear()",
    "context.d.copy().a.append(9)",
    "(context.xs if true else []).append(9)",
    "[context.d][0].clear()",
    "customer.xs.append(9)",
    "(aggregates['last'] or context.xs).append(9)",
    "campaign.update(id='x')",
]


async def test_data_that_messages_share_is_never_changed(client):
    aggregate = {"event_type": "t", "property": "v", "function": "last"}
    await client.put("/v1/aggregates/last", json=aggregate)
    for change in CHANGES:
        body = {
            "template": "{% if context.go %}{% do "
            + change
            + " %}{% endif %}{{ context.xs }}{{ context.d }}",
            "channel": "sms",
            "context": {"xs": [1], "d": {"a": [1]}},
            "recipients": [
                {"customer_id": f"c{n}", "customer": {"xs": [1]}, "context": {"go": n == 0}} for n in range(2)
            ],
        }
        items = (await client.post("/v1/render/batch", json=body)).json()["items"]
        assert [item["status"] for item in items] == ["failed", "rendered"], change
        said = items[0]["problem"]["detail"]
        assert "changes data" in said or "change data" in said
        assert items[1]["rendered"] == "[1]{'a': [1]}"


async def test_a_code_says_until_when_it_holds(client, engine):
    await fill(engine, "p", 1)
    await fill(engine, "q", 1)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE voucher SET expires_at = '2999-12-30T23:00Z' WHERE code LIKE 'q%'")
        )
    template = (
        "{% set p, q = vouchers['p'].assign_available(), vouchers['q'].assign_available() %}"
        "{{ p.expires_at }}|{{ q.expires_at }}|{{ q.expires_at | from_timestamp('%d.%m.%Y', 'Europe/Prague') }}|"
        "{{ q | upper }}{% if not p.expires_at %} always{% endif %}"
    )
    shown = await render(client, template, mode="preview")
    first = await render(client, template)
    code = first["vouchers"][1]["code"].upper()
    assert first["rendered"] == f"|2999-12-30T23:00:00Z|31.12.2999|{code} always"
    assert (await render(client, template))["rendered"] == first["rendered"] == shown["rendered"]
