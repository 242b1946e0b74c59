"""What processes take of the processors: who else works on the machine changes it less than it changes speeds."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

from benchmarks.load import Load
from tests.service import Service


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a load, and what each of its requests took of the processors, in µs."""

    load: Load
    web: float
    database: float
    everything: float


def of_service(service: Service, drive: Callable[[float], Load], duration: float) -> Turn:
    """Drive a service for so long; see what its web processes take, its PostgreSQL, and all of it."""
    database = service.postgres()[:1]
    assert service.process is not None
    everything = [psutil.Process(service.process.pid), *database]
    return turn(drive, duration, service.web(), database, everything)


def turn(
    drive: Callable[[float], Load],
    duration: float,
    web: list[psutil.Process],
    database: list[psutil.Process],
    everything: list[psutil.Process],
) -> Turn:
    """Drive for so long, and see what these processes take."""
    groups = (web, database, everything)
    before = [seconds(group) for group in groups]
    load = drive(duration)
    took = [seconds(group) - first for group, first in zip(groups, before, strict=True)]
    requests = load.per_second * duration
    return Turn(load, *(1e6 * each / requests for each in took))


def seconds(roots: Iterable[psutil.Process]) -> float:
    """Return what these and all that they started have taken so far; what has ended counts by its parent."""
    tree: set[psutil.Process] = set()
    for root in roots:
        tree |= {root, *root.children(recursive=True)}
    taken = 0.0
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            taken += sum(process.cpu_times()[:4])  # its own, and of its children that it has seen end
    return taken
