"""What messages say, and what they say again, in each form of a request: single, JSON batch, NDJSON batch.

Each form has customers and pools of its own, so that one service serves them all.
"""

from urllib.parse import parse_qs, urlsplit

import html5lib
import orjson
import pytest
import segno

from tests.domain.rendering import help as common
from tests.factories import fill

CALL = "vouchers['p'].assign_available()"
ONE = "{{ " + CALL + " }}"
NEW = "{{ vouchers['p'].assign_available(cached=False) }}"
OF_Q = "{{ vouchers['q'].assign_available() }}"
CHAIN = "{{ vouchers['p'].assign_available(fallback=['q']) }}"
SORRY = "{% if vouchers['p'].count_available() > 0 %}Code " + ONE + "{% else %}Sorry{% endif %}"


class Form:
    """Sends messages in one form of a request; `p` and `q` in a template stand for its own pools."""

    def __init__(self, client, engine, name):
        self.client, self.engine, self.name = client, engine, name
        self.customer = f"c-{name}"

    def pool(self, name):
        return f"{name}-{self.name}"

    async def fill(self, name, codes):
        return await fill(self.engine, self.pool(name), codes)

    async def counts(self, name):
        return await common.counts(self.client, self.pool(name))

    async def send(self, template, **body):
        """Send message m1; return its item, or its problem."""
        if isinstance(template, dict):
            body["parts"] = {part: self._own(text) for part, text in template.items()}
            template = None
        body = {"customer_id": self.customer} | body
        return await common.sent(self.client, self.name, template and self._own(template), **body)

    def _own(self, template):
        return template.replace("['p']", f"['{self.pool('p')}']").replace("['q']", f"['{self.pool('q')}']")


@pytest.fixture
def forms(client, engine):
    return [Form(client, engine, name) for name in common.FORMS]


async def test_a_retry_sees_the_count_that_the_message_saw(forms):
    for form in forms:
        await form.fill("p", 1)
        first = await form.send(SORRY)
        assert first["rendered"].startswith("Code ")
        assert await form.send(SORRY) == first
        assert (await form.send(SORRY, message_id="m2"))["rendered"] == "Sorry"


async def test_a_count_before_and_after_a_draw_differs_by_one_and_so_on_a_retry(forms):
    count = "{{ vouchers['p'].count_available() }}"
    for form in forms:
        await form.fill("p", 5)
        first = await form.send(f"{count} {ONE} {count} {NEW} {count}")
        assert first["rendered"].split()[::2] == ["5", "4", "3"]
        assert await form.send(f"{count} {ONE} {count} {NEW} {count}") == first


async def test_a_voided_code_is_replaced_where_the_template_allows_it(client, forms):
    for form in forms:
        await form.fill("p", 8)
        await form.fill("q", 4)
        for call, shown in (
            ("fallback=['q']", "q"),
            ("default='D'", "D"),
            ("cached=False", "p"),
            ("fallback=['q'], default='D'", "q"),
        ):
            template = f"{{{{ vouchers['p'].assign_available({call}) }}}}"
            first = await form.send(template, message_id=call)
            await client.post(f"/v1/vouchers/{first['rendered']}/void")
            second = await form.send(template, message_id=call)
            assert second["rendered"] != first["rendered"]
            assert second["rendered"].startswith(shown)
            assert await form.send(template, message_id=call) == second


async def test_a_voided_code_is_not_sent_again(client, forms):
    for form in forms:
        await form.fill("p", 2)
        await client.post(f"/v1/vouchers/{(await form.send(ONE))['rendered']}/void")
        assert (await form.send(ONE))["type"] == "/problems/void"


async def test_what_was_given_belongs_to_its_pool(forms):
    for form in forms:
        await form.fill("p", 2)
        await form.fill("q", 2)
        for n, templates in enumerate(((OF_Q, CHAIN), (CHAIN, OF_Q))):
            shown = {each: await form.send(each, message_id=f"m{n}") for each in templates}
            assert shown[OF_Q]["vouchers"][0]["pool"] == form.pool("q")
            assert shown[CHAIN]["vouchers"][0]["pool"] == form.pool("p")
            assert await form.send(CHAIN, message_id=f"m{n}") == shown[CHAIN]


async def test_a_fallbacks_code_is_the_messages_code_of_that_pool(forms):
    for form in forms:
        await form.fill("p", 0)
        await form.fill("q", 2)
        chain, alone = await form.send(CHAIN), await form.send(OF_Q)
        given = {"pool": form.pool("q"), "code": chain["rendered"], "occurrence": 0}
        assert alone["vouchers"] == chain["vouchers"] == [given]
        assert await form.counts("q") == (1, 1)


async def test_a_proof_is_not_the_message_and_another_campaign_is(forms):
    for form in forms:
        await form.fill("p", 3)
        proof = await form.send(ONE, mode="test")
        message = await form.send(ONE)
        assert proof["rendered"] != message["rendered"]
        assert (await form.send(ONE, campaign_id="non-openers"))["rendered"] == message["rendered"]
        assert await form.counts("p") == (1, 2)


async def test_a_proof_that_was_released_does_not_keep_its_message_back(client, forms):
    for form in forms:
        await form.fill("p", 1)
        await form.send(ONE, mode="test")
        tests = {"test": True, "pool": form.pool("p")}
        (proof,) = (await client.get("/v1/assignments", params=tests)).json()["items"]
        await client.post(f"/v1/assignments/{proof['id']}/release")
        assert (await form.send(ONE))["rendered"] == proof["code"]


async def test_an_abort_takes_nothing_and_an_event_says_why(client, forms):
    for form in forms:
        await form.fill("p", 1)
        reply = await form.send(ONE + "{% abort 'too late' %}")
        assert reply.get("reason", reply.get("detail")) == "too late"
        assert await form.counts("p") == (1, 0)
        (event,) = (await client.get(f"/v1/customers/{form.customer}/events")).json()["items"]
        told = event["event_type"], event["properties"]["status"], event["properties"]["reason"]
        assert told == ("campaign", "aborted", "too late")


async def test_what_nobody_set_is_listed(forms):
    for form in forms:
        undefined = (await form.send("[{{ customer.a.b }}{{ event.c }}]"))["undefined"]
        assert undefined == ["customer.a.b", "event.c"]
        strict = await form.send("{{ customer.a }}", strict=True)
        assert strict["type"] == "/problems/template-error"


async def test_a_misspelt_name_is_an_error_with_its_line_and_the_nearest(engine, forms):
    await fill(engine, "summer", 1)
    for form in forms:
        for template, said in (
            ("{{ vouchers['summre'].assign_available() }}", "summer"),
            ("{{ vouchers['summer'].assign_availabel() }}", "assign_available"),
            ("{{ vouchers['summer'].count_avialable }}", "count_available"),
            ("{{ custmer.name }}", "customer"),
            ("{{ 'a'.uper() }}", "upper"),
            ("{{ 'a' | uper }}", "upper"),
            ("{{ 'a' is defind }}", "defined"),
        ):
            reply = await form.send(f"\n{template}")
            assert said in f"{reply['detail']} {reply.get('similar')}"
            assert reply["line"] == 2


async def test_other_ways_to_write_an_argument(forms):
    for form in forms:
        await form.fill("p", 3)
        await form.fill("q", 1)
        for argument in ("cached=0", "fallback='q'", "default=''"):
            template = f"{{{{ vouchers['p'].assign_available({argument}) }}}}".replace(
                "'q'", f"'{form.pool('q')}'"
            )
            shown = await form.send(template, message_id=argument)
            assert shown["vouchers"][0]["pool"] == form.pool("p")


async def test_what_is_stored_can_be_shown(client, forms):
    await client.put("/v1/aggregates/last", json={"event_type": "t", "property": "v", "function": "last"})
    stored = {"id": "other", "large": 1e19, "long": 2**64 - 1, "low": -(2**63), "gone": None}
    template = (
        "{{ customer.id }} {{ customer.large }} {{ customer.long }} {{ customer.low }}"
        " {{ aggregates['last'] | json }} [{{ aggregates['last'] }}{{ customer.gone }}]"
    )
    for form in forms:
        customer = f"/v1/customers/{form.customer}"
        assert (await client.patch(customer, json={"properties": {"large": 1e308}})).status_code == 422
        assert (await client.patch(customer, json={"properties": stored})).status_code == 200
        reply = await form.send(template)
        assert reply["rendered"] == f"{form.customer} 10000000000000000000 {2**64 - 1} {-(2**63)} null []"
        assert reply["undefined"] == ["aggregates.last", "customer.gone"]


async def test_the_one_template_of_an_email_is_html(forms):
    for form in forms:
        shown = await form.send("{{ customer.name }}", channel="email", customer={"name": "O'Neil <b>"})
        assert shown["rendered"] == "O&#39;Neil &lt;b&gt;"


HOSTILE = [
    '"', "'", "</script><b>", "<!--<script>", "&quot;", "&#34;", 'a\\"b', '" onload="x', "' onload='x", "\u2028", "]]>",
    "`", {'"><b>': ["</p>", "'"]},
]  # fmt: skip


async def test_json_stays_in_text_attribute_and_script(forms):
    template = (
        "{% for v in customer.said %}<p data-x=\"{{ v | json }}\" data-y='{{ v | json }}'>{{ v | json }}</p>"
        "<script>{{ v | json }}</script>{% endfor %}"
    )
    for form in forms:
        html = (await form.send(template, channel="email", customer={"said": HOSTILE}))["rendered"]
        elements = list(html5lib.parse(html, namespaceHTMLElements=False).find("body"))
        assert [element.tag for element in elements] == ["p", "script"] * len(HOSTILE)
        for paragraph, script, value in zip(elements[::2], elements[1::2], HOSTILE, strict=True):
            assert (sorted(paragraph.attrib), len(paragraph)) == (["data-x", "data-y"], 0)
            for written in (*paragraph.attrib.values(), paragraph.text, script.text):
                assert orjson.loads(written) == value


async def test_a_code_in_a_link_and_as_a_picture(forms):
    template = (
        f'<a href="https://shop.test/?code={{{{ {CALL} | urlencode }}}}&x=1"></a>'
        f'<img src="{{{{ {CALL} | qr }}}}">{{{{ qr({CALL}, img=true) }}}}'
    )
    for form in forms:
        code = f'A&B="1"/<é>+ {form.name}'
        await form.fill("p", [code])
        html = (await form.send(template, channel="email"))["rendered"]
        link, picture, whole = html5lib.parse(html, namespaceHTMLElements=False).find("body")
        assert parse_qs(urlsplit(link.attrib["href"]).query) == {"code": [code], "x": ["1"]}
        drawn = segno.make(code, micro=False).svg_data_uri(scale=4)
        assert picture.attrib == {"src": drawn}
        assert whole.attrib == {"src": drawn, "alt": code}


async def test_a_preview_marks_each_code_and_may_show_a_sample(forms):
    parts = {"html": ONE, "text": NEW}
    for n, form in enumerate(forms):
        code = f"Ab-1{n}"
        await form.fill("p", [code])
        for what in (ONE, parts):
            for preview_code, shown in (("next", code), ("sample", "Xx-00")):
                reply = await form.send(what, mode="preview", preview_code=preview_code)
                assert {use["code"]: use["preview"] for use in reply["vouchers"]} == {shown: True}
                texts = [reply["rendered"]] if what is ONE else reply["parts"].values()
                assert set(texts) == {shown}
        assert await form.counts("p") == (1, 0)
        given = await form.send(ONE)
        assert given["vouchers"] == [{"pool": form.pool("p"), "code": code, "occurrence": 0}]
        again = await form.send(parts, mode="preview", preview_code="sample")
        assert again["type"] == "/problems/pool-exhausted"
        assert (await form.send(ONE, mode="preview"))["rendered"] == code
