"""Messages of one new code each, which are made with one statement: whatever others do meanwhile, nothing is lost."""

import asyncio

import pytest

from app.domain.assignments.candidates import Candidates
from app.domain.lifecycle import picked
from tests.domain.rendering.help import counts, render
from tests.factories import fill

CODE = "{{ vouchers['p'].assign_available() }}"


@pytest.fixture
def taken(monkeypatch):
    """How many each statement gave that takes what was looked at."""
    given = []
    take = picked.take

    async def noted(*arguments):
        made = await take(*arguments)
        given.append(len(made))
        return made

    monkeypatch.setattr(picked, "take", noted)
    return given


@pytest.fixture
async def known(client, engine):
    """A pool, and a template of which it is known what it needs."""
    await fill(engine, "p", 20)
    await render(client, CODE, message_id="first")
    return client


async def test_a_known_template_takes_one_statement(known, taken):
    made = await render(known, CODE, message_id="m")
    assert taken == [1]
    assert made["vouchers"] == [{"pool": "p", "code": made["rendered"], "occurrence": 0}]
    assert await counts(known, "p") == (18, 2)


async def test_a_repeat_shows_what_was_given(known, taken):
    made = await render(known, CODE, message_id="m")
    again = await render(known, CODE, message_id="m")
    assert again["rendered"] == made["rendered"]
    assert taken == [1, 0]
    assert await counts(known, "p") == (18, 2)


async def test_a_repeat_of_many_at_once_shows_what_was_given(known):
    async def ask(n):
        return (await render(known, CODE, message_id=f"m{n % 4}", customer_id=f"c{n % 4}"))["rendered"]

    codes = await asyncio.gather(*(ask(n) for n in range(12)))
    assert [codes[n] for n in range(4)] * 3 == codes
    assert len(set(codes)) == 4
    assert await counts(known, "p") == (15, 5)


async def test_what_others_were_faster_with_is_not_given_twice(known, monkeypatch):
    of = Candidates.of
    faster = []

    async def taken_meanwhile(self, name, n):
        codes = await of(self, name, n)
        for code in codes:
            reply = await known.post("/v1/pools/p/assignments", json={"code": code, "customer_id": "other"})
            faster.append(reply.json()["code"])
        return codes

    monkeypatch.setattr(Candidates, "of", taken_meanwhile)
    made = await render(known, CODE, message_id="m")
    assert faster
    assert made["rendered"] not in faster
    assert await counts(known, "p") == (17, 3)


@pytest.mark.parametrize("meanwhile", ["void", "hold", "rule"])
async def test_what_happens_between_the_look_and_the_taking_counts(known, monkeypatch, meanwhile):
    of = Candidates.of

    async def changed_meanwhile(self, name, n):
        codes = await of(self, name, n)
        monkeypatch.undo()
        match meanwhile:
            case "void":
                reply = await known.post(f"/v1/vouchers/{codes[0]}/void", json={})
            case "hold":
                reply = await known.post("/v1/pools/p/holds", json={"campaign_id": "x", "count": 19})
            case "rule":
                reply = await known.patch("/v1/pools/p", json={"per_customer": {"count": 1}})
        assert reply.status_code < 300, reply.text
        return codes

    monkeypatch.setattr(Candidates, "of", changed_meanwhile)
    reply = await known.post(
        "/v1/render", json={"template": CODE, "channel": "sms", "customer_id": "c1", "message_id": "m"}
    )
    if meanwhile == "hold":
        assert reply.status_code == 409
    elif meanwhile == "rule":
        first = await render(known, CODE, message_id="first")
        assert reply.json()["rendered"] == first["rendered"]  # the customer has had all that the rule allows
    else:
        assert reply.status_code == 200
        assert await counts(known, "p") == (17, 2)


async def test_the_pool_runs_out(known, taken):
    for n in range(19):
        await render(known, CODE, message_id=f"m{n}")
    refused = await render(known, CODE, message_id="one more", status=409)
    assert refused["type"] == "/problems/pool-exhausted"
    assert await counts(known, "p") == (0, 20)
    assert sum(taken) == 19


async def test_a_message_that_fails_takes_nothing(known, taken):
    template = CODE + "{{ 1 // context.n }}"
    await render(known, template, message_id="a", context={"n": 1})
    assert (await render(known, template, message_id="b", context={"n": 0}, status=422))["line"] == 1
    assert taken == []
    assert await counts(known, "p") == (18, 2)


@pytest.mark.parametrize(
    "template",
    [
        "{{ vouchers['p'].assign_available(cached=False) }}",
        "{{ vouchers['p'].assign_available(fallback=['q']) }}",
        "{{ vouchers['p'].assign_available(default='NONE') }}",
        "{{ vouchers['p'].assign_available(valid_for=60) }}",
        "{{ vouchers['p'].assign_available().expires_at }}",
        CODE + "{{ vouchers['p'].count_available() }}",
        CODE + "{{ now() }}",
    ],
)
async def test_what_needs_more_is_the_same_on_a_repeat(known, engine, template):
    await fill(engine, "q", 3)
    for message in ("a", "b"):
        made = await render(known, template, message_id=message)
        again = await render(known, template, message_id=message)
        assert (again["rendered"], again["vouchers"]) == (made["rendered"], made["vouchers"])
    assert await counts(known, "p") == (17, 3)


async def test_stored_properties_are_in_it(known):
    template = CODE + " {{ customer.name }}"
    await known.patch("/v1/customers/c1", json={"properties": {"name": "Ada"}})
    for n in range(2):
        assert (await render(known, template, message_id=f"m{n}"))["rendered"].endswith(" Ada")


async def test_a_merged_customer_is_one_person(known, taken):
    before = await render(known, CODE, message_id="m", customer_id="b")
    reply = await known.post("/v1/customers/a/merge", json={"from": "b"})
    assert reply.status_code == 200, reply.text
    for customer in ("a", "b"):
        again = await render(known, CODE, message_id="m", customer_id=customer)
        assert again["rendered"] == before["rendered"]
    await render(known, CODE, message_id="n", customer_id="b")
    given = (await known.get("/v1/assignments", params={"message_id": "n"})).json()["items"]
    assert [each["customer_id"] for each in given] == ["a"]
    assert taken == [1, 0, 0, 0]
