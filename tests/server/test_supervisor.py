"""The supervisor ends, whatever else does not."""

import threading
from unittest.mock import Mock

from app.server import supervisor
from app.server.supervisor import Supervisor


def test_a_start_of_the_database_that_hangs_holds_up_no_stop(monkeypatch):
    monkeypatch.setattr(supervisor, "SPARE_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "log", log := Mock())
    hangs, over = threading.Event(), threading.Event()

    def ensure_running():
        hangs.set()
        over.wait()

    stops = Supervisor("127.0.0.1", 0, 1, with_jobs=False, postgres=Mock(ensure_running=ensure_running))
    stops._roles, stops._grace = [], 0
    stops._keeper.start()
    assert hangs.wait(20)
    ending = threading.Thread(target=stops._end, daemon=True)
    ending.start()
    ending.join(20)
    has_ended, is_told_to_stop = not ending.is_alive(), stops._stop.is_set()
    stops._stop.set()
    over.set()
    stops._keeper.join(20)
    assert has_ended
    assert is_told_to_stop
    assert "is left to itself" in log.warning.call_args.args[0]
