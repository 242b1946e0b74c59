"""The supervisor ends, whatever else does not, and finds its service past any proxy."""

import errno
import signal
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from unittest.mock import Mock

import pytest

from app.cli import demo
from app.server import roles, supervisor
from app.server.roles import Role, Running
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


@pytest.fixture
def supervised():
    supervisor = Supervisor("127.0.0.1", 0, 1, with_jobs=False, postgres=None)
    supervisor._roles = []
    yield supervisor
    for held in supervisor._held:
        held.close()


class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def answering(held):
    """Requests to a socket that is bound are answered."""
    server = HTTPServer(held.getsockname(), Ready, bind_and_activate=False)
    server.socket.close()
    server.socket = held
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield
    server.shutdown()
    thread.join()


@pytest.fixture
def proxied(monkeypatch):
    """The environment names a proxy, behind which nothing answers."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_the_service_is_found_past_any_proxy(supervised, proxied):
    with answering(supervised._held[0]):
        assert supervised._ready()
        with demo._client(f"http://127.0.0.1:{supervised.port}") as client:
            assert client.get("/health/ready").status_code == 200


def test_processes_are_replaced_also_before_requests_are_answered(supervised, monkeypatch):
    monkeypatch.setattr(supervised, "_ready", lambda: False)
    monkeypatch.setattr(supervised, "_replace_all", replaced := Mock(side_effect=supervised._stop.set))
    supervised._replace.set()
    too_long = threading.Timer(20, supervised._stop.set)
    too_long.start()
    supervised._keep_processes(on_ready := Mock())
    too_long.cancel()
    assert (replaced.call_count, on_ready.call_count) == (1, 0)


def test_a_process_that_outlives_its_kill_holds_up_nobody_for_ever():
    process = Mock()
    Running(process, Mock(), 0.0).kill()
    assert [call[0] for call in process.method_calls] == ["kill", "join"]
    process.join.assert_called_once_with(roles.KILL_SECONDS)


def given(monkeypatch, *outcomes):
    """What each start of a process comes to; the process."""
    process = Mock(pid=None, start=Mock(side_effect=outcomes))
    beat = Mock(return_value=Mock(value=0.0))
    monkeypatch.setattr(roles, "_SPAWN", Mock(RawValue=beat, Process=Mock(return_value=process)))
    return process


NO_PROCESS, NO_MEMORY = BlockingIOError(errno.EAGAIN, "no process"), OSError(errno.ENOMEM, "no memory")


def test_a_process_that_the_system_does_not_give_is_tried_again_at_the_next_look(supervised, monkeypatch):
    process = given(monkeypatch, NO_PROCESS, None, NO_MEMORY, None)
    role = Role("web-0", print, (), 10.0, signal.SIGTERM)
    supervised._roles = [role]
    supervised._revive()
    assert role.now is None
    supervised._revive()
    assert role.now is not None
    died, process.is_alive.return_value = role.now, False
    supervised._revive()
    assert role.now is died
    supervised._revive()
    assert role.now is not died


def test_where_no_process_is_to_be_had_for_a_replacement_the_old_ones_go_on(supervised, monkeypatch):
    given(monkeypatch, NO_PROCESS)
    monkeypatch.setattr(supervisor, "log", log := Mock())
    old = Running(Mock(), Mock(value=1.0), 0.0)
    supervised._roles = [Role("web-0", print, (), 10.0, signal.SIGTERM, old)]
    supervised._replace_all()
    assert supervised._roles[0].now is old
    assert "the old ones go on" in log.error.call_args.args[0]
    assert old.process.method_calls == []
