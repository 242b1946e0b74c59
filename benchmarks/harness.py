"""What every benchmark needs: pools to draw from, a check of the books, and a table with medians and ratios."""

import argparse
import asyncio
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.domain.access.keys import service as keys
from app.domain.access.scopes import Scope
from app.domain.pools import service as pools
from app.domain.projects import service as service_of_projects
from app.platform.database import transaction
from app.platform.databases import MAIN
from app.platform.engines import create_long_engine
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings
from tests.factories import KEY
from tests.service import Service

Result = TypeVar("Result")
LOG_LEVEL = str(Settings.model_fields["log_level"].default)
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30
"""How much room a service needs there."""

FILL = text("""
INSERT INTO voucher (code, pool_id, draw_key)
SELECT code, :pool_id, hashtextextended(code, 0) AS draw_key
FROM (SELECT CAST(:prefix AS text) || n AS code FROM generate_series(1, CAST(:n AS bigint)) AS n) AS codes
ORDER BY draw_key
""")
COUNT = text("UPDATE stock SET available = available + :n WHERE pool_id = :pool_id AND slot = 0")


def rounds_and_seconds(about: str | None) -> tuple[int, int]:
    """Return how many rounds are asked for at the command line, and how long each is."""
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=5)
    arguments = options.parse_args()
    return arguments.rounds, arguments.seconds


def on(service: Service, act: Callable[[AsyncEngine], Awaitable[Result]]) -> Result:
    """Do something on the service's database."""

    async def run() -> Result:
        engine = create_long_engine(Settings(DATABASE_URL=service.database_url))
        try:
            return await act(of_project(engine, DEFAULT))
        finally:
            await engine.dispose()

    return asyncio.run(run())


def service(workers: int, disk: Path | None = None, log_level: str = LOG_LEVEL) -> Service:
    """A service with default settings, log level included; no backup, which a new one would make after minutes."""
    return Service(workers=workers, disk=disk, VOUCHERS_LOG_LEVEL=log_level, VOUCHERS_BACKUPS="0")


def memory() -> Path | None:
    """Return a folder in memory, for data that no disk shall slow down; None where there is none with room."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES else None


def in_memory() -> str:
    """Return what to say of a figure whose data folder is to be in memory."""
    return f"in {MEMORY}" if memory() else f"on disk: {MEMORY} has no room"


def import_pool(service: Service, pool: str, n: int) -> None:
    """Import a pool of `n` codes by upload, as a user would; ready to draw from when it returns."""
    import_codes(service, pool, (f"{pool}-{number:09d}" for number in range(n)))


def import_codes(service: Service, pool: str, codes: Iterable[str]) -> int:
    """Import these codes by upload, as `import_pool` does; return how many."""
    n = 0
    headers = {"Authorization": f"Bearer {KEY}", "Prefer": "wait=60"}
    with tempfile.TemporaryFile() as file, httpx.Client(base_url=service.url, headers=headers) as client:
        file.write(b"code\n")
        for n, code in enumerate(codes, 1):  # noqa: B007  (the last one counts them)
            file.write(b"%s\n" % code.encode())
        file.seek(0)
        path = f"/v1/pools/{pool}/imports"
        done = client.post(path, files={"file": ("codes.csv", file)}, timeout=600).json()
        while done["status"] in {"queued", "running"}:
            time.sleep(0.5)
            done = client.get(f"/v1/imports/{done['id']}").json()
    if done["imported"] != n:
        raise RuntimeError(f"the import ended as {done}")
    return n


def pool_id(service: Service, pool: str) -> int:
    """Return the id of a pool."""

    async def find(engine: AsyncEngine) -> int:
        async with transaction(engine) as connection:
            return await pools.ensure(connection, pool)

    return on(service, find)


@asynccontextmanager
async def alone(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection of the database's owner, on which each statement is a transaction of its own."""
    async with engine.execution_options(project=None).connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("SET ROLE NONE"))
        yield connection
        await connection.execute(text("RESET ROLE"))


async def fill(engine: AsyncEngine, pool: str, n: int) -> int:
    """Make a pool of `n` codes, as an import would leave it; its id."""
    async with transaction(engine) as connection:
        pool_id = await pools.ensure(connection, pool)
        await connection.execute(FILL, {"pool_id": pool_id, "prefix": f"{pool}-", "n": n})
        await connection.execute(COUNT, {"pool_id": pool_id, "n": n})
    async with alone(engine) as connection:
        await connection.execute(text("VACUUM ANALYZE voucher"))
    return pool_id


@dataclass(frozen=True, slots=True)
class Shop:
    """A project beside `default`, and a key of it that may assign, render and import."""

    id: int
    key: str


async def projects(engine: AsyncEngine, n: int, codes: int) -> list[Shop]:
    """Make projects, each with a pool `codes` of so many."""
    return [await project(engine, f"shop-{k}", codes) for k in range(n)]


async def project(
    engine: AsyncEngine, name: str, codes: int, database_id: int = MAIN, home: AsyncEngine | None = None
) -> Shop:
    """Make a project with a pool `codes` of so many.

    Args:
        engine: on the control database, in any project.
        name: of the project.
        codes: how many.
        database_id: of the database that it is to live in.
        home: on that database; none where it is the control database.
    """
    async with transaction(engine) as connection:
        made = await service_of_projects.create(connection, None, name, database_id)
        _, secret = await keys.issue(connection, None, made.id, "benchmark", [Scope.ASSIGN, Scope.POOLS])
    await fill_in(engine if home is None else home, made.id, "codes", codes)
    return Shop(made.id, secret)


async def fill_in(engine: AsyncEngine, project_id: int, pool: str, n: int) -> int:
    """Make a pool as `fill` does, in a project."""
    return await fill(of_project(engine, project_id), pool, n)


def books_agree(service: Service) -> str:
    """Return what `vouchers check` says of the work that was measured."""
    done = service.run("check")
    return "`vouchers check`: agrees" if done.returncode == 0 else f"`vouchers check` FAILS: {done.stdout}"


def median(values: Sequence[float]) -> float:
    """Return the middle one."""
    return statistics.median(values)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """Return the machine, in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{model}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()},"
        f" Python {platform.python_version()}, PostgreSQL 18, fsync on"
    )


def _cell(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.2f}"
