import shlex
from urllib.parse import quote, unquote

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.rendering.confined.sandbox import Templates
from app.server.application import create_app
from app.web.snippets import literal, snippets
from tests.domain.rendering.help import render
from tests.factories import KEY, add_key, fill

ODD = [
    "spring_sale",
    "10%-off",
    "it's",
    'say"so"',
    "back\\slash",
    "a'\\",
    "{{x}}",
    "{%x%}",
    "{#x#}",
    "ü€😀",
    "$HOME`id`",
]


@pytest.mark.parametrize("pool", ODD)
async def test_snippets_work_when_pasted_whatever_the_name(client, engine, pool):
    codes = await fill(engine, pool, 5)
    lines = (await client.get(f"/v1/pools/{quote(pool, safe='')}/snippets")).json()
    shown = {
        name: (await render(client, snippet["jinja"], channel="sms", message_id=name))["rendered"]
        for name, snippet in lines.items()
    }
    assert {shown["assign"], shown["assign_without_cache"]} < set(codes)
    assert (int(shown["count_available"]), int(shown["count_total"])) == (1, 5)
    words = shlex.split(lines["assign"]["curl"])
    url = words[words.index("Authorization: Bearer $VOUCHERS_KEY") + 1]
    reply = await client.post(url, json=orjson.loads(words[-1]))
    assert reply.json()["pool"] == pool


@given(st.text(min_size=1, max_size=100).filter(lambda name: name.isprintable() and "/" not in name))
def test_any_name_is_itself_as_a_string_in_a_template(name):
    template = Templates().of(f"{{{{ {literal(name)} }}}}", autoescape=False)
    assert template.template.render({"iterations left": [9]}) == name
    url = shlex.split(snippets("http://h", name)["assign"]["curl"])[4]
    assert unquote(url.removeprefix("http://h/v1/pools/").removesuffix("/assignments")) == name


async def test_snippets_of_an_unknown_pool_are_refused(client):
    assert (await client.get("/v1/pools/nope/snippets")).status_code == 404


async def test_snippets_name_the_public_url_where_there_is_one(settings, engine):
    await add_key(engine, KEY, "read")
    await fill(engine, "p", 1)
    app = create_app(settings.model_copy(update={"public_url": "https://vouchers.example.org/api/"}))
    headers = {"Authorization": f"Bearer {KEY}", "Host": "stranger.test"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        reply = await client.get("/v1/pools/p/snippets", headers=headers)
    assert "https://vouchers.example.org/api/v1/pools/p/assignments" in reply.json()["assign"]["curl"]
    assert "stranger" not in reply.text
