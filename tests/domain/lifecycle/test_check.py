import pytest
from sqlalchemy import text

from app.domain.lifecycle import check as service
from app.domain.lifecycle.check import INVARIANTS
from app.platform.database import transaction
from tests.factories import fill

BREAKS = {
    "the stock of a pool does not agree with its vouchers": "UPDATE stock SET void = void + 1 WHERE slot = 3",
    "a pool does not have its slots of stock": "DELETE FROM stock WHERE slot = 3",
    "a voucher is in no pool": "UPDATE voucher SET pool_id = 0 WHERE code = 'a'",
    "a voucher tells neither when it came nor by which import": """
        UPDATE voucher SET imported_at = NULL WHERE code = 'a'""",
    "a code is assigned more than once": """
        INSERT INTO assignment (id, pool_id, code) SELECT gen_random_uuid(), pool_id, code FROM assignment""",
    "an assignment that stands is not that of its voucher": """
        UPDATE voucher SET status = 'available', assignment_id = NULL, assigned_at = NULL
        WHERE status = 'assigned'""",
    "a voucher that was handed out has no ledger row that stands": """
        UPDATE assignment SET released_at = now()""",
    "a lease and its voucher disagree": "UPDATE assignment SET lease_until = now()",
    "a redeemed voucher has no redemption": "DELETE FROM redemption",
    "a use stands, and its voucher is not redeemed": "UPDATE redemption SET code = 'void'",
    "a use is of an unknown code, and a pool has the code and gave it to nobody": """
        UPDATE redemption SET outcome = 'unknown_code', code = 'void'""",
    "a use is cancelled, and no cancellation says so": "UPDATE redemption SET outcome = 'cancelled'",
    "a code is known to be used and could be drawn": """
        INSERT INTO redemption (code, outcome, redeemed_at) SELECT code, 'expired', now() FROM voucher
        WHERE status = 'available'""",
    "an assignment that is not reserved has a lease, or one that lapsed was not released": """
        UPDATE assignment SET lapsed = true""",
    "a hold does not agree with what was drawn from it": "UPDATE hold SET drawn = 1",
    "an import does not agree with the codes that it has yet to bring": """
        INSERT INTO import (pool, source, options, seed, scheduled) VALUES ('p', '{}', '{}', 0, 1)""",
    "the stock of a pool does not know its holds": "DELETE FROM hold",
    "a code ends as its pool says for who has it, and nobody has it, or it would have ended before": """
        UPDATE voucher SET own_expires_at = 'infinity', expires_at = now() WHERE status = 'available'""",
}


async def every_state(client, engine):
    """A pool with a voucher in each state, a hold and a redemption."""
    await fill(engine, "p", ["a", "b", "c", "d", "void"])
    await client.post("/v1/vouchers/void/void")
    for lease in (None, 60):
        await client.post("/v1/pools/p/assignments", json={"lease_seconds": lease})
    used = (await client.post("/v1/pools/p/assignments", json={})).json()["code"]
    await client.post(f"/v1/vouchers/{used}/redemptions", json={})
    await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": 1})


async def test_a_service_that_has_worked_breaks_no_invariant(client, engine, connection):
    await every_state(client, engine)
    assert await service.violations(connection) == []


@pytest.mark.parametrize("name", INVARIANTS)
async def test_a_broken_invariant_is_found_and_no_code_is_told(client, engine, connection, name):
    await every_state(client, engine)
    await connection.execute(text(BREAKS[name]))
    found = await service.violations(connection)
    assert any(violation.startswith(f"{name}: ") for violation in found), found
    await connection.rollback()


async def test_it_may_read_tables_from_front_to_back_and_nobody_else(engine):
    async def setting(connection):
        return (await connection.execute(text("SHOW enable_seqscan"))).scalar_one()

    async with transaction(engine) as connection:
        await service.violations(connection)
        assert await setting(connection) == "on"
    async with transaction(engine) as connection:
        assert await setting(connection) == "off"
