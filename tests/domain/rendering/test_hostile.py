"""Templates that would stop the service, or lead out of the sandbox: each a problem, and takes no code."""

import asyncio

import pytest
from sqlalchemy import text

from app.domain.rendering import rounds
from app.platform.settings import Settings
from tests.domain.rendering.help import FORMS, counts, render, sent
from tests.factories import fill

TAKE = "{{ vouchers['p'].assign_available(cached=False) }}"
MEMORY = [
    "{{ 'x' * 10**9 }}",
    "{{ '%0999999999d'|format(1) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '{:0999999999}'.format(1) }}",
    "{{ 'x'|center(10**9) }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x'|indent(10**9, true) }}",
    "{{ [0] * 10**9 }}",
    "{{ ('x' * 10**6)|replace('x', 'y' * 10**6) }}",
    "{{ 'x' * 10**7 ~ ('x' * 10**9) }}",
    "{{ ('x,' * 10**8).split(',')|length }}",
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s=[0]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% macro f(n) %}{{ f(n - 1) ~ f(n - 1) if n else 'x' * 1000 }}{% endmacro %}{{ f(18) }}",
    "{{ range(10**5)|list|join('x' * 10**5) }}",
    "{{ (range(10**5) | list * 10**5) | shuffle }}",
    "{{ 'x'|wordwrap(1, wrapstring='y' * 10**9) }}",
    "{% set xs = ['x' * 10**4] %}{% for i in range(99) %}{% do xs.extend(xs) %}{% endfor %}",
    "{% set xs = [] %}{% do xs.extend(range(10**5)) %}{% for i in range(9**5) %}{% do xs.extend(xs) %}{% endfor %}",
]
TIME = [
    "{% set xs = range(10**5) | list %}{% for i in range(10**5) %}{% do xs.insert(0, i) %}{% endfor %}",
    "{% set xs = [1] %}{% for i in range(99999) %}{% do xs.append(i) %}{% do xs.reverse() %}{% endfor %}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ (9**99999)**999 % 7 }}",
    "{{ range(10**5)|map('string')|map('center', 10**5)|map('length')|sum }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% set ns = namespace(n=3) %}{% for i in range(40) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "{{ ('www.' * 500000)|urlize }}{{ ('<' * 3000000)|striptags|length }}{{ ('(' * 10**6)|urlize }}",
    "{% for i in range(10**4) %}{% set x = range(10**5)|list|sort|unique|list %}{% endfor %}",
    "{% for i in range(10**5) recursive %}{{ loop(range(10**5)) }}{% endfor %}",
    "{% set n = namespace(s='a' * 10**6) %}{% for i in range(999) %}{% set n.s = n.s|title %}{% endfor %}",
    "{{ range(10**5)|map('batch', 1)|list }}{{ 'x'|batch(10**9, 'y')|list }}{{ 'x'|slice(10**9)|list }}",
]
COUNT = [
    "{% set xs = [1] %}{% for x in xs %}{% do xs.append(x) %}{% endfor %}",
    "{% for i in range(10**6) %}{% endfor %}",
    "{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}",
    "{% for i in range(60000) %}{% endfor %}{% for i in range(60000) %}{% endfor %}",
    "{% macro f() %}{% for i in range(9999) %}{% endfor %}{% endmacro %}" + "{{ f() }}" * 20,
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{% for i in range(500) %}" + TAKE + "{% endfor %}",
    "{% for i in range(99) %}{{ 'x' * 10**5 }}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "-" * 20000 + "1 }}",
    "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
    "x" * 2 * 1024**2,
]
ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__')|attr('__mro__') }}",
    "{{ vouchers.__init__.__globals__ }}",
    "{{ vouchers['p']._name }}",
    "{{ vouchers['p'].assign_available.__func__.__globals__ }}",
    "{{ aggregates._message }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ range.__self__ }}",
    "{{ '{0.__class__}'.format(vouchers) }}",
    "{{ '{0._name}'.format(vouchers['p']) }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(vouchers) }}",
    "{{ context.update({'a': 1}) }}",
    "{{ customer.clear() }}",
    "{{ lipsum() }}",
    "{{ lipsum.__globals__ }}",
    "{% include 'x' %}",
    "{% import 'x' as x %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{{ 'message being rendered' | attr('__class__') }}",
    "{{ (1).__class__ }}{{ x|counted }}",
    "{{ context.x.append(1) }}{{ [].__class__ }}",
    "{% do ([] | attr('append'))(1) %}",
    "{% set f = [].append %}{% do f(1) %}",
    "{% do [].append.__self__ %}",
    "{% do {}.__setitem__('a', 1) %}",
    "{% do [].sort(key=''.format.__class__) %}",
    "{% do vouchers.update({'p': 1}) %}",
    "{% do {'a': 1}.fromkeys([1]) %}",
    "{% set x = vouchers['p'].assign_available() %}{{ x.expires_at.__class__ }}",
    "{% set x = vouchers['p'].assign_available() %}{{ x.expires_at.mro }}{{ x.__slots__ }}",
    "{{ now.__globals__ }}{{ time }}",
    "{{ now().__class__ }}",
    "{{ qr.__globals__ }}",
    "{{ datetime.__globals__ }}",
    "{{ customer.nope.__class__.__mro__ }}",
    "{{ customer.nope._note }}",
    "{{ ('[' * 5000) | json_load }}",
    "{{ 0 | from_timestamp('%Y', '../../etc/passwd') }}",
    "{{ ('x' * 10**4) | qr }}",
    "{{ 'x' | qr(scale=10**9) }}",
    "{{ 'called method' | attr('__class__') }}",
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"template_seconds": 0.2, "template_memory_bytes": 256 * 1024**2})


@pytest.mark.parametrize("template", [*MEMORY, *TIME, *COUNT], ids=lambda template: template[:50])
async def test_a_template_beyond_a_limit_is_stopped_and_takes_nothing(client, engine, template):
    await fill(engine, "p", 300)
    reply = await render(client, TAKE + template, status=422)
    assert reply["type"] == "/problems/template-limit"
    assert await counts(client, "p") == (300, 0)
    assert (await render(client, "still {{ 'here' }}"))["rendered"] == "still here"


async def test_what_leads_out_of_the_sandbox_is_a_template_error(client, engine):
    await fill(engine, "p", 3)
    for template in ESCAPES:
        reply = await render(client, TAKE + "\n" + template, status=422)
        assert (reply["type"], reply["line"]) == ("/problems/template-error", 2), template
        assert await counts(client, "p") == (3, 0), template


async def test_a_pool_that_is_passed_over_again_and_again_is_kept_once(client, engine, connection):
    await fill(engine, "p", 1)
    await fill(engine, "none", 0)
    call = "{{ vouchers['none'].assign_available(fallback=['p']) }}"
    await render(client, "{% for n in range(999) %}" + call + "{% endfor %}")
    seen = (await connection.execute(text("SELECT seen FROM message_seen"))).scalars().all()
    assert [each["passed"] for each in seen] == [[["none", 0]]]


async def test_names_that_nobody_set_count_as_output(client):
    template = "{% set long = 'x' * 10**5 %}{% for n in range(99) %}{{ customer[long ~ n] }}{% endfor %}"
    reply = await render(client, template, status=422)
    assert (reply["type"], "'undefined'" in reply["detail"]) == ("/problems/template-limit", True)


async def test_what_the_service_makes_of_a_template_cannot_be_named_in_it(client):
    """Such as the count of loops, from which a template could take what it has counted."""
    for name in ("counted turns", "counted loop", "called method", "printed name", "json in a script"):
        reply = await render(client, f"{{{{ [-(10**9)] | map('{name}') | list }}}}", status=422)
        assert (reply["type"], reply["detail"]) == ("/problems/template-error", f"No filter named '{name}'.")


HALVES = [
    "{{ vouchers['\\ud800'].assign_available() }}",
    "{{ vouchers['p'].assign_available(fallback=['\\ud800']) }}",
    "{% set _ = vouchers['p'].assign_available(default='\\ud800') %}",
    "{{ aggregates['\\ud800'] }}",
    "{{ customer['\\ud800'] }}",
    "{{ context.x['\\ud800'].y }}",
    "{{ project['\\ud800'] }}",
    "{{ '\\ud800' | json_load }}",
    "{{ 'x' | from_timestamp(timezone='\\ud800') }}",
    "{{ '%c' % 55296 }}",
    "{{ vouchers['\\0'].assign_available() }}",
    "{{ aggregates['a\\0'] }}",
]


async def test_what_is_no_text_fails_its_own_message_and_says_so(client, engine):
    await fill(engine, "p", 30)
    for template in HALVES:
        reply = await render(client, TAKE + template, status=422)
        assert reply["type"] == "/problems/template-error", (template, reply)
        recipients = [{"customer_id": f"c{n}", "message_id": "m", "context": {"n": n}} for n in range(6)]
        only = f"{{% if context.n < 4 %}}{template}{{% endif %}}here"
        body = {"template": only, "channel": "sms", "recipients": recipients}
        items = (await client.post("/v1/render/batch", json=body)).json()["items"]
        assert [item["status"] for item in items] == ["failed"] * 4 + ["rendered"] * 2, template
    assert await counts(client, "p") == (30, 0)
    reply = await render(client, "{% abort '\\ud800\\0' %}")
    assert (reply["status"], reply["reason"]) == ("aborted", "??")


FILTERS = [
    "from_timestamp", "to_timestamp", "datetime", "hash", "md5", "sha1", "sha256", "json_load", "shuffle", "bool",
    "random", "qr", "json",
]  # fmt: skip
EACH = {
    "memory": "{{ ('x' * 10**9) | NAME }}{{ ([0] * 10**9) | NAME }}",
    "time": "{% for i in range(10**5) %}{% set _ = ('1' * 10**5) | NAME %}{% set _ = range(9**4) | NAME %}{% endfor %}",
    "arguments": "{{ '1' | NAME('%Y' * 10**8, 10**9) }}{{ '1' | NAME(format='x' * 10**9) }}",
    "attributes": "{{ ('1' | NAME).__class__.__mro__ }}{{ ('1' | NAME)['__globals__'] }}",
    "function": "{{ NAME.__globals__ }}{{ self.NAME }}",
}


@pytest.mark.long
@pytest.mark.parametrize("name", FILTERS)
async def test_each_filter_of_ours_keeps_the_limits(client, engine, name):
    """Whatever it is given, however often, whatever is asked of what it gives: a problem, at once, and no code."""
    await fill(engine, "p", 3)
    for kind, template in EACH.items():
        for form in FORMS:
            reply = await sent(client, form, TAKE + template.replace("NAME", name))
            assert reply.get("type") in {"/problems/template-limit", "/problems/template-error"}, (
                kind,
                form,
                reply,
            )
            if form == "render" and kind == "time":
                break  # the limit is the same in each form, and each costs its time
    assert await counts(client, "p") == (3, 0)
    assert (await render(client, "{{ '1' | upper }}"))["rendered"] == "1"


async def test_while_hostile_templates_render_other_requests_are_answered(client, engine):
    await fill(engine, "p", 30)
    endless = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    hostile = [asyncio.create_task(render(client, endless, status=422)) for _ in range(20)]
    answered = 0
    while not any(task.done() for task in hostile):
        reply = await client.post("/v1/pools/p/assignments", json={})
        answered += reply.status_code == 201
        if answered == 30:
            break
    assert answered > 0
    assert {reply["type"] for reply in await asyncio.gather(*hostile)} == {"/problems/template-limit"}


async def test_what_a_batch_holds_in_memory_is_bounded(client, engine, monkeypatch):
    """One without ids is made as a whole, and refused where that is too long; others are answered as they are made."""
    await fill(engine, "p", 300)
    recipients = [{"customer_id": f"c{n}"} for n in range(5)]
    body = {"template": TAKE + "{{ 'x' * 10**6 }}", "channel": "email", "recipients": recipients}
    monkeypatch.setattr(rounds, "MOST", 4)
    reply = await client.post("/v1/render/batch", json=body)
    assert (reply.status_code, "together" in reply.text) == (422, True), reply.text[:300]
    assert await counts(client, "p") == (300, 0)
    monkeypatch.setattr(rounds, "MOST", 5)
    assert (await client.post("/v1/render/batch", json=body)).json()["items"][4]["status"] == "rendered"
    body |= {"template": TAKE, "recipients": [{"customer_id": "c", "message_id": str(n)} for n in range(260)]}
    reply = await client.post("/v1/render/batch", json=body)
    assert "content-length" not in reply.headers
    found = reply.json()
    assert [item["index"] for item in found["items"]] == list(range(260))
    assert found["repeats"] == 0


async def test_one_recipients_hostile_properties_fail_that_recipient_only(client, engine):
    await fill(engine, "p", 30)
    reply = await client.post(
        "/v1/render/batch",
        json={
            "template": "{{ 9 ** (9 ** context.n) % 7 }} " + TAKE,
            "channel": "email",
            "recipients": [{"customer_id": f"c{n}", "context": {"n": 9 if n == 4 else 1}} for n in range(8)],
        },
    )
    items = reply.json()["items"]
    assert [item["status"] for item in items] == ["rendered"] * 4 + ["failed"] + ["rendered"] * 3
    assert items[4]["problem"]["type"] == "/problems/template-limit"
    assert await counts(client, "p") == (23, 7)


@pytest.mark.long
async def test_a_batch_that_is_slow_for_everybody_is_given_up_soon(client, engine):
    await fill(engine, "p", 300)
    slow = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    recipients = [{"customer_id": f"c{n}"} for n in range(300)]
    body = {"template": TAKE + slow, "channel": "email", "recipients": recipients}
    reply = await client.post("/v1/render/batch", json=body)
    assert (reply.status_code, reply.json().get("type")) == (422, "/problems/template-limit"), reply.text[
        :300
    ] or {str(item["problem"])[:300] for item in reply.json()["items"]}
    assert await counts(client, "p") == (300, 0)


async def test_a_number_is_of_a_template_or_is_refused_when_it_comes(client):
    for n, (number, status) in enumerate([(2**64 - 1, 200), (-(2**63), 200), (2**64, 422), (2**70, 422)]):
        reply = await client.patch(f"/v1/customers/c{n}", json={"properties": {"n": number}})
        assert reply.status_code == status, reply.text
    body = {"template": "{{ customer.n }}", "channel": "sms"}
    body["recipients"] = [{"customer_id": "c0"}, {"customer_id": "c1"}]
    items = (await client.post("/v1/render/batch", json=body)).json()["items"]
    assert [item["rendered"] for item in items] == [str(2**64 - 1), str(-(2**63))]
