"""An embedded database that does not start at once is tried again."""

import pytest

from app.cli import opening
from app.platform.postgres.server import LocalPostgresError, ServerStartError


class Stubborn:
    """A server that fails to start so many times."""

    def __init__(self, error, times):
        self.error, self.times, self.tries = error, times, 0

    def start(self):
        self.tries += 1
        if self.tries <= self.times:
            raise self.error


@pytest.fixture
def clock(monkeypatch):
    """A clock that only sleeping moves."""
    now = [0.0]
    monkeypatch.setattr(opening.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(opening.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_a_server_that_does_not_start_is_tried_again_with_pauses_that_stay_short(clock):
    server = Stubborn(ServerStartError("no space left on device"), 6)
    opening.start(server, 60)
    assert (server.tries, clock[0]) == (7, 1 + 2 + 4 + 5 + 5 + 5)


def test_one_that_never_starts_is_told_in_the_end(clock):
    server = Stubborn(ServerStartError("no space left on device"), 1000)
    with pytest.raises(ServerStartError):
        opening.start(server, 60)
    assert clock[0] <= 60


def test_what_no_waiting_changes_is_told_at_once(clock):
    server = Stubborn(LocalPostgresError("of another version"), 1000)
    with pytest.raises(LocalPostgresError):
        opening.start(server, 60)
    assert server.tries == 1
