"""Jobs that no sweep takes up begin again where they were broken off."""

import asyncio

import pytest
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.platform.clock import clock
from app.platform.going_on import PAUSE_SECONDS, GoesOn


def decided(error):
    return GoesOn().get_retry_decision(exception=error, job=None)


def test_at_once_where_the_worker_is_told_to_stop():
    assert decided(asyncio.CancelledError()).retry_at is None


@pytest.mark.parametrize("error", [OperationalError("", {}, Exception()), PoolTimeoutError()])
def test_after_a_pause_where_the_database_is_away(error):
    pause = decided(error).retry_at - clock.now()
    assert 0 < pause.total_seconds() <= PAUSE_SECONDS


@pytest.mark.parametrize("error", [DataError("", {}, Exception()), KeyError("k")])
def test_not_where_it_would_fail_again(error):
    assert decided(error) is None
