"""A worker beside the application, and short ways to import."""

import asyncio

import pytest
from httpx import AsyncClient, Response
from procrastinate.periodic import PeriodicDeferrer

from app.platform.settings import Settings, get_settings
from app.server.worker import work


@pytest.fixture
def settings(database_url: str, tmp_path, monkeypatch) -> Settings:
    """The settings of this test; jobs read theirs from the environment."""
    (tmp_path / "files").mkdir()
    for name, value in {
        "DATABASE_URL": database_url,
        "VOUCHERS_LOG_LEVEL": "ERROR",
        "VOUCHERS_KEY_CACHE_SECONDS": "0",
        "VOUCHERS_HOME": str(tmp_path / "home"),
        "VOUCHERS_IMPORT_FOLDER": str(tmp_path / "files"),
        "VOUCHERS_ALLOWED_HOSTS": "127.0.0.1",
        "VOUCHERS_IMPORT_CHUNK_ROWS": "50",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def begun_by_the_clock(monkeypatch) -> None:
    """Nothing is, unless a test says so: all sweeps, as each worker begins with, take longer than an import."""

    async def nothing(_: PeriodicDeferrer) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(PeriodicDeferrer, "worker", nothing)


@pytest.fixture
async def worker(settings: Settings, begun_by_the_clock: None):
    """Does the jobs while the test runs."""
    task = asyncio.create_task(work(settings))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def upload(client: AsyncClient, worker):
    """Imports a file, and waits for the end."""

    async def upload(content: bytes | str, pool: str = "p", name: str = "codes.csv", **fields) -> Response:
        content = content.encode() if isinstance(content, str) else content
        return await client.post(
            f"/v1/pools/{pool}/imports",
            files={"file": (name, content)},
            data=fields,
            headers={"Prefer": "wait=30"},
        )

    return upload


@pytest.fixture
def fetch(client: AsyncClient, worker):
    """Imports from a source, and waits for the end."""

    async def fetch(source: dict, pool: str = "p", **options) -> Response:
        return await client.post(
            f"/v1/pools/{pool}/imports", json={"source": source, **options}, headers={"Prefer": "wait=30"}
        )

    return fetch
