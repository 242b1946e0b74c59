"""What later knowledge does to the outcome of a use: each cell of the table in docs/state-machine.md is tried."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from app.domain.lifecycle import check
from app.domain.redemptions import rules, service
from app.domain.redemptions.schemas import Outcome
from app.domain.tracking import service as tracking
from tests.factories import fill, new_event

START = datetime.now(UTC) + timedelta(days=1)
DOCS = Path(__file__).parents[3] / "docs" / "state-machine.md"


def table():
    """Return the cells of the documentation: what becomes of each outcome, by what happens."""
    rows = re.findall(r"^\| (`?\w+`? \|.*) \|$", DOCS.read_text(), re.MULTILINE)
    (_, *happenings), *outcomes = (row.split(" | ") for row in rows)
    return {
        happening: {row[0].strip("`"): row[place].strip("`") for row in outcomes}
        for place, happening in enumerate(happenings, 1)
    }


TABLE = table()
ROWS = list(TABLE["the person is erased"])
WHO = dict.fromkeys(Outcome, "anna") | {"other_customer": "bob", "already_redeemed": "carl"}
"""Whose use it is."""
GIVEN = ("redeemed", "other_customer", "already_redeemed", "cancelled", "not_redeemed", "expired", "void")


def said(outcome, kind, customer, minute):
    properties = {"code": 7 if outcome == "not_a_string" else outcome}
    if outcome == "too_many":
        properties = {"codes": [f"{n} of too many" for n in range(rules.MAX_CODES + 1)]}
    return new_event(customer, kind, properties, START + timedelta(minutes=minute))


async def map_(client, *kinds):
    effects = {"purchase": "redeem", "refund": "cancel"}
    mappings = [
        {"event_type": kind, "property": property_, "effect": effects[kind]}
        for kind in kinds
        for property_ in ("code", "codes[*]")
    ]
    assert (await client.put("/v1/redemption-mapping", json={"mappings": mappings})).status_code == 200


@pytest.fixture
async def uses(client, engine):
    """A use of each outcome, of a code that bears its name and is alone in its pool; the ids of the uses."""
    await map_(client, "purchase", "refund")
    for code in (*GIVEN, "not_assigned"):
        await fill(engine, code, [code])
    for code in GIVEN:
        reply = await client.post(f"/v1/pools/{code}/assignments", json={"customer_id": "anna"})
        assert reply.json()["code"] == code
    async with engine.begin() as connection:
        query = text("UPDATE voucher SET expires_at = :at WHERE code = 'expired'")
        await connection.execute(query, {"at": START + timedelta(minutes=3)})
    await client.post("/v1/vouchers/void/void")
    told = [said("already_redeemed", "purchase", "anna", 9)]
    told += [said(each, "refund" if each == "not_redeemed" else "purchase", WHO[each], 10) for each in ROWS]
    await tracking.track_all(engine, [*told, said("cancelled", "refund", "anna", 11)])
    async with engine.begin() as connection:
        query = text(
            "SELECT id FROM redemption WHERE coalesce(code, '') NOT LIKE '% of too many' ORDER BY arrival"
        )
        rows = (await connection.execute(query)).all()
    ids = {outcome: row.id for outcome, row in zip(ROWS, rows[1:-1], strict=True)}
    assert await outcomes(engine, ids) == {outcome: outcome for outcome in ROWS}
    return ids


async def outcomes(engine, ids):
    """What the uses have come to by now."""
    async with engine.begin() as connection:
        assert await check.violations(connection) == []
        rows = dict((await connection.execute(text("SELECT id, outcome FROM redemption"))).all())
    return {outcome: rows.get(id_, "forgotten") for outcome, id_ in ids.items()}


async def happen(client, engine, happening, outcome):
    """Let it happen to a code; False where the service refuses it."""
    match happening:
        case "the code is imported":
            await fill(engine, "p", [outcome])
            assert await service.resolve(engine) == 1
        case "an earlier use by anna comes":
            await tracking.track_all(engine, [said(outcome, "purchase", "anna", 5)])
        case "an earlier use by a stranger comes":
            await tracking.track_all(engine, [said(outcome, "purchase", "dora", 5)])
        case "its customer's later cancellation comes":
            await tracking.track_all(engine, [said(outcome, "refund", WHO[outcome], 20)])
        case "the code is made void":
            return (await client.post(f"/v1/vouchers/{outcome}/void")).status_code != 409
        case "the person is erased":
            await client.delete(f"/v1/customers/{WHO[outcome]}")
        case "the mapping forgets the property":
            await map_(client)
            await service.replay(engine)
        case _:
            raise AssertionError(happening)
    return True


@pytest.mark.parametrize("happening", TABLE)
async def test_later_knowledge_changes_an_outcome_as_the_table_says(client, engine, uses, happening):
    cells = {outcome: cell for outcome, cell in TABLE[happening].items() if cell != "cannot be"}
    for outcome, cell in cells.items():
        assert await happen(client, engine, happening, outcome) is (cell != "refused"), outcome
    now = await outcomes(engine, uses)
    expected = {outcome: outcome if cell in {"stays", "refused"} else cell for outcome, cell in cells.items()}
    assert {outcome: now[outcome] for outcome in cells} == expected


def test_the_table_has_every_outcome():
    assert set(ROWS) == set(Outcome)
