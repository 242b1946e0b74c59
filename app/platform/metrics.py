"""Figures for Prometheus: requests by route, batches of the assigner, and the stock of every pool.

With several processes each writes to files in PROMETHEUS_MULTIPROC_DIR, which the supervisor sets, and whichever is
asked adds up.
"""

import os
from collections.abc import Iterable, Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

Stock = Iterable[tuple[str, Mapping[str, int]]]
"""Pools by name, each with its counts by state."""

# The library asks the system for the process's id at every observation; it does not change.
_PROCESS = os.getpid()
if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: _PROCESS)  # type: ignore[no-untyped-call]

REQUESTS = Histogram(
    "vouchers_http_request_seconds",
    "Time from request to reply",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
UNJUDGED = Counter("vouchers_unjudged_rows", "Rows that a sweep could not judge and left alone")
SCHEDULES_GAVE_UP = Counter(
    "vouchers_import_schedules_gave_up", "Import schedules that failed until their next regular run"
)
BATCHES = Histogram(
    "vouchers_assign_batch_size",
    "Requests that one statement answered",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000),
)
_requests: dict[tuple[str, str | None, int], Histogram] = {}


def observe_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request; `route` is the template, so that labels stay few."""
    key = (method, route, status)
    child = _requests.get(key)
    if child is None:
        child = _requests[key] = REQUESTS.labels(method, route or "none", status)
    child.observe(seconds)


def exposition(stock: Stock) -> bytes:
    """Return all figures, with the stock of the pools as it is right now, in Prometheus' text format."""
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(_Stock(stock))
    return generate_latest(registry)


class _Stock(Collector):
    """The stock of the pools as a metric."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("vouchers_stock", "Vouchers of a pool by state", labels=["pool", "state"])
        for pool, counts in self._stock:
            for state, n in counts.items():
                if state != "total":
                    family.add_metric([pool, state], n)
        yield family
