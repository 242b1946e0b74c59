"""Imports over HTTP beside COPY: `python -m benchmarks.imports [--rows 1000000 10000000] [--rounds 5]`.

For each size, in each round: a fresh service, COPY of the same file into an empty table with the same columns and
indexes, then the upload of it, until the import has succeeded. Then another file of a million is imported, while
another client asks for the counts of a pool, and what that costs it is measured. Figures are medians of the rounds,
ratios those of the medians, peaks the highest; sizes beyond the first have one round.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from app.platform.database_url import conninfo
from app.platform.postgres.server import LocalPostgres
from benchmarks import goals, harness
from tests.factories import KEY
from tests.service import Service

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
IDLE_SECONDS = 5.0
MEANWHILE = 1_000_000
PAUSE = 0.01
"""Seconds between two questions for the counts."""
HEAD = [
    "codes",
    "COPY, s",
    "import, s",
    "import : COPY",
    "per code, µs",
    "per code : first size",
    "peak of serving process, MiB",
    "peak of worker, MiB",
    "GET counts, p99 idle, ms",
    "p99 during import, ms",
    "during : idle",
]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    found = {
        rows: [_round(rows) for _ in range(1 if number else arguments.rounds)]
        for number, rows in enumerate(arguments.rows)
    }
    print(f"\n{harness.machine()}; medians of {arguments.rounds} rounds, one beyond the first size\n")
    print(goals.table(*_goals(found)))
    table: list[list[float]] = []
    for rows, rounds in found.items():
        copied, seconds, idle, during = (
            harness.median(_each(rounds, name)) for name in ("copied", "seconds", "idle", "during")
        )
        per_code = seconds / rows * 1e6
        ratios = seconds / copied, per_code, per_code / (table[0][4] if table else per_code)
        peaks = max(_each(rounds, "web")), max(_each(rounds, "jobs"))
        table.append([rows, copied, seconds, *ratios, *peaks, idle, during, during / idle])
    print(harness.table(HEAD, table))


@dataclass(frozen=True)
class Round:
    """What came of a round: seconds, MiB, and ms."""

    copied: float
    seconds: float
    web: float
    jobs: float
    idle: float
    during: float


def _each(rounds: Sequence[Round], name: str) -> list[float]:
    return [getattr(one, name) for one in rounds]


def _goals(found: dict[int, list[Round]]) -> Iterator[list[str]]:
    """Yield the rows of the first size, and those of the others beside it."""
    (first, rounds), *others = found.items()
    of_first = [_each(rounds, name) for name in ("seconds", "copied")]
    seconds, copied = map(harness.median, of_first)
    said = f"{seconds:.2f} s / {copied:.2f} s"
    yield goals.row("import", *of_first, said=said, size=goals.size(first))
    for rows, larger in others:
        took = harness.median(_each(larger, "seconds"))
        yield goals.row(
            "large import",
            [took / rows],
            [seconds / first],
            said=f"{took:.0f} s",
            size=goals.size(rows),
            than=goals.size(first),
        )
    during, idle = (_each(rounds, name) for name in ("during", "idle"))
    said = f"{harness.median(during):.1f} ms / {harness.median(idle):.1f} ms"
    yield goals.row("counts", during, idle, said=said)


def _round(rows: int) -> Round:
    with harness.service(workers=1) as service, tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "codes.csv", "SAVE", rows)
        other = write(Path(folder) / "other.csv", "LATE", MEANWHILE)
        copied = _copy(service, file)
        seconds = asyncio.run(send(service, "big", file, rows))
        idle, during = asyncio.run(_counts(service, other, MEANWHILE))
        found = Round(copied, seconds, *_peaks(service), idle, during)
        print(f"{found}; {harness.books_agree(service)}", file=sys.stderr, flush=True)
    return found


def write(file: Path, prefix: str, rows: int) -> Path:
    """Write a file of codes; return it."""
    with file.open("w") as out:
        out.write("code\n")
        out.writelines(f"{code}\n" for code in _codes(prefix, rows))
    return file


def _codes(prefix: str, rows: int) -> Iterator[str]:
    """Codes as a shop makes them, in no order, each once."""
    chance = random.Random(1)
    for number in range(rows):
        yield f"{prefix}-{number * 7919 % 10**8:08}{''.join(chance.choices(ALPHABET, k=4))}"


def _copy(service: Service, path: Path) -> float:
    """Seconds that COPY takes for the codes of the file, with pool and draw key, as psql would do it."""
    with (
        psycopg.connect(conninfo(LocalPostgres(service.home).url), autocommit=True) as connection,
        tempfile.NamedTemporaryFile("w+") as rows,
    ):
        chance = random.Random(2)
        with path.open() as lines:
            for line in itertools.islice(lines, 1, None):
                rows.write(f"{line.rstrip()}\t1\t{chance.getrandbits(63)}\n")
        rows.seek(0)
        connection.execute("CREATE TABLE copied (LIKE voucher INCLUDING ALL)")
        _settle(connection)
        started = time.perf_counter()
        with connection.cursor().copy("COPY copied (code, pool_id, draw_key) FROM STDIN") as copy:
            while block := rows.read(256 * 1024):
                copy.write(block)
        seconds = time.perf_counter() - started
        connection.execute("DROP TABLE copied")
        _settle(connection)
        return seconds


def _settle(connection: psycopg.Connection[Any]) -> None:
    """Leave no work behind for what is measured next, as far as an ordinary role can."""
    connection.execute("VACUUM")


async def _counts(service: Service, path: Path, rows: int) -> tuple[float, float]:
    """p99 of GET counts, idle and during an import that another process sends, in ms."""
    spawning = multiprocessing.get_context("spawn")
    async with service.client() as asker:
        await asker.post("/v1/pools", json={"name": "quiet"})
        until = time.monotonic() + IDLE_SECONDS
        idle = await _ask(asker, lambda: time.monotonic() < until)
        with ProcessPoolExecutor(1, mp_context=spawning) as other:
            sending = other.submit(_send_all, service.url, path, rows)
            during = await _ask(asker, lambda: not sending.done())
            sending.result()
        return _p99(idle), _p99(during)


def _send_all(url: str, path: Path, rows: int) -> None:
    asyncio.run(_send(url, "big", path, rows))


async def send(service: Service, pool: str, path: Path, rows: int) -> float:
    """Import a file into a pool; return the seconds from the first byte sent until it has succeeded."""
    return await _send(service.url, pool, path, rows)


async def _send(url: str, pool: str, path: Path, rows: int) -> float:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        started = time.perf_counter()
        with path.open("rb") as file:
            reply = await client.post(f"/v1/pools/{pool}/imports", files={"file": file}, timeout=600)
        done = reply.json()
        while done["status"] in {"queued", "running"}:
            await asyncio.sleep(0.1)
            done = (await client.get(f"/v1/imports/{done['id']}")).json()
        seconds = time.perf_counter() - started
        if (done["status"], done["imported"]) != ("succeeded", rows):
            raise RuntimeError(f"the import ended as {done}")
        return seconds


async def _ask(client: httpx.AsyncClient, go_on: Any) -> list[float]:
    """Milliseconds of each answer."""
    taken = []
    while go_on():
        started = time.perf_counter()
        (await client.get("/v1/pools/quiet/counts")).raise_for_status()
        taken.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(PAUSE)
    return taken


def _p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]


def _peaks(service: Service) -> tuple[float, float]:
    """Return the most memory that the serving process and the worker have had resident, in MiB."""
    assert service.process is not None
    web, jobs = 0.0, 0.0
    for child in psutil.Process(service.process.pid).children(recursive=True):
        if "spawn_main" not in " ".join(child.cmdline()):
            continue
        lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
        if any(connection.status == psutil.CONN_LISTEN for connection in child.net_connections()):
            web = max(web, peak)
        else:
            jobs = max(jobs, peak)
    return web, jobs


if __name__ == "__main__":
    main()
