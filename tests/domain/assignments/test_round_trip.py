"""A walk that comes to the pool's end goes on at its beginning, whoever draws."""

import pytest
from sqlalchemy import text

from app.domain.assignments.cursors import CURSORS, _Walk
from app.domain.assignments.drawing import Draw
from app.domain.assignments.errors import PoolExhaustedError
from app.domain.lifecycle.requests import AssignmentRequest
from app.platform.database import transaction
from app.platform.ids import ordered_id
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import books_agree
from tests.factories import fill

PLACE = DEFAULT, "p"


@pytest.fixture(autouse=True)
async def half_way(engine, monkeypatch):
    """A pool of six codes, of which three come after the cursor."""
    await fill(engine, "p", 6)
    async with transaction(engine) as connection:
        keys = (
            (await connection.execute(text("SELECT draw_key FROM voucher ORDER BY draw_key"))).scalars().all()
        )
    monkeypatch.setitem(CURSORS._by_pool, PLACE, _Walk(keys[2]))
    yield
    await books_agree(engine)


def requests(n, **more):
    return [AssignmentRequest(ordered_id(), **more) for _ in range(n)]


async def bulk(client, n, **more):
    reply = await client.post("/v1/pools/p/assignments/batch", json={"items": [more] * n})
    return [item["code"] for item in reply.json()["items"] if item["code"] is not None]


async def test_single_assigns_go_round(client):
    codes = [(await client.post("/v1/pools/p/assignments", json={})).json().get("code") for _ in range(7)]
    assert (len(set(codes[:6])), codes[6]) == (6, None)
    assert None not in codes[:6]


async def test_a_claim_goes_round_and_says_when_there_are_no_more(client, engine):
    assert len(set(await bulk(client, 5))) == 5
    async with transaction(engine) as connection:
        draw = Draw(connection, "p")
        assert len(await draw.claim(requests(2))) == 1
        assert isinstance(draw.shortage, PoolExhaustedError)


async def test_a_hold_is_drawn_to_its_end_on_the_way_round_and_no_further(client, engine):
    await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": 4})
    async with transaction(engine) as connection:
        draw = Draw(connection, "p", "spring")
        assert len(await draw.claim(requests(5, campaign_id="spring"))) == 5
    held = (await client.get("/v1/pools/p/holds")).json()
    assert [(hold["count"], hold["drawn"]) for hold in held["items"]] == [(4, 4)]
    assert len(await bulk(client, 2)) == 1


@pytest.mark.parametrize("steps", [(6,), (2, 4, 6), (4, 6)])
async def test_what_is_locked_goes_round_and_finds_what_it_holds_once(engine, steps):
    async with transaction(engine) as connection:
        draw = Draw(connection, "p")
        for wanted in steps:
            await draw.lock(wanted)
            assert len({row.code for row in draw.locked}) == len(draw.locked) == wanted
        await draw.lock(7)
        assert len(draw.locked) == 6
