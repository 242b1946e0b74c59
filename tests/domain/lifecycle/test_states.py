import itertools
import re
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.domain.lifecycle.states import TRANSITIONS
from app.schema.base import VoucherStatus
from app.schema.inventory import VOUCHER_COLUMNS
from tests.factories import fill

DRAWING = Path(__file__).parent.parent.parent.parent / "docs/state-machine.md"
PUT_INTO = {
    "available": "status = 'available'",
    "reserved": "status = 'reserved', assignment_id = gen_random_uuid()",
    "assigned": "status = 'assigned', assignment_id = gen_random_uuid(), assigned_at = now()",
    "redeemed": "status = 'redeemed', redeemed_at = now()",
    "expired": "status = 'expired', expired_at = now()",
    "void": "status = 'void', voided_at = now()",
}


def test_the_drawing_shows_the_table():
    arrows = set(re.findall(r"^ +(\w+) --> (\w+): (\w+)$", DRAWING.read_text(), re.MULTILINE))
    table = {
        (str(source), str(transition.target), name)
        for name, transition in TRANSITIONS.items()
        for source in transition.sources
    }
    assert arrows == table


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(VoucherStatus, 2)))
async def test_the_database_refuses_a_status_that_is_changed_by_itself(engine, old, new):
    await fill(engine, "p", ["a"])
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE voucher SET expires_at = now()"))
        await connection.execute(text(f"UPDATE voucher SET {PUT_INTO[old]}"))
    with pytest.raises(IntegrityError, match="voucher_status_check"):
        async with engine.begin() as connection:
            await connection.execute(text(f"UPDATE voucher SET status = '{new}'"))


COLUMNS = ("assignment_id", "assigned_at", "redeemed_at", "expired_at", "voided_at", "expires_at")
ALLOWED = {
    "available": [set()],
    "reserved": [{"assignment_id"}],
    "assigned": [{"assignment_id", "assigned_at"}],
    "redeemed": [{"redeemed_at"}, {"redeemed_at", "assignment_id", "assigned_at"}],
    "expired": [{"expired_at"}],
    "void": [{"voided_at", *given} for given in ([], ["assignment_id"], ["assigned_at"], COLUMNS[:2])],
}
"""What each state may have besides its expiry, which only what has expired must have."""


async def test_the_database_allows_each_state_its_columns_and_no_others(engine):
    each = ", ".join(f"(VALUES (NULL::timestamptz), (now())) AS _{name} ({name})" for name in COLUMNS)
    query = f"""
        SELECT status, {", ".join(f"{name} IS NOT NULL" for name in COLUMNS)}
        FROM unnest(CAST(:states AS text[])) AS status, {each} WHERE ({VOUCHER_COLUMNS}) IS NOT FALSE
    """
    async with engine.connect() as connection:
        rows = await connection.execute(text(query), {"states": [*VoucherStatus, "odd"]})
    there = {(row[0], frozenset(itertools.compress(COLUMNS, row[1:]))) for row in rows}
    assert there == {
        (status, frozenset(columns) | expiry)
        for status, sets in ALLOWED.items()
        for columns in sets
        for expiry in (frozenset(), frozenset({"expires_at"}))
        if expiry or status != "expired"
    }


@pytest.mark.parametrize("path", ["%00/void", "%00/redemptions", f"{'x' * 256}/void", "%ff%fe/void"])
async def test_a_text_that_can_be_no_code_is_a_problem_and_no_fault(client, path):
    reply = await client.post(f"/v1/vouchers/{path}", json={})
    assert reply.status_code in {404, 422}, reply.text
    assert reply.json()["type"] in {"/problems/invalid-request", "/problems/voucher-not-found"}
