import itertools
import re
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.domain.lifecycle.states import TRANSITIONS
from app.schema.base import VoucherStatus
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


@pytest.mark.parametrize("path", ["%00/void", "%00/redemptions", f"{'x' * 256}/void", "%ff%fe/void"])
async def test_a_text_that_can_be_no_code_is_a_problem_and_no_fault(client, path):
    reply = await client.post(f"/v1/vouchers/{path}", json={})
    assert reply.status_code in {404, 422}, reply.text
    assert reply.json()["type"] in {"/problems/invalid-request", "/problems/voucher-not-found"}
