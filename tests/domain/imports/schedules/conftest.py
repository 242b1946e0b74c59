"""Schedules are what the clock begins."""

import pytest


@pytest.fixture
def begun_by_the_clock() -> None:
    """All that is due, as everywhere."""
