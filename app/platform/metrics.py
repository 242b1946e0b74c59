"""Figures for Prometheus, by OpenTelemetry's names where there are such.

With several processes each writes to files in PROMETHEUS_MULTIPROC_DIR, which whoever starts them sets, and whichever
is asked adds up. No family has a label that callers choose, but the stock, whose pools are bounded.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.platform.metric_files import reserve_always

Stock = Sequence[tuple[str, Mapping[str, int]]]
"""Pools by name, each with its counts by state."""

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# The library asks the system for the process's id at every observation; it does not change.
_PROCESS = os.getpid()
if FOLDER in os.environ:
    reserve_always()
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: _PROCESS)  # type: ignore[no-untyped-call]

REQUESTS = Histogram(
    "http_server_request_duration_seconds",
    "Time from request to reply",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
BATCHES = Histogram(
    "vouchers_assign_batch_size",
    "Requests that one statement answered",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000),
)
DRAWN = Counter("vouchers_drawn", "Vouchers drawn from pools, for whatever purpose")
SHORTAGES = Counter(
    "vouchers_shortages",
    "Looks for codes that found too few, by why: a draw that waits looks up to five times",
    ["reason"],
)
RENDERS = Counter("vouchers_renders", "Messages rendered, by what came of them", ["mode", "outcome"])
IMPORTS = Counter("vouchers_imports", "Imports that ended, by how", ["outcome"])
RESTED = Counter(
    "vouchers_job_rest_seconds", "Time that long jobs have rested because processes had many requests"
)
REDEMPTIONS = Counter("vouchers_redemptions", "Uses of codes that were judged, by outcome", ["outcome"])
DELIVERIES = Counter(
    "vouchers_deliveries", "Tries to deliver a message, by what came of them", ["channel", "outcome"]
)
UNJUDGED = Counter("vouchers_unjudged_rows", "Rows that a sweep could not judge and left alone")
SCHEDULES_GAVE_UP = Counter(
    "vouchers_import_schedules_gave_up", "Import schedules that failed until their next regular run"
)
CONNECTIONS = Gauge(
    "db_client_connection_count",
    "Connections to PostgreSQL of all web processes",
    ["db_client_connection_pool_name", "db_client_connection_state"],
    multiprocess_mode="livesum",
)
MOST_CONNECTIONS = Gauge(
    "db_client_connection_max",
    "Most connections that all web processes may have",
    ["db_client_connection_pool_name"],
    multiprocess_mode="livesum",
)
for _reason in ("pool-exhausted", "pool-busy"):
    SHORTAGES.labels(_reason)
for _outcome in ("succeeded", "failed"):
    IMPORTS.labels(_outcome)
for _channel in ("webhook", "email"):
    DELIVERIES.labels(_channel, "failed")


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge that is read when it is asked for: one value, or one for each queue."""

    name: str
    meaning: str
    value: float | Mapping[str, float]
    database: str | None = None
    """Where it was read, where there are several."""


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
_requests: dict[tuple[str, str | None, int], Histogram] = {}


def observe_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request; `route` is the template, so that labels stay few."""
    key = (method, route, status)
    child = _requests.get(key)
    if child is None:
        named = method if method in _METHODS else "_OTHER"
        child = REQUESTS.labels(named, route or "none", status)
        if named == method:
            _requests[key] = child
    child.observe(seconds)


@contextmanager
def counting_together() -> Iterator[None]:
    """Have the processes that are started in the block count in files, and these deleted at its end."""
    with tempfile.TemporaryDirectory(prefix="vouchers-metrics-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def forget_process(process_id: int) -> None:
    """Leave out the gauges of a process that has ended; what it counted stays."""
    if FOLDER in os.environ:
        mark_process_dead(process_id)  # type: ignore[no-untyped-call]


def exposition(
    project: str, stock: Stock, most_pools: int, readings: Sequence[Reading], *, of_service: bool
) -> bytes:
    """Return figures in Prometheus' text format.

    Args:
        project: name of the one that the stock is of.
        stock: pools with their counts as they are right now; one more than `most_pools` tells that there are more.
        most_pools: of how many pools the stock is shown.
        readings: gauges as they are right now.
        of_service: whether it is told too what the service does for all projects together.
    """
    registry = CollectorRegistry()
    if of_service and FOLDER in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(Processes(Path(os.environ[FOLDER])))
    elif of_service:
        registry.register(REGISTRY)
    registry.register(_Now(project, stock, most_pools, readings))
    return generate_latest(registry)


class _Now(Collector):
    """What is so right now, as the database tells."""

    def __init__(self, project: str, stock: Stock, most: int, readings: Sequence[Reading]) -> None:
        self._project = project
        self._stock = stock
        self._most = most
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "vouchers_stock", "Vouchers of a pool by state", labels=["project", "pool", "state"]
        )
        held = GaugeMetricFamily(
            "vouchers_held", "Part of available that holds keep for campaigns", labels=["project", "pool"]
        )
        for pool, counts in self._stock[: self._most]:
            for state, n in counts.items():
                if state == "held":
                    held.add_metric([self._project, pool], n)
                elif state != "total":
                    family.add_metric([self._project, pool, state], n)
        yield family
        yield held
        cut = len(self._stock) > self._most
        yield GaugeMetricFamily(
            "vouchers_stock_cut", f"1 where pools beyond {self._most} are left out", value=cut
        )
        build = GaugeMetricFamily("vouchers_build_info", "The release that answers", labels=["version"])
        build.add_metric([version("voucher-pools")], 1)
        yield build
        families: dict[str, GaugeMetricFamily] = {}
        for reading in self._readings:
            by_queue = isinstance(reading.value, Mapping)
            of_database = [] if reading.database is None else [reading.database]
            if reading.name not in families:
                labels = ["database"] * bool(of_database) + ["queue"] * by_queue
                families[reading.name] = GaugeMetricFamily(reading.name, reading.meaning, labels=labels)
            if isinstance(reading.value, Mapping):
                for queue, value in reading.value.items():
                    families[reading.name].add_metric([*of_database, queue], value)
            else:
                families[reading.name].add_metric(of_database, reading.value)
        yield from families.values()


class Processes(Collector):
    """Time and memory of each process of the service, read from the system."""

    def __init__(self, folder: Path, *besides: int) -> None:
        self._folder = folder
        self._besides = set(map(str, besides))

    def collect(self) -> Iterator[Metric]:
        """Yield each family, with a sample of each process."""
        ids = self._besides | {file.stem.rpartition("_")[2] for file in self._folder.glob("*.db")}
        merged: dict[str, Metric] = {}
        for process_id in sorted(ids):
            if process_id.isdigit() and Path(f"/proc/{process_id}").exists():
                for family in _figures_of(int(process_id)):
                    into = merged.setdefault(
                        family.name, Metric(family.name, family.documentation, family.type)
                    )
                    for sample in family.samples:
                        into.add_sample(sample.name, {"pid": process_id}, sample.value)
        yield from merged.values()


def _figures_of(process_id: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: process_id, registry=None).collect()
