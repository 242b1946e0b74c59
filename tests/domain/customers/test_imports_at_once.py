"""Files of customers at once, in whatever order: nobody waits for the end of a file, and no two for each other."""

import asyncio
import random
import time

from app.domain.customers import files
from tests.domain.imports.packed import spreadsheet

CUSTOMERS = [f"c{n:04}" for n in range(500)]


def content(order: int) -> str:
    ids = random.Random(order).sample(CUSTOMERS, len(CUSTOMERS))
    return "id,from\n" + "".join(f"{customer_id},{order}\n" for customer_id in ids)


async def send(client, text):
    file = text if isinstance(text, bytes) else text.encode()
    return await client.post("/v1/customers/imports", files={"file": ("customers.csv", file)})


async def test_the_same_customers_in_other_orders_at_once(client):
    replies = await asyncio.gather(*(send(client, content(order)) for order in range(4)))
    assert [reply.status_code for reply in replies] == [200] * 4, [reply.text for reply in replies]
    assert {reply.json()["imported"] for reply in replies} == {len(CUSTOMERS)}
    found = (await client.get("/v1/customers/c0400")).json()["properties"]["from"]
    assert found in {"0", "1", "2", "3"}


async def test_a_change_of_one_customer_waits_for_no_file(client, monkeypatch):
    """The file stops after its first hundreds, and whoever is in it can be changed meanwhile."""
    await send(client, content(0))
    going, more, reading = asyncio.Event(), asyncio.Event(), files._next
    loop = asyncio.get_running_loop()

    def slowly(rows):
        batch = reading(rows)
        if going.is_set():
            asyncio.run_coroutine_threadsafe(more.wait(), loop).result(20)
        loop.call_soon_threadsafe(going.set)
        return batch

    monkeypatch.setattr(files, "_next", slowly)
    importing = asyncio.create_task(send(client, content(1)))
    await going.wait()
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    patches = await asyncio.gather(
        *(client.patch(f"/v1/customers/{name}", json={"properties": {"n": 1}}) for name in CUSTOMERS[::60])
    )
    assert [reply.status_code for reply in patches] == [200] * 9
    assert (await client.get("/health/ready")).status_code == 200
    assert time.monotonic() - begun < 10
    assert not importing.done()
    more.set()
    assert (await importing).json()["imported"] == len(CUSTOMERS)


async def test_changes_of_customers_while_files_come_in_are_all_kept(client):
    replies = await asyncio.gather(
        *(send(client, content(order)) for order in range(2)),
        *(
            client.patch(f"/v1/customers/{name}", json={"properties": {"n": name}})
            for name in CUSTOMERS[::60]
        ),
    )
    assert {reply.status_code for reply in replies} == {200}
    for name in CUSTOMERS[::60]:
        assert (await client.get(f"/v1/customers/{name}")).json()["properties"]["n"] == name


async def test_a_number_that_a_spreadsheet_has_cut_is_a_reject_that_says_so(client):
    figures = (await send(client, spreadsheet(["id", "card"], ["c1", 70357195000000133], ["c2", 15]))).json()
    assert (figures["imported"], figures["rejected"]) == (1, 1)
    assert "'card': a spreadsheet keeps 15 digits" in figures["rejects"][0]["reason"]
