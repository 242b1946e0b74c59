"""A service with a further database, each on a server of its own: one hangs, is killed, or is away."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from app.platform.postgres.server import LocalPostgres
from tests.factories import KEY, fill
from tests.receivers import Receiver
from tests.service import Service, postgres_of, suspend_postgres_of
from tests.worker import eventually

OUTAGE = 6.0
"""Seconds for which a database is away: longer than a process remembers a key."""
CODES = 20_000


@dataclass
class Shop:
    """A project, and what its callers were told."""

    secret: str
    told: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def client(self, service):
        headers = {"Authorization": f"Bearer {self.secret}"}
        return httpx.AsyncClient(base_url=service.url, headers=headers, timeout=30)

    def begin_anew(self):
        self.told, self.seconds = Counter(), []

    @property
    def usual(self):
        """Seconds within which nine of ten replies came."""
        return sorted(self.seconds)[len(self.seconds) * 9 // 10]


@dataclass
class Two:
    """The service, the server of its further database, and a project in each."""

    service: Service
    other: LocalPostgres
    here: Shop
    there: Shop


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    home = Path(tempfile.mkdtemp(prefix="vp-"))
    file = tmp_path_factory.mktemp("codes") / "codes.csv"
    file.write_text("code\n" + "".join(f"C-{n:06}\n" for n in range(CODES)))
    try:
        with LocalPostgres(home) as other, Service(workers=1, VOUCHERS_ALLOWED_HOSTS="127.0.0.1") as service:
            said(service, "database", "add", "b", "--url", other.url)
            said(service, "project", "create", "there", "--database", "b")
            key = said(service, "api-key", "create", "--project", "there", "--name", "k", "--scope", "admin")
            said(service, "import", "p", str(file), "--project", "there")
            asyncio.run(fill_default(service))
            yield Two(service, other, Shop(KEY), Shop(key.strip()))
    finally:
        shutil.rmtree(home)


async def fill_default(service):
    engine = service.engine()
    await fill(engine, "p", CODES)
    await engine.dispose()


def said(service, *words):
    """What a command prints that must succeed."""
    done = service.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@asynccontextmanager
async def load(service, *shops, callers=3):
    """Callers of each shop, one request after another, for the block."""
    over = asyncio.Event()

    async def call(shop, client):
        while not over.is_set():
            began = time.monotonic()
            reply = await client.post("/v1/pools/p/assignments", json={})
            shop.told[reply.status_code] += 1
            shop.seconds.append(time.monotonic() - began)
            if reply.status_code == 201:
                shop.codes.append(reply.json()["code"])
            await asyncio.sleep(0.05)

    async with contextlib.AsyncExitStack() as stack:
        clients = [(shop, await stack.enter_async_context(shop.client(service))) for shop in shops]
        for shop in shops:
            shop.begin_anew()
        tasks = [asyncio.create_task(call(*each)) for each in clients for _ in range(callers)]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*tasks)


async def imports(service, shop, code):
    """Import a code into a pool of a shop; return once a job has done it."""
    async with shop.client(service) as client:
        source = {"type": "text", "text": f"code\n{code}\n"}
        made = await client.post("/v1/pools/q/imports", json={"source": source, "has_header": True})
        assert made.status_code == 202, made.text

        async def done():
            reply = await client.get(made.headers["location"])
            return reply.status_code == 200 and reply.json()["status"] == "succeeded"

        await eventually(done, 30)


async def is_back(service, shop):
    async with shop.client(service) as client:

        async def drawn():
            return (await client.post("/v1/pools/p/assignments", json={})).status_code == 201

        await eventually(drawn, 20)


async def figures(service, shop):
    """The figures, the readiness and a page of a project, while another database is away: all within 5 s."""
    async with shop.client(service) as client:
        began = time.monotonic()
        shown = (await client.get("/metrics")).text
        ready = await client.get("/health/ready")
        signed = await client.post(
            "/console/login", data={"api_key": shop.secret}, headers={"Origin": service.url}
        )
        page = await client.get("/console/pools")
        assert time.monotonic() - began < 6
        assert (ready.status_code, signed.status_code, page.status_code) == (200, 303, 200)
        up = {line for line in shown.splitlines() if line.startswith("vouchers_database_up{")}
        return up, ready.json()["warnings"]


@pytest.mark.parametrize("how", ["hangs", "is killed"])
async def test_a_database_that_is_gone_refuses_its_projects_and_costs_others_nothing(two, how):
    service, home = two.service, two.other.home
    async with load(service, two.here, two.there):
        await asyncio.sleep(2)
        assert set(two.here.told) == set(two.there.told) == {201}
        two.there.begin_anew()
        if how == "hangs":
            stopped = suspend_postgres_of(home)
        else:
            for process in postgres_of(home):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        began = time.monotonic()
        try:
            up, warnings = await figures(service, two.here)
            await imports(service, two.here, f"HERE-{how[:4]}")
            await asyncio.sleep(max(0, OUTAGE - (time.monotonic() - began)))
            assert two.there.told[201] <= 3  # what was under way
            assert two.there.told[503] > 3
            assert max(two.there.seconds) < 5
        finally:
            if how == "hangs":
                for process in stopped:
                    process.resume()
            else:
                two.other.ensure_running()
        await is_back(service, two.there)
    assert up == {'vouchers_database_up{database="main"} 1.0', 'vouchers_database_up{database="b"} 0.0'}
    assert "Database b does not serve: projects there are refused." in warnings
    assert set(two.here.told) == {201}
    assert two.here.usual < 1
    await imports(service, two.there, f"THERE-{how[:4]}")
    for shop in (two.here, two.there):
        assert len(shop.codes) == len(set(shop.codes))


async def test_keys_of_projects_elsewhere_outlive_the_control_database(two):
    service = two.service
    await is_back(service, two.here)
    async with load(service, two.here, two.there):
        await asyncio.sleep(1)
        stopped = service.suspend_postgres()
        two.here.begin_anew()
        try:
            await asyncio.sleep(OUTAGE + 1)
            async with two.there.client(service) as client:
                assert (await client.get("/health/ready")).status_code == 200
        finally:
            for process in stopped:
                process.resume()
        await is_back(service, two.here)
    assert set(two.there.told) == {201}
    assert two.there.usual < 1
    assert two.here.told[503]


async def test_the_worker_of_a_further_database_is_started_again_and_its_jobs_go_on(two):
    (jobs,) = two.service.jobs()
    (child,) = [each for each in jobs.children() if "spawn_main" in " ".join(each.cmdline())]
    child.kill()
    await imports(two.service, two.there, "AFTER-1")
    await sweeps_and_webhooks_go_on(two)
    jobs.kill()  # and with it whoever keeps that one
    await imports(two.service, two.there, "AFTER-2")
    await imports(two.service, two.here, "AFTER-2")
    listed = said(two.service, "database", "list")
    assert [line.split()[0] for line in listed.splitlines()] == ["main", "b"]
    assert said(two.service, "check")


async def sweeps_and_webhooks_go_on(two):
    """What the clock starts, and what is told others, is done in the further database too."""
    receiver = Receiver()
    await receiver.up()
    try:
        async with two.there.client(two.service) as client:
            hook = {"url": receiver.url, "events": ["voucher.assigned"]}
            made = await client.post("/v1/webhooks", json=hook)
            assert made.status_code == 201, made.text
            leased = await client.post("/v1/pools/p/assignments", json={"lease_seconds": 1})
            two.there.codes.append((await client.post("/v1/pools/p/assignments", json={})).json()["code"])

            async def over():
                found = await client.get(f"/v1/assignments/{leased.json()['id']}")
                return found.json()["released_at"] is not None and receiver.received

            await eventually(over, 30)
    finally:
        await receiver.down()
