"""How many connections to PostgreSQL a process opens at the most: what docs/scaling.md says is so."""

import asyncio
import os
import re
import subprocess
import sys
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from app.platform.database_url import conninfo
from app.platform.fair_queue import places_of
from app.platform.migrate import migrate
from app.platform.projects import of_project
from app.platform.settings import Settings
from tests.conftest import another_database
from tests.factories import add_key, add_projects, fill
from tests.service import Service
from tests.worker import PROJECT, eventually


def of_web(connections):
    return 2 * connections + 9


def of_worker(connections, jobs, fetches):
    return connections + 8 + 3 * places_of(jobs) + 4 * places_of(fetches)


DIRECT_OF_WEB = 6


def direct_of_worker(jobs, fetches):
    return of_worker(0, jobs, fetches)


N, JOBS, FETCHES = 4, 2, 2
WEB = of_web(N)
WORKER, DIRECT_OF_WORKER = of_worker(N, JOBS, FETCHES), direct_of_worker(JOBS, FETCHES)
"""The formulas of docs/scaling.md."""
BUSY_QUEUE = 3
"""Connections of the queue that are opened for what is over in an instant: they may never be seen together."""
ANALYSIS = {"type": "analysis", "of": "events", "event_type": "e", "property": "code"}
DIRECT = "who_goes_past_the_pooler"
OPEN = f"""
SELECT count(*), count(*) FILTER (WHERE usename = '{DIRECT}')
FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL (%s)
"""
HANG = "LOCK TABLE stock, event, customer, voucher IN ACCESS EXCLUSIVE MODE"
HERE = Path(__file__).parent.parent.parent


def default(setting):
    return Settings.model_fields[setting].default


def test_the_docs_and_manifests_say_what_the_formulas_give():
    few = default("job_concurrency"), default("fetch_concurrency")
    web = of_web(default("database_connections"))
    worker = of_worker(default("database_connections"), *few)
    said = (HERE / "docs/scaling.md").read_text()
    assert re.search(rf"^\| web \| .* \| {web} \| {DIRECT_OF_WEB} \|$", said, re.MULTILINE)
    assert re.search(rf"^\| worker, .* \| {worker} \| {direct_of_worker(*few)} \|$", said, re.MULTILINE)
    assert f"pool + {DIRECT_OF_WEB} W + M (8 + 3 p(J) + 4 p(F))" in said
    most = 8 * web + 2 * worker
    assert re.search(rf"\b8 . {web} \+ 2 . {worker} = {most}\b", said)
    assert f"up to {most} at `main` and {most - 8} at each" in " ".join(said.split())
    manifest = (HERE / "deploy/kubernetes/voucher-pools.yaml").read_text()
    opened = 0
    for each in yaml.safe_load_all(manifest):
        if each["kind"] == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            command = container["command"]
            is_web = command[1] == "serve"
            one = int(command[command.index("--workers") + 1]) * web if is_web else worker
            opened += each["spec"]["replicas"] * one
    assert (
        f"{opened} as they stand here and {2 * opened} while an update" in manifest
    )  # each has its successor beside it


@pytest.fixture(scope="module")
def direct(server_url):
    """A role for what goes past a pooler, so that it can be told from the rest."""
    with psycopg.connect(conninfo(server_url), user="postgres", autocommit=True) as administrator:
        administrator.execute(f"CREATE ROLE {DIRECT} SUPERUSER LOGIN")
        yield DIRECT
        administrator.execute(f"DROP ROLE {DIRECT}")


@pytest.fixture(scope="module")
def service(server_url, direct):
    """A service whose requests wait for long, so that all that it opens is open at once."""
    with another_database(server_url, "connections") as url:
        migrate(url)  # the tables are their owner's, whatever the role that goes past the pooler
        few = {"VOUCHERS_DATABASE_CONNECTIONS": N, "VOUCHERS_JOB_CONCURRENCY": JOBS}
        few |= {"VOUCHERS_FETCH_CONCURRENCY": FETCHES, "VOUCHERS_STATEMENT_SECONDS": 60}
        given = {name: str(value) for name, value in few.items()}
        given["VOUCHERS_DIRECT_DATABASE_URL"] = make_url(url).set(username=direct).render_as_string(False)
        with Service(
            1, arguments=("--no-jobs",), DATABASE_URL=url, VOUCHERS_KEY_CACHE_SECONDS="3600", **given
        ) as service:
            yield service


@contextmanager
def hanging(service):
    """All hangs that reads codes, counts, events or customers.

    It gives what counts the connections of others: the most so far, and the most that went past the pooler.
    """
    url = conninfo(service.database_url)
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as looker:
        holder.execute(HANG)
        ours = [each.info.backend_pid for each in (holder, looker)]
        seen = (0, 0)

        def count():
            nonlocal seen
            now = looker.execute(OPEN, (ours,)).fetchone()
            seen = max(seen[0], now[0]), max(seen[1], now[1])
            return seen

        yield count


@pytest.fixture
async def shops(service):
    """Clients of three projects, whose keys the service knows, with three pools each."""
    engine = service.engine()
    names = [f"shop-{os.urandom(4).hex()}" for _ in range(3)]
    async with AsyncExitStack() as stack:
        clients = []
        for project, name in zip(await add_projects(engine, *names), names, strict=True):
            secret = f"key-of-{name}-0123456789-0123456789-0123456789"
            await add_key(engine, secret, "admin", project_id=project)
            for pool in "pqr":
                await fill(of_project(engine, project), pool, 5)
            headers = {"Authorization": f"Bearer {secret}"}
            client = httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60)
            clients.append(await stack.enter_async_context(client))
            assert (await client.get("/v1/pools")).status_code == 200
        await engine.dispose()
        yield clients


@contextmanager
def worker(service):
    command = [sys.executable, "-m", "app.cli", "worker"]
    with subprocess.Popen(command, cwd=PROJECT, env=service.environment) as process:
        try:
            yield
        finally:
            process.kill()


async def ask(client, n):
    """Ask for something of each kind, again and again."""
    while True:
        pool = "pqr"[n % 3]
        requests = [
            client.post(f"/v1/pools/{pool}/assignments", json={}),
            client.get(f"/v1/pools/{pool}/vouchers"),
            client.post("/v1/imports/preview", json={"source": ANALYSIS}),
            client.get("/v1/pools", headers={"Authorization": f"Bearer {os.urandom(20).hex()}"}),
        ]
        await asyncio.gather(*requests, return_exceptions=True)


@pytest.mark.long
async def test_a_web_process_opens_as_many_as_the_formula_says(service, shops):
    with hanging(service) as count:
        # The key look-ups of strangers hang too, while the known keys are remembered.
        with psycopg.connect(conninfo(service.database_url)) as keys:
            keys.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
            asking = [asyncio.create_task(ask(client, n)) for client in shops for n in range(6)]
            try:
                await eventually(lambda: count()[0] >= WEB + 1, 60)  # and the one that has the keys
                await asyncio.sleep(1)
            finally:
                for task in asking:
                    task.cancel()
                await asyncio.wait(asking)
        assert count() == (WEB + 1, DIRECT_OF_WEB)


@pytest.mark.long
async def test_a_worker_opens_no_more_than_the_formula_says(service, shops):
    for client in shops:
        for n in range(3):
            for source in ({"type": "text", "text": f"code\nA-{n}\n"}, ANALYSIS):
                reply = await client.post("/v1/pools/p/imports", json={"source": source, "column": 0})
                assert reply.status_code == 202, reply.text
    service.stop()
    with hanging(service) as count, worker(service):
        await eventually(lambda: count()[0] >= WORKER - BUSY_QUEUE, 60)
        await asyncio.sleep(1)
        most, past = count()
        assert most <= WORKER
        assert DIRECT_OF_WORKER - BUSY_QUEUE <= past <= DIRECT_OF_WORKER
