"""An order that is cancelled takes back one use; a code of which a use stands stays redeemed."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from sqlalchemy import text

from app.domain.changes import service as changes
from app.domain.customers.events import NewEvent
from app.domain.lifecycle import check
from app.domain.redemptions import queries
from app.domain.tracking import service as tracking
from tests.factories import fill, new_event

START = datetime.now(UTC) + timedelta(days=1)
USES_AND_REFUNDS = [
    {"event_type": "purchase", "property": "code"},
    {"event_type": "refund", "property": "code", "effect": "cancel"},
]


@pytest.fixture(autouse=True)
async def mapped(client):
    reply = await client.put("/v1/redemption-mapping", json={"mappings": USES_AND_REFUNDS})
    assert reply.status_code == 200


@pytest.fixture(autouse=True)
async def nothing_is_broken(client, engine):
    yield
    async with engine.begin() as connection:
        assert await check.violations(connection) == []


def event(what, code, minute=0, event_id=None):
    """What `use anna` or `cancel bob` says, so many minutes after the start."""
    kind, customer = what.split()
    event_type = {"use": "purchase", "cancel": "refund"}[kind]
    at = START + timedelta(minutes=minute)
    if event_id is None:
        return new_event(customer, event_type, {"code": code}, at)
    return NewEvent(event_id, customer, event_type, {"code": code}, at)


async def tell(engine, *events):
    return [one.redemption for one in await tracking.track_all(engine, events)]


async def given(client, customer="anna", **more):
    reply = await client.post("/v1/pools/p/assignments", json={"customer_id": customer, **more})
    return reply.json()


async def status(client, code):
    return (await client.get(f"/v1/vouchers/{code}")).json()["status"]


# What anna holds is used and cancelled, minute by minute; what becomes of each, and of the code.
STORIES = [
    (["use anna", "cancel anna"], ["cancelled", "cancelled"], "assigned"),
    (["cancel anna", "use anna"], ["not_redeemed", "redeemed"], "redeemed"),
    (["use anna", "cancel bob"], ["redeemed", "not_redeemed"], "redeemed"),
    (["use anna", "use anna", "cancel anna"], ["redeemed", "cancelled", "cancelled"], "redeemed"),
    (["use anna", "cancel anna", "use anna"], ["cancelled", "cancelled", "redeemed"], "redeemed"),
    (["use anna", "cancel anna", "cancel anna"], ["cancelled", "cancelled", "not_redeemed"], "assigned"),
    (["use anna", "use bob", "cancel anna"], ["cancelled", "other_customer", "cancelled"], "redeemed"),
    (["use bob", "use anna", "cancel bob"], ["cancelled", "redeemed", "cancelled"], "redeemed"),
    (["use bob", "use anna", "cancel anna"], ["other_customer", "cancelled", "cancelled"], "redeemed"),
    (["use bob", "use bob", "cancel bob"], ["other_customer", "cancelled", "cancelled"], "redeemed"),
    (["use anna", "cancel anna", "use anna", "cancel anna"], ["cancelled"] * 4, "assigned"),
    (["use anna", "use bob", "cancel bob", "cancel anna"], ["cancelled"] * 4, "assigned"),
]


# The same of a code that anna had then and that was released since.
STORIES_OF_RELEASED = [
    (["use anna", "cancel anna"], ["redeemed", "not_redeemed"]),
    (["use bob", "cancel bob"], ["other_customer", "not_redeemed"]),
    (["use anna", "use anna", "cancel anna"], ["redeemed", "already_redeemed", "not_redeemed"]),
    (["use anna", "cancel anna", "use bob"], ["redeemed", "not_redeemed", "already_redeemed"]),
]


async def in_every_order(client, engine, story, *, released=False):
    """Tell a story in every order, of a code each, thing by thing and in one request.

    Return what came of each code's things, by its name, and the states of the codes.
    """
    orders = list(permutations(range(len(story))))
    codes = await fill(engine, "p", 2 * len(orders))
    items = [{"customer_id": "anna"}] * len(codes)
    reply = await client.post("/v1/pools/p/assignments/batch", json={"items": items})
    if released:
        for item in reply.json()["items"]:
            assert (await client.post(f"/v1/assignments/{item['id']}/release")).status_code == 200
    async with engine.begin() as connection:
        query = text("UPDATE assignment SET assigned_at = :at, released_at = released_at + interval '2 days'")
        await connection.execute(query, {"at": START - timedelta(days=1)})
    told = [
        [event(story[place], code, place, f"{code} {place}") for place in order]
        for code, order in zip(codes, orders * 2, strict=True)
    ]
    for step in zip(*told[: len(orders)], strict=True):
        await tell(engine, *step)
    await tell(engine, *(each for of_code in told[len(orders) :] for each in of_code))
    async with engine.begin() as connection:
        query = text("SELECT code, outcome FROM redemption ORDER BY code, redeemed_at")
        rows = (await connection.execute(query)).all()
        states = set((await connection.execute(text("SELECT status FROM voucher"))).scalars())
    return {code: [row.outcome for row in rows if row.code == code] for code in codes}, states


@pytest.mark.parametrize(
    ("story", "outcomes", "ends"), STORIES, ids=[", ".join(story) for story, *_ in STORIES]
)
async def test_what_is_told_in_any_order_comes_to_the_same(client, engine, story, outcomes, ends):
    came, states = await in_every_order(client, engine, story)
    assert came == dict.fromkeys(came, outcomes)
    assert states == {ends}


@pytest.mark.parametrize(
    ("story", "outcomes"), STORIES_OF_RELEASED, ids=[", ".join(story) for story, _ in STORIES_OF_RELEASED]
)
async def test_of_a_code_that_was_released_too_and_its_use_keeps_it(client, engine, story, outcomes):
    came, states = await in_every_order(client, engine, story, released=True)
    assert came == dict.fromkeys(came, outcomes)
    assert states == {"redeemed"}


async def test_of_what_is_told_at_one_time_the_order_of_arrival_decides(client, engine):
    await fill(engine, "p", 2)
    one, two = (await given(client))["code"], (await given(client))["code"]
    assert await tell(engine, event("use anna", one), event("cancel anna", one)) == ["cancelled"] * 2
    assert await tell(engine, event("cancel anna", two), event("use anna", two)) == [
        "not_redeemed",
        "redeemed",
    ]
    # The same again, in a request of its own each.
    assert await tell(engine, event("use anna", one)) == ["redeemed"]
    assert await tell(engine, event("cancel anna", one)) == ["cancelled"]
    assert await status(client, one) == "assigned"


async def test_a_code_whose_use_stands_cannot_be_released_after_a_cancellation(client, engine):
    await fill(engine, "p", 1)
    anna = await given(client)
    code = anna["code"]
    await tell(engine, event("use anna", code, 1), event("use bob", code, 2), event("cancel anna", code, 3))
    reply = await client.post(f"/v1/assignments/{anna['id']}/release")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/already-redeemed")
    assert (await client.post("/v1/pools/p/assignments", json={})).status_code == 409
    # Bob's order is cancelled too: now it is anna's again, and may go back.
    assert await tell(engine, event("cancel bob", code, 4)) == ["cancelled"]
    assert (await client.post(f"/v1/assignments/{anna['id']}/release")).status_code == 200
    assert (await given(client, "carl"))["code"] == code


async def test_what_was_cancelled_stays_so_after_a_release_and_in_the_next_hands(client, engine):
    await fill(engine, "p", 1)
    anna = await given(client)
    code = anna["code"]
    await tell(engine, event("use anna", code), event("cancel anna", code, 1))
    await client.post(f"/v1/assignments/{anna['id']}/release")
    # Told once more, by a shop that gives no ids: there is nothing left to take back.
    assert await tell(engine, event("cancel anna", code, 2)) == ["not_redeemed"]
    assert await status(client, code) == "available"
    bob = await given(client, "bob")
    assert await tell(engine, event("use bob", code, 3)) == ["redeemed"]
    assert await tell(engine, event("cancel bob", code, 4)) == ["cancelled"]
    assert await status(client, bob["code"]) == "assigned"


async def test_a_use_of_nobody_in_particular_is_taken_back_by_anybody(client, engine):
    await fill(engine, "p", 1)
    code = (await given(client))["code"]
    body = {"redeemed_at": START.isoformat()}
    assert (await client.post(f"/v1/vouchers/{code}/redemptions", json=body)).status_code == 201
    assert await tell(engine, event("cancel anna", code, 1)) == ["cancelled"]
    assert await status(client, code) == "assigned"


async def test_a_cancellation_between_erasures_still_finds_the_use(client, engine):
    await fill(engine, "p", 2)
    anna, bob = await given(client), await given(client, "bob")
    for one in (anna, bob):
        await tell(engine, event(f"use {one['customer_id']}", one["code"]))
    await client.delete("/v1/customers/anna")
    assert await tell(engine, event("cancel bob", anna["code"], 1)) == ["not_redeemed"]
    assert await tell(engine, event("cancel anna", anna["code"], 1)) == ["cancelled"]
    # The other way round: the cancellation is erased, and the use is heard of late.
    await tell(engine, event("cancel bob", bob["code"], 2), event("cancel bob", bob["code"], 4))
    await client.delete("/v1/customers/bob")
    assert await tell(engine, event("use bob", bob["code"], 3)) == ["cancelled"]
    assert [await status(client, one["code"]) for one in (anna, bob)] == ["assigned", "assigned"]


async def test_the_history_tells_of_both(client, engine):
    await fill(engine, "p", 1)
    code = (await given(client))["code"]
    await tell(engine, event("use anna", code), event("cancel anna", code, 1), event("use anna", code, 2))
    voucher = (await client.get(f"/v1/vouchers/{code}")).json()
    said = [entry["event"] for entry in voucher["history"] if entry["event"] not in {"imported", "assigned"}]
    assert said == ["redeemed", "cancelled", "redeemed"]
    listed = (await client.get("/v1/redemptions", params={"outcome": "cancelled"})).json()["items"]
    assert len(listed) == 2


async def test_a_code_that_was_used_more_often_than_can_be_weighed_stays_redeemed(
    client, engine, monkeypatch
):
    monkeypatch.setattr(queries, "MAX_SAID", 3)
    await fill(engine, "p", 1)
    code = (await given(client))["code"]
    await tell(engine, *(event("use anna", code, minute) for minute in range(4)))
    assert await tell(engine, *(event("cancel anna", code, 9) for _ in range(4))) == ["not_redeemed"] * 4
    assert await status(client, code) == "redeemed"


async def test_cancellations_releases_draws_and_uses_at_once_leave_no_used_code_drawable(client, engine):
    """Whichever is first, no code is available of which a use stands: `check`, after each test here, would tell."""
    await fill(engine, "p", 2)
    held = [await given(client) for _ in range(2)]
    chance = random.Random(4)
    for minute in (1, 3, 5):
        acts = [
            act
            for code, id_ in ((one["code"], one["id"]) for one in held)
            for act in (
                *(tell(engine, event(f"use {name}", code, minute)) for name in ("anna", "bob")),
                *(tell(engine, event(f"cancel {name}", code, minute + 1)) for name in ("anna", "bob", "bob")),
                client.post(f"/v1/assignments/{id_}/release"),
            )
        ]
        acts.append(client.post("/v1/pools/p/assignments", json={"customer_id": "anna"}))
        chance.shuffle(acts)
        await asyncio.gather(*acts)


VOID_STORY = {
    "void": None,
    "use": ("use anna", -2),
    "cancel": ("cancel anna", -1),
    "late": ("use bob", 2),
}
"""Anna's use and its cancellation before the void, and one by bob after it, by hours from now."""


async def test_a_void_comes_to_the_same_in_whatever_order_it_and_uses_are_told(client, engine):
    orders = [("void", *others) for others in permutations(("use", "cancel", "late"))]
    orders += [("use", "cancel", "void", "late"), ("cancel", "use", "void", "late")]
    codes = await fill(engine, "p", len(orders))
    items = [{"customer_id": "anna"}] * len(codes)
    await client.post("/v1/pools/p/assignments/batch", json={"items": items})
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE assignment SET assigned_at = now() - interval '1 day'"))
    now, voids = datetime.now(UTC), {}
    for code, order in zip(codes, orders, strict=True):
        for what in order:
            if VOID_STORY[what] is None:
                reply = await client.post(f"/v1/vouchers/{code}/void", json={"reason": "leaked"})
                assert reply.status_code == 200, order
                voids[code] = [each for each in reply.json()["history"] if each["event"] == "voided"]
            else:
                said, hours = VOID_STORY[what]
                await tell(engine, event(said, code, minute=(now - START).total_seconds() / 60 + hours * 60))
    for code, order in zip(codes, orders, strict=True):
        voucher = (await client.get(f"/v1/vouchers/{code}")).json()
        assert voucher["status"] == "void", order
        assert [each for each in voucher["history"] if each["event"] == "voided"] == voids[code], order
    async with engine.begin() as connection:
        query = text("SELECT code, outcome FROM redemption ORDER BY code, redeemed_at")
        rows = (await connection.execute(query)).all()
    assert {
        order: [row.outcome for row in rows if row.code == code]
        for code, order in zip(codes, orders, strict=True)
    } == {order: ["cancelled", "cancelled", "void"] for order in orders}


async def test_a_void_that_was_taken_back_does_not_come_again(client, engine):
    await fill(engine, "p", 1)
    code = (await given(client))["code"]
    await client.post(f"/v1/vouchers/{code}/void")
    made = await client.post("/v1/bulk-changes", json={"action": "reinstate", "filter": {"codes": [code]}})
    await changes.run(engine, made.json()["id"])
    assert await tell(engine, event("use anna", code), event("cancel anna", code, 1)) == ["cancelled"] * 2
    assert await tell(engine, event("use anna", code, 2)) == ["redeemed"]
    assert await tell(engine, event("cancel anna", code, 3)) == ["cancelled"]
    assert await status(client, code) == "assigned"
