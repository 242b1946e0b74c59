"""Figures of a worker that runs by itself: of its own process, and of those that it keeps for further databases."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.platform.metrics import FOLDER, Processes

OURS = "vouchers_"
"""What the names of all begin with that jobs count; requests and their connections are counted elsewhere."""


def job_exposition() -> bytes:
    """Return what jobs have counted, and time and memory of the processes that do them, in Prometheus' text format.

    To be called where processes count together (`metrics.counting_together`).
    """
    folder = Path(os.environ[FOLDER])
    registry = CollectorRegistry()
    registry.register(_Counted(folder))
    registry.register(Processes(folder, os.getpid()))
    return generate_latest(registry)


class _Counted(Collector):
    """What this process has counted in memory, for it was there before the folder, and others in files, added up."""

    def __init__(self, folder: Path) -> None:
        self._others = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        sums = defaultdict[tuple[str, str, tuple[tuple[str, str], ...]], float](float)
        others = self._others.collect()  # type: ignore[no-untyped-call]
        for family in (*REGISTRY.collect(), *others):
            if family.name.startswith(OURS):
                families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    sums[family.name, sample.name, tuple(sorted(sample.labels.items()))] += sample.value
        for (family_name, name, labels), value in sums.items():
            families[family_name].add_sample(name, dict(labels), value)
        yield from families.values()
