"""Many messages of one request are rendered in slices side by side, and what those take is written meanwhile."""

import pytest

from app.api import rendering
from app.domain.rendering import rounds, service
from tests.domain.rendering.help import counts
from tests.factories import fill

URL = "/v1/render/batch"
ONE = "{{ vouchers['p'].assign_available() }}"
SOME = "{% for n in range(customer.wants) %}{{ vouchers['p'].assign_available(cached=False) }} {% endfor %}"
TWO = "{{ vouchers['q'].assign_available() }} " + ONE


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Slices of five, written ten codes at a time."""
    monkeypatch.setattr(rounds, "SLICE", 5)
    monkeypatch.setattr(rounds, "PROBE", 3)
    monkeypatch.setattr(service, "AT_A_TIME", 10)


@pytest.fixture
def written(monkeypatch):
    """How many codes each statement gives."""
    sizes: list[int] = []
    write = service.MessageVouchers.write

    async def noted(self, uses):
        sizes.append(len(uses))
        return await write(self, uses)

    monkeypatch.setattr(service.MessageVouchers, "write", noted)
    return sizes


async def send(client, n, template=ONE, wants=lambda _: 1):
    recipients = [{"customer_id": f"c{i}", "customer": {"wants": wants(i)}} for i in range(n)]
    body = {"template": template, "channel": "email", "recipients": recipients}
    reply = await client.post(URL, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()["items"]


async def test_what_slices_take_is_written_while_others_are_rendered(client, engine, written):
    await fill(engine, "p", 50)
    items = await send(client, 42)
    assert [item["customer_id"] for item in items] == [f"c{i}" for i in range(42)]
    assert len({item["rendered"] for item in items}) == 42
    assert all(item["vouchers"][0]["code"] == item["rendered"] for item in items)
    assert written == [10, 10, 10, 10, 2]
    assert await counts(client, "p") == (8, 42)
    reply = await client.get("/v1/assignments", params={"pool": "p", "limit": 100})
    given = {(row["customer_id"], row["message_id"], row["code"]) for row in reply.json()["items"]}
    assert given == {(item["customer_id"], item["message_id"], item["rendered"]) for item in items}


async def test_slices_that_want_more_than_was_thought_get_it(client, engine, written):
    await fill(engine, "p", 200)
    items = await send(client, 40, SOME, wants=lambda i: 1 if i < 10 else 4)
    codes = [code for item in items for code in item["rendered"].split()]
    assert len(set(codes)) == len(codes) == 10 + 30 * 4
    assert len(written) > 5
    assert await counts(client, "p") == (70, 130)


async def test_where_the_pool_is_short_at_last_those_who_come_first_have_codes(client, engine, written):
    """The first slices were written by then; all is undone, and made anew in the order of the recipients."""
    await fill(engine, "p", 42)
    template = SOME + "!"  # of which nobody knows yet what it asks for
    items = await send(client, 30, template, wants=lambda i: 1 if i < 20 else 4)
    assert [item["status"] for item in items] == ["rendered"] * 25 + ["enqueue_failed"] * 5
    assert written[:2] == [10, 10]
    assert await counts(client, "p") == (2, 40)


async def test_a_pool_that_is_short_from_the_beginning_gives_in_the_order(client, engine, written):
    await fill(engine, "p", 12)
    items = await send(client, 20)
    assert [item["status"] for item in items] == ["rendered"] * 12 + ["enqueue_failed"] * 8
    assert written == [12]


async def test_codes_of_several_pools_are_written_when_all_is_known(client, engine, written):
    await fill(engine, "p", 40)
    await fill(engine, "q", 40)
    items = await send(client, 30, TWO)
    assert len({item["rendered"] for item in items}) == 30
    assert written == [60]
    assert (await counts(client, "p"), await counts(client, "q")) == ((10, 30), (10, 30))


@pytest.mark.parametrize("asked", [1, 3, 4])
async def test_a_caller_who_leaves_takes_nothing_however_much_was_written(client, engine, monkeypatch, asked):
    await fill(engine, "p", 40)
    times = iter(range(100))

    async def gone(_request):
        return next(times) >= asked

    monkeypatch.setattr(rendering.Request, "is_disconnected", gone)
    recipients = [{"customer_id": f"c{i}"} for i in range(30)]
    await client.post(URL, json={"template": ONE, "channel": "email", "recipients": recipients})
    assert await counts(client, "p") == (40, 0)


async def test_one_message_that_fails_gives_its_code_back(client, engine, written):
    await fill(engine, "p", 40)
    items = await send(client, 30, ONE + "{{ 1 // customer.wants }}", wants=lambda i: int(i != 17))
    assert [i for i, item in enumerate(items) if item["status"] == "failed"] == [17]
    assert await counts(client, "p") == (11, 29)
