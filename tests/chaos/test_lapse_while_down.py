import asyncio
import time

from app.domain.lifecycle import check
from app.platform.database import transaction
from tests.factories import fill
from tests.service import Service

LEASE_SECONDS = 2


async def test_leases_that_lapse_while_everything_is_down_come_back_at_the_start():
    with Service(workers=1) as service:
        engine = service.engine()
        await fill(engine, "p", 20)
        await engine.dispose()
        async with service.client() as client:
            items = [{"lease_seconds": LEASE_SECONDS}] * 10 + [{"lease_seconds": 600}, {}]
            await client.post("/v1/pools/p/assignments/batch", json={"items": items})
        service.kill()
        lapsed_at = time.monotonic() + LEASE_SECONDS
        await asyncio.sleep(max(0, lapsed_at - time.monotonic()))  # nothing runs that could be asked
        service.start()
        deadline = time.monotonic() + 30
        async with service.client() as client:
            while True:
                counts = (await client.get("/v1/pools/p/counts")).json()
                if counts["available"] == 18:
                    break
                assert time.monotonic() < deadline, counts
                await asyncio.sleep(0.1)
        assert (counts["reserved"], counts["assigned"]) == (1, 1)
        engine = service.engine()
        async with transaction(engine) as connection:
            assert await check.violations(connection) == []
        await engine.dispose()
