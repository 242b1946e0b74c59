"""Lists and pages of a large service: `python -m benchmarks.finding [--codes 10000000] [--pools 20000] [--rounds 20]`.

Each filter of the lists and each page of the console, over HTTP, at so many codes in one pool beside so many others; a
tenth of the codes was given to customers. `--plans` prints how PostgreSQL finds them.
"""

import argparse
import time
from typing import Any

import httpx
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.assignments import service as assignments
from app.domain.assignments.schemas import Filter as LedgerFilter
from app.domain.pools import service as pools
from app.domain.vouchers import service as vouchers
from app.domain.vouchers.schemas import Filter
from app.platform.database import transaction
from app.schema.base import VoucherStatus
from benchmarks import harness
from tests.factories import KEY
from tests.service import Service

AT_A_TIME = 1_000_000
BOUND_MS = 50

POOLS = text(
    "INSERT INTO pool (name) SELECT 'pool-' || lpad(n::text, 6, '0') FROM generate_series(1, :n) AS n"
)
SLOTS = text("""
INSERT INTO stock (pool_id, slot) SELECT pool.id, slot FROM pool, generate_series(0, 7) AS slot
WHERE NOT EXISTS (SELECT FROM stock WHERE stock.pool_id = pool.id)
""")
GIVE = text("""
WITH drawn AS (
    UPDATE voucher SET status = 'assigned', assignment_id = gen_random_uuid(),
        assigned_at = now() - abs(draw_key) % 10000000 * interval '1 second'
    WHERE pool_id = :pool_id AND status = 'available' AND draw_key % 10 = 0
    RETURNING code, assignment_id, assigned_at, draw_key
), written AS (
    INSERT INTO assignment (id, pool_id, code, assigned_at, customer_id, campaign_id, message_id)
    SELECT assignment_id, :pool_id, code, assigned_at, 'c-' || abs(draw_key / 10) % 100000,
        'k-' || abs(draw_key / 10) % 100, 'm-1' FROM drawn
)
UPDATE stock SET available = available - n, assigned = assigned + n FROM (SELECT count(*) AS n FROM drawn) AS drawn
WHERE pool_id = :pool_id AND slot = 0
""")
CUSTOMERS = text("""
INSERT INTO customer (id, properties) SELECT 'c-' || n, jsonb_build_object('city', n % 50)
FROM generate_series(0, 99999) AS n
""")

ABSENT = "00000000-0000-4000-8000-000000000000"
LISTS = {
    "vouchers": "",
    "vouchers, state": "status=assigned",
    "vouchers, a state that none has": "status=redeemed",
    "vouchers, customer": "customer_id=c-10",
    "vouchers, campaign": "campaign_id=k-10",
    "vouchers, campaign and state": "campaign_id=k-10&status=redeemed",
    "vouchers, beginning of the code": "code_prefix=large-00099",
    "vouchers, part of the code": "code_contains=9876",
    "vouchers, a part that none has": "code_contains=zzzz",
    "vouchers, import that brought none": f"import_id={ABSENT}",
    "vouchers, expiry": "expires_before=2027-01-01T00:00:00Z",
    "vouchers, tests": "test=true",
    "vouchers, message": "message_id=m-2",
}
LEDGER = {
    "assignments": "",
    "assignments, pool": "pool=large",
    "assignments, customer": "customer_id=c-10",
    "assignments, campaign": "campaign_id=k-10",
    "assignments, a state that none has": "status=redeemed",
    "assignments, pool and a state that none has": "pool=large&status=redeemed",
    "assignments, part of the code": "code_contains=zzzz",
    "assignments, message": "message_id=m-2",
    "assignments, tests": "test=true",
}
OTHERS = {
    "customers, beginning of the id": "/v1/customers?id_prefix=c-99",
    "customers, a value that none has": "/v1/customers?property=city&value=none",
    "redemptions, customer": "/v1/redemptions?customer_id=c-10",
    "pools": "/v1/pools",
    "counts": "/v1/pools/large/counts",
}
PAGES = (
    "pools", "pools?sort=name_desc", "pools?sort=newest", "pools?search=0199", "pools/large",
    "pools/large?status=assigned", "imports", "imports/new", "schedules", "changes", "mapping", "personalization",
    "customers", "customers/c-10", "aggregates", "redemptions", "alerts", "alerts?pool=large", "webhooks", "audit",
    "keys",
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--codes", type=int, default=10_000_000)
    options.add_argument("--pools", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--plans", action="store_true", help="print plans too")
    wanted = options.parse_args()
    with Service(workers=1) as service:
        harness.on(service, lambda engine: furnish(engine, wanted.codes, wanted.pools))
        print(
            f"{harness.machine()}; {wanted.codes:,} codes, {wanted.pools:,} pools; {wanted.rounds} rounds\n"
        )
        lists = [
            *((name, f"/v1/pools/large/vouchers?{query}") for name, query in LISTS.items()),
            *((name, f"/v1/assignments?{query}") for name, query in LEDGER.items()),
            *OTHERS.items(),
        ]
        with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
            rows = [[name, *_times(client, path, wanted.rounds)] for name, path in lists]
        print(harness.table(["list", "median (ms)", "longest (ms)", "items"], rows))
        slow = [row[0] for row in rows if float(str(row[1])) > BOUND_MS]
        print(f"\nAbove {BOUND_MS} ms: {', '.join(map(str, slow)) or 'none'}\n")
        headers = {"Origin": service.url}
        with httpx.Client(base_url=service.url, headers=headers, follow_redirects=True) as client:
            client.post("/console/login", data={"api_key": KEY}).raise_for_status()
            pages = [
                [f"/console/{page}", *_times(client, f"/console/{page}", wanted.rounds)[:2]] for page in PAGES
            ]
        print(harness.table(["page", "median (ms)", "longest (ms)"], pages))
        if wanted.plans:
            for name, plan in harness.on(service, plans):
                print(f"\n{name}\n\n```\n{plan}\n```")
        print("\n" + harness.books_agree(service))


async def furnish(engine: AsyncEngine, codes: int, others: int) -> None:
    """Fill the service by SQL: a large pool, many empty ones, customers who have codes."""
    async with transaction(engine) as connection:
        await connection.execute(POOLS, {"n": others})
        await connection.execute(SLOTS)
        await connection.execute(CUSTOMERS)
    pool_id = 0
    for start in range(0, codes, AT_A_TIME):
        pool_id = await fill_some(engine, start, min(AT_A_TIME, codes - start))
        async with transaction(engine) as connection:
            await connection.execute(GIVE, {"pool_id": pool_id})
    async with harness.alone(engine) as connection:
        await connection.execute(text("VACUUM ANALYZE"))


async def fill_some(engine: AsyncEngine, start: int, n: int) -> int:
    """Add `n` codes to the large pool."""
    async with transaction(engine) as connection:
        pool_id = await pools.ensure(connection, "large")
        await connection.execute(
            harness.FILL, {"pool_id": pool_id, "prefix": f"large-{start // AT_A_TIME:03}", "n": n}
        )
        await connection.execute(harness.COUNT, {"pool_id": pool_id, "n": n})
    return pool_id


def _times(client: httpx.Client, path: str, rounds: int) -> list[object]:
    times = []
    items: object = ""
    for _ in range(rounds):
        began = time.perf_counter()
        answer = client.get(path).raise_for_status()
        times.append((time.perf_counter() - began) * 1e3)
        if answer.headers["content-type"].startswith("application/json"):
            items = len(answer.json().get("items", ()))
    return [harness.median(times), max(times), items]


async def plans(engine: AsyncEngine) -> list[tuple[str, str]]:
    """Return how the lists are found, by name."""
    found = []
    asked = {
        "vouchers, a part that none has": Filter(code_contains="zzzz"),
        "vouchers, beginning of the code": Filter(code_prefix="large-00099"),
        "vouchers, customer": Filter(customer_id="c-10"),
        "vouchers, a state that none has": Filter(status=VoucherStatus.REDEEMED),
    }
    statements: list[tuple[str, Any]] = []
    event.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda _1, _2, statement, parameters, *_: statements.append((statement, parameters)),
    )
    async with transaction(engine) as connection:
        for name, wanted in asked.items():
            statements.clear()
            await vouchers.find(connection, "large", wanted, None, 101)
            found += [(name, plan) async for plan in _explained(connection, list(statements))]
        for name, ledger in {
            "assignments, a state that none has": LedgerFilter(status="redeemed"),
            "assignments, customer": LedgerFilter(customer_id="c-10"),
        }.items():
            statements.clear()
            await assignments.list_page(connection, ledger, None, 101)
            found += [(name, plan) async for plan in _explained(connection, list(statements))]
    return found


async def _explained(connection: Any, statements: list[tuple[str, Any]]):  # type: ignore[no-untyped-def]  # noqa: ANN202
    for statement, parameters in statements:
        if "assignment" in statement or "voucher" in statement:
            rows = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
            yield "\n".join(row[0] for row in rows)


if __name__ == "__main__":
    main()
