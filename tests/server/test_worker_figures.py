"""The figures of a worker that runs by itself, and who is told them."""

import asyncio
import os
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.domain.access.errors import ForbiddenError, TooManyRequestsError, UnauthenticatedError
from app.platform.errors import DatabaseUnavailableError
from app.platform.metrics import DELIVERIES, IMPORTS, counting_together
from app.platform.settings import Settings
from app.server import worker_figures
from app.server.worker_figures import Figures
from app.web import failed_keys
from tests.factories import KEY, add_key, add_projects
from tests.worker import PROJECT

COUNT = """
from app.platform.metrics import DELIVERIES, IMPORTS
IMPORTS.labels("failed").inc(2)
DELIVERIES.labels("email", "failed").inc()
"""


@pytest.fixture
def told(settings, monkeypatch):
    """Ask for the figures of this process, as a scrape with a key does."""
    monkeypatch.setattr(worker_figures, "get_settings", lambda: settings)
    figures = Figures()

    async def told(key=KEY):
        return (await asyncio.to_thread(figures.told_to, key and f"Bearer {key}", "192.0.2.1")).decode()

    with counting_together():
        yield told


def failed(metric, *labels):
    return metric.labels(*labels, "failed")._value.get()


async def test_a_worker_tells_what_it_has_counted_and_the_processes_that_it_keeps(engine, told):
    await add_key(engine, KEY, "read")
    counted = failed(IMPORTS), failed(DELIVERIES, "email")
    IMPORTS.labels("failed").inc()
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", COUNT], cwd=PROJECT, check=True)
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(await told())
        for sample in family.samples
    }
    assert values["vouchers_imports_total", "failed"] == counted[0] + 1 + 2
    assert values["vouchers_deliveries_total", "email", "failed"] == counted[1] + 1
    assert values["vouchers_unjudged_rows_total",] >= 0
    assert values["process_resident_memory_bytes", str(os.getpid())] > 0


async def test_figures_are_told_to_whom_the_service_would_tell_them(engine, told, monkeypatch):
    (other,) = await add_projects(engine, "other")
    for key, scope in (("r" * 40, "read"), ("o" * 40, "operator"), ("a" * 40, "assign")):
        await add_key(engine, key, scope)
    await add_key(engine, "t" * 40, "admin", project_id=other)
    for key in ("r" * 40, "o" * 40):
        assert "vouchers_imports_total" in await told(key)
    for key in ("a" * 40, "t" * 40):
        with pytest.raises(ForbiddenError):
            await told(key)
    monkeypatch.setattr(failed_keys, "FAILURES_PER_MINUTE", 1)
    for key in (None, "unknown"):
        with pytest.raises(UnauthenticatedError):
            await told(key)
    with pytest.raises(TooManyRequestsError):
        await told("unknown")


@pytest.mark.parametrize("url", [None, "postgresql://127.0.0.1:1/none"])
async def test_without_its_database_a_worker_tells_nobody(told, monkeypatch, url):
    monkeypatch.setattr(worker_figures, "get_settings", lambda: Settings(DATABASE_URL=url))
    with pytest.raises(DatabaseUnavailableError):
        await told()
