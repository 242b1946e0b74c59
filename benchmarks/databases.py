"""Projects in several databases: `python -m benchmarks.databases [--rounds 3] [--seconds 4] [--away 30] [--memory]`.

First nine projects of one service, all in one database, beside nine of another one, three in each of three databases:
the same load on each, in turns, and what an assign takes of the processors. Each PostgreSQL is a server of its own,
with fsync on. Then single assigns, some 300 a second, in the projects of two of the three databases while the third is
killed, and while it hangs; meanwhile others go on asking for its projects. `--away 0` leaves that out. With `--memory`
all data folders are in memory: what is left is the service's and the processors', without the moods of a disk.
"""

import argparse
import asyncio
import contextlib
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
from sqlalchemy.ext.asyncio import AsyncEngine

from app.platform.databases import MAIN
from app.platform.engines import create_long_engine
from app.platform.postgres.server import LocalPostgres
from app.platform.settings import Settings
from benchmarks import harness, load, yardsticks
from tests.service import Service, postgres_of, suspend_postgres_of

FURTHER = 2
EACH = 3
"""Projects in each database."""
WORKERS = 2
CONNECTIONS = 64
MOST = 15_000
"""Assigns a second that the pools are filled for."""
PER_SECOND = 300
HONEST = 32
"""Connections of those whose databases are there."""
OTHERS = 8
"""Connections of those who ask for the database that goes; each pauses so long between two requests:"""
OTHERS_PAUSE_MS = 200
EDGE = 2
"""Seconds of load before a database goes, and after it is back."""
PATH = "/v1/pools/codes/assignments"
LONGEST_WAIT = 60.0

Outage = Callable[[LocalPostgres], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Side:
    """A service, and its projects by the database that they live in; the first is the control database."""

    service: Service
    further: list[LocalPostgres]
    shops: list[list[harness.Shop]]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Path and key of each project."""
        return _places(self.shops)

    @property
    def homes(self) -> list[Path]:
        """The folder of each database."""
        return [self.service.home, *(server.home for server in self.further)]


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a load on a side: assigns a second, and microseconds of the processors that each took."""

    per_second: float
    web: float
    postgres: float
    jobs: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.web + self.postgres + self.jobs


@dataclass(frozen=True, slots=True)
class Episode:
    """What callers were told: those whose databases were there, and those of the one that went."""

    living: load.Load
    gone: load.Load | None
    back_seconds: float


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=4)
    options.add_argument("--away", type=int, default=30, help="seconds for which a database is away")
    options.add_argument("--memory", action="store_true", help="data folders in memory")
    arguments = options.parse_args()
    disk = harness.memory() if arguments.memory else None
    rounds, away = arguments.rounds, arguments.away
    codes = 1000 + (rounds + 1) * arguments.seconds * MOST // EACH // (1 + FURTHER)
    later = rounds * len(STATES) * (away + 2 * EDGE) * PER_SECOND // EACH
    with _side(FURTHER, codes + later, disk) as three:
        with _side(0, codes, disk) as one:
            _print_turns(_in_turns({"one": one, "three": three}, rounds, arguments.seconds))
            print(f"\nOne database: {harness.books_agree(one.service)}", flush=True)
        if away:
            _print_episodes(_episodes(three, rounds, away), away)
        print(f"\nThree databases: {harness.books_agree(three.service)}")


@contextmanager
def _side(further: int, codes: int, disk: Path | None) -> Iterator[Side]:
    """Give a service with so many further databases, and as many projects however many there are."""
    with ExitStack() as stack:
        servers = [stack.enter_context(_server(disk)) for _ in range(further)]
        service = stack.enter_context(harness.service(WORKERS, disk))
        for n, server in enumerate(servers):
            done = service.run("database", "add", f"further-{n + 1}", "--url", server.url)
            if done.returncode:
                raise RuntimeError(done.stderr)
        each = EACH * (1 + FURTHER) // (1 + further)
        shops = harness.on(service, lambda engine: _shops(engine, servers, each, codes))
        yield Side(service, servers, shops)


@contextmanager
def _server(disk: Path | None) -> Iterator[LocalPostgres]:
    home = Path(tempfile.mkdtemp(prefix="vp-", dir=disk))
    try:
        with LocalPostgres(home) as server:
            yield server
    finally:
        shutil.rmtree(home)


async def _shops(
    engine: AsyncEngine, servers: Sequence[LocalPostgres], each: int, codes: int
) -> list[list[harness.Shop]]:
    made = []
    for n, url in enumerate([None, *(server.url for server in servers)]):
        home = None if url is None else create_long_engine(Settings(DATABASE_URL=url))
        names = [f"shop-{n}-{k}" for k in range(each)]
        made.append([await harness.project(engine, name, codes, MAIN + n, home) for name in names])
        if home is not None:
            await home.dispose()
    return made


def _places(shops: Sequence[Sequence[harness.Shop]]) -> list[tuple[str, str]]:
    return [(PATH, shop.key) for of_one in shops for shop in of_one]


def _in_turns(sides: dict[str, Side], rounds: int, seconds: int) -> dict[str, list[Turn]]:
    found: defaultdict[str, list[Turn]] = defaultdict(list)
    for n in range(rounds + 1):
        for name in sides if n % 2 else reversed(sides):
            turn = _turn(sides[name], seconds)
            if n:  # the first warms
                found[name].append(turn)
    return found


def _turn(side: Side, seconds: int) -> Turn:
    before = _processor_seconds(side)
    done = load.post_all_over(
        side.service.url, side.places, yardsticks.BODY, connections=CONNECTIONS, seconds=seconds
    )
    took = [after - since for after, since in zip(_processor_seconds(side), before, strict=True)]
    if done.failed:
        raise RuntimeError(f"{done.failed} requests failed")
    return Turn(done.per_second, *(1e6 * each / (done.per_second * seconds) for each in took))


def _processor_seconds(side: Side) -> tuple[float, float, float]:
    """Return what web processes, all PostgreSQL servers, and the service's other processes have taken so far."""
    assert side.service.process is not None
    root = psutil.Process(side.service.process.pid)
    web = set(side.service.web())
    postgres = {process for home in side.homes for process in postgres_of(home)}
    others = {root, *root.children(recursive=True)} - web - postgres
    return _taken(web), _taken(postgres, with_gone=True), _taken(others)


def _taken(processes: set[psutil.Process], *, with_gone: bool = False) -> float:
    """Return what processes have taken; also what those took that they have seen end."""
    seconds = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[: 4 if with_gone else 2])
    return seconds


def _print_turns(found: dict[str, list[Turn]]) -> None:
    one, three = found["one"], found["three"]
    ratios = [b.per_second / a.per_second for a, b in zip(one, three, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    n = EACH * (1 + FURTHER)
    rows = [
        [f"{n} projects in {1 + FURTHER} databases", harness.median(ratios), spread, *_medians(three)],
        [f"{n} projects in one", 1.0, "", *_medians(one)],
    ]
    head = ["", "ratio", "by round", "assigns per second"]
    head += [f"{whose}, µs an assign" for whose in ("web processes", "PostgreSQL", "jobs", "all")]
    print(f"{harness.machine()}; load by {load.tool()}; medians of {len(one)} interleaved rounds\n")
    print(harness.table(head, rows))
    _, web, postgres, *_ = (each / 100 for each in _medians(three))  # 10,000 a second, in µs
    print(
        f"\n10,000 assigns a second over {1 + FURTHER} databases take {web:.1f} processors of the machines with web"
        f" processes and {postgres / (1 + FURTHER):.1f} of each database's",
        flush=True,
    )


def _medians(turns: Sequence[Turn]) -> list[float]:
    names = ("per_second", "web", "postgres", "jobs", "total")
    return [harness.median([getattr(turn, name) for turn in turns]) for name in names]


@contextmanager
def _killed(server: LocalPostgres) -> Iterator[None]:
    for process in postgres_of(server.home):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    try:
        yield
    finally:
        server.ensure_running()


@contextmanager
def _hung(server: LocalPostgres) -> Iterator[None]:
    stopped = suspend_postgres_of(server.home)
    try:
        yield
    finally:
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


ALONE = "serves, nobody asks for it"
STATES: dict[str, Outage | None] = {
    ALONE: None,
    "serves": nullcontext,
    "killed": _killed,
    "hangs": _hung,
}
"""How the third database is, and what makes it so."""


def _episodes(side: Side, rounds: int, away: int) -> dict[str, list[Episode]]:
    living = partial(
        load.post_all_over,
        side.service.url,
        _places(side.shops[:-1]),
        yardsticks.BODY,
        connections=HONEST,
    )
    pause_ms = load.pause_ms(PER_SECOND, HONEST, lambda ms: living(seconds=2, pause_ms=ms))
    found: defaultdict[str, list[Episode]] = defaultdict(list)
    for _ in range(rounds):
        for name, outage in STATES.items():
            found[name].append(_episode(side, partial(living, pause_ms=pause_ms), outage, away))
    return found


def _episode(side: Side, living: Callable[..., load.Load], outage: Outage | None, away: int) -> Episode:
    """Have the load on the others' projects while the last database is away."""
    seconds = away + 2 * EDGE
    with ThreadPoolExecutor(2) as threads:
        others = threads.submit(living, seconds=seconds)
        if outage is None:
            return Episode(others.result(), None, 0.0)
        asking = threads.submit(
            load.post_all_over,
            side.service.url,
            _places(side.shops[-1:]),
            yardsticks.BODY,
            connections=OTHERS,
            seconds=seconds,
            pause_ms=OTHERS_PAUSE_MS,
        )
        time.sleep(EDGE)
        with outage(side.further[-1]):
            time.sleep(away)
        back = asyncio.run(_back(side))
        return Episode(others.result(), asking.result(), back)


async def _back(side: Side) -> float:
    """Return after how long each project of the last database gave a code again."""
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=side.service.url, timeout=LONGEST_WAIT) as client:
        for shop in side.shops[-1]:
            headers = {"Authorization": f"Bearer {shop.key}"}
            while (await client.post(PATH, json={}, headers=headers)).status_code != 201:
                if time.monotonic() - began > LONGEST_WAIT:
                    raise RuntimeError("the projects of the database that was away are not served again")
                await asyncio.sleep(0.05)
    return time.monotonic() - began


def _print_episodes(found: dict[str, list[Episode]], away: int) -> None:
    alone = [each.living.p99_ms for each in found[ALONE]]
    rows, refused = [], []
    for name, episodes in found.items():
        living = [each.living for each in episodes]
        ratios = [each.p99_ms / usual for each, usual in zip(living, alone, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        times = [harness.median([getattr(each, of) for each in living]) for of in ("p99_ms", "p50_ms")]
        longest, failed = max(each.longest_ms for each in living), sum(each.failed for each in living)
        rate = harness.median([each.per_second for each in living])
        rows.append([name, harness.median(ratios), spread, failed, *times, longest, rate])
        gone = [each.gone for each in episodes if each.gone is not None]
        if gone:
            asked = round(sum(each.per_second * (away + 2 * EDGE) for each in gone))
            longest = max(each.longest_ms for each in gone)
            back = max(each.back_seconds for each in episodes)
            refused.append([name, asked, sum(each.failed for each in gone), longest, back])
    head = ["the third database", "p99 : first", "by round", "failed", "p99, ms", "p50, ms", "longest, ms"]
    print(
        f"\nProjects of the other two, while the third is away for {away} s; medians of {len(alone)} rounds\n"
    )
    print(harness.table([*head, "assigns per second"], rows))
    print("\nIts own projects\n")
    head = ["the third database", "asked", "refused", "longest, ms", "all are served again after, s"]
    print(harness.table(head, refused), flush=True)


if __name__ == "__main__":
    main()
