"""The chaos suite runs only where it is named: `pytest -n 0 tests/chaos`."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.platform.postgres.server import LocalPostgres
from tests.chaos.disk import can_mount


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if any("chaos" in argument for argument in config.args) else True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not can_mount():
        terminalreporter.write_line("Nobody may mount a file system here, so no disk was filled.")


@pytest.fixture(scope="session", autouse=True)
def hang_up_is_heard() -> Iterator[None]:
    """A service is told to replace its processes by SIGHUP, which `nohup` would have it pass over."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def outside() -> Iterator[Path]:
    """The home of a PostgreSQL that is not the service's own."""
    home = Path(tempfile.mkdtemp(prefix="vp-"))
    home.chmod(0o711)  # others than root may pass through it
    try:
        with LocalPostgres(home):
            yield home
    finally:
        shutil.rmtree(home)
