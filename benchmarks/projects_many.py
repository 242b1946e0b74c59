"""What projects cost that do nothing: `python -m benchmarks.projects_many [--projects 10 1000 10000]`.

On one database, with so many projects, each with a pool of ten codes, an alert, a webhook, a mapping and a key: the
start of the service, a scrape, each sweep's look where nothing is due, a key that is not remembered, lists of projects,
and what a web process holds once it has served all of them.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock

import httpx
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.cli.opening import transact
from app.domain.access.keys import queries as keys
from app.domain.access.keys.service import PREFIX_BYTES, digest_of
from app.domain.projects import queries as projects
from app.platform.database import autocommit, transaction
from app.platform.engines import create_long_engine
from app.platform.jobs import jobs
from app.platform.postgres.server import LocalPostgres
from app.platform.projects import DEFAULT, everywhere, of_project
from app.platform.settings import Settings
from app.server import worker
from benchmarks import harness
from tests.service import Service

assert worker.TASKS

MAKE = """
INSERT INTO project (name) SELECT 'shop-' || n FROM generate_series(CAST(:first AS integer), :last) AS n;
CREATE TEMPORARY TABLE made ON COMMIT DROP AS
    SELECT id FROM project WHERE id <> 1 AND NOT EXISTS (SELECT FROM pool WHERE project_id = project.id);
INSERT INTO api_key (project_id, name, prefix, digest, scopes)
    SELECT id, 'k', substr(digest, 1, 8), digest, '{admin}'
    FROM (SELECT id, sha256(convert_to('key-of-' || id, 'UTF8')) AS digest FROM made) AS made;
INSERT INTO pool (project_id, name) SELECT id, 'codes' FROM made;
INSERT INTO stock (project_id, pool_id, slot, available)
    SELECT project_id, id, slot, CASE slot WHEN 0 THEN 10 ELSE 0 END
    FROM pool, generate_series(0, 7) AS slot WHERE project_id IN (SELECT id FROM made);
INSERT INTO voucher (project_id, code, pool_id, draw_key)
    SELECT project_id, 'code-' || n, id, hashtextextended(id || '-' || n, 0)
    FROM pool, generate_series(1, 10) AS n WHERE project_id IN (SELECT id FROM made);
INSERT INTO alert (project_id, pool_id)
    SELECT project_id, id FROM pool WHERE project_id IN (SELECT id FROM made);
INSERT INTO alert_threshold (project_id, pool_id, threshold)
    SELECT project_id, pool_id, 0 FROM alert WHERE project_id IN (SELECT id FROM made);
INSERT INTO webhook (project_id, url, secret, events, ledger_at, ledger_id, change_at, change_id)
    SELECT id, 'https://hooks.example.org', 's', '{}', now(), gen_random_uuid(), now(), 0 FROM made;
INSERT INTO redemption_mapping (project_id, event_type, property) SELECT id, 'purchase', 'code' FROM made
"""
ROUNDS = 5
VISITED = 1500
"""Projects whose pools are drawn from: more than a process keeps things for."""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--projects", type=int, nargs="+", default=[10, 1000, 10_000])
    arguments = options.parse_args()
    columns: dict[int, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="vp-") as home, LocalPostgres(Path(home)) as postgres:
        with Service(1, arguments=("--no-jobs",), DATABASE_URL=postgres.url):
            pass  # migrated
        there = 1
        for n in arguments.projects:
            asyncio.run(_make(postgres.url, there, n - 1))
            there = n
            columns[n] = _measured(postgres.url, arguments.rounds)
    head = ["projects", *(f"{n:,}" for n in columns)]
    names = list(next(iter(columns.values())))
    print(f"{harness.machine()}; the best of {arguments.rounds}\n")
    print(harness.table(head, [[name, *(column[name] for column in columns.values())] for name in names]))


def _measured(url: str, rounds: int) -> dict[str, object]:
    settings = Settings(DATABASE_URL=url)
    found = asyncio.run(_looks(settings, rounds))
    starts: list[float] = []
    with Service(1, arguments=("--no-jobs",), DATABASE_URL=url) as service:
        for _ in range(rounds - 1):
            starts.append(service.seconds_to_ready)
            service.stop()
            service.start()
        starts.append(service.seconds_to_ready)
        scrape = asyncio.run(_scrapes(service, rounds))
        (web,) = service.web()
        took = sum(web.cpu_times()[:2])
        visited = asyncio.run(_visit(service, settings))
        took = sum(web.cpu_times()[:2]) - took
        memory = web.memory_info().rss / 2**20
    return {
        "`serve` ready, s": min(starts),
        "`/metrics` for `default`, ms": scrape,
        **found,
        f"an assign in each of {VISITED:,} projects at most, twice: processor of the web process, ms": 1000
        * took
        / visited,
        "web process after that, MiB": memory,
    }


async def _make(url: str, first: int, last: int) -> None:
    engine = create_long_engine(Settings(DATABASE_URL=url))
    async with transaction(everywhere(engine)) as connection:
        for statement in MAKE.split(";"):
            given = {"first": first, "last": last} if ":first" in statement else {}
            await connection.execute(text(statement), given)
    async with harness.alone(engine) as connection:
        await connection.execute(text("VACUUM ANALYZE"))
    await engine.dispose()


async def _looks(settings: Settings, rounds: int) -> dict[str, object]:
    """Return what the clock starts, by name: milliseconds and statements; and look-ups and lists."""
    engine = create_long_engine(settings)
    manager = SimpleNamespace(delete_old_jobs=AsyncMock(), get_stalled_jobs=AsyncMock(return_value=[]))
    context = SimpleNamespace(
        additional_context={"engine": engine, "settings": settings}, app=SimpleNamespace(job_manager=manager)
    )
    found: dict[str, object] = {}
    for task in [periodic.task for periodic in jobs.periodic_registry.periodic_tasks.values()]:
        act = partial(task.func, context, 0)
        with _counted(engine) as sent:
            first = await _best(1, act)
            await _best(3, act)  # rounds that go on where the one before stopped
            del sent[:]
            usual = await _best(rounds, act)
        more = f" (first {first:,.0f} ms)" if first > 10 * usual else ""
        found[f"{task.name}, ms / statements"] = f"{usual:.1f} / {len(sent) // rounds}{more}"
    async with transaction(everywhere(engine)) as connection:
        ids = await _ids(connection)
        last = (await connection.execute(text("SELECT max(name) FROM project"))).scalar_one()

    async def look_up_key() -> None:
        digest = digest_of(f"key-of-{secrets.choice(ids)}")
        async with autocommit(engine) as connection:
            if not await keys.with_prefixes(connection, [digest[:PREFIX_BYTES]]):
                raise RuntimeError("the key is not found")

    async def list_projects(after: str | None) -> None:
        async with transaction(of_project(engine, DEFAULT)) as connection:
            await projects.list_page(connection, after, 100)

    async def list_keys() -> None:
        async with transaction(of_project(engine, DEFAULT)) as connection:
            await keys.list_page(connection, secrets.choice(ids), None, 100)

    found["a key that is not remembered, ms"] = await _best(50, look_up_key)
    found["100 projects, first page, ms"] = await _best(rounds, partial(list_projects, None))
    found["100 projects, last page, ms"] = await _best(rounds, partial(list_projects, last[:-2]))
    found["a project's keys, ms"] = await _best(rounds, list_keys)
    await engine.dispose()
    return found


async def _best(rounds: int, act: Callable[[], Awaitable[object]]) -> float:
    """Return what it took at the least, in milliseconds: whatever else the machine does only adds to it."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await act()
        times.append(1000 * (time.perf_counter() - began))
    return min(times)


async def _scrapes(service: Service, rounds: int) -> float:
    async with service.client() as client:
        return await _best(rounds + 1, partial(client.get, "/metrics"))


async def _visit(service: Service, settings: Settings) -> int:
    """Assign twice in each of some projects; return how many assigns that were."""
    ids = (await transact(settings, _ids, None))[:VISITED]
    failed: list[str] = []
    places = asyncio.Semaphore(16)
    async with httpx.AsyncClient(base_url=service.url, timeout=600) as client:

        async def assign(project: int) -> None:
            async with places:
                headers = {"Authorization": f"Bearer key-of-{project}"}
                reply = await client.post("/v1/pools/codes/assignments", json={}, headers=headers)
                if not reply.is_success:
                    failed.append(reply.text)

        for _ in range(2):
            await asyncio.gather(*(assign(project) for project in ids))
    if failed:
        print(f"{len(failed)} assigns failed, such as {failed[0]}")
    return 2 * len(ids)


async def _ids(connection: AsyncConnection) -> list[int]:
    return list((await connection.execute(text("SELECT id FROM project WHERE id <> 1"))).scalars())


@contextmanager
def _counted(engine: AsyncEngine) -> Iterator[list[str]]:
    """Give the statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


if __name__ == "__main__":
    main()
