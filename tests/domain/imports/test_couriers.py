"""The process that fetches from URLs: one for all of them, ended and replaced whatever becomes of it."""

import asyncio
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import orjson
import pytest

from app.domain.imports.errors import UnreadableError
from app.domain.imports.sources import courier, couriers, fetching
from app.domain.imports.sources.couriers import Couriers
from app.platform.projects import DEFAULT
from tests.domain.imports.servers import CODES, http_server, until


def wanted(url):
    settings = {"allowed_hosts": ["127.0.0.1"], "fetch_seconds": 60}
    return orjson.dumps({"settings": settings, "source": {"type": "url", "url": url}})


@pytest.fixture
def one():
    ours = Couriers(fetching.NOTHING_TO_FIND)
    yield ours
    ours.close()


def test_many_urls_are_fetched_by_one_process_which_the_next_finds_again(one):
    with http_server() as server, ExitStack() as under_way:
        url = f"http://127.0.0.1:{server.server_port}/endless"
        with ThreadPoolExecutor(20) as threads:
            for each in threads.map(lambda _: one.fetch(wanted(url)), range(20)):
                under_way.enter_context(each)
        process = one._now.process
        assert server.asked.count("/endless") <= 20
        with one.fetch(wanted(f"http://127.0.0.1:{server.server_port}/")) as pipe:
            received = b""
            while block := pipe.recv(65536):
                received += block
        assert CODES in received
        assert one._now.process is process
        assert process.poll() is None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_courier_that_has_died_is_replaced_and_nobody_is_told(one, how):
    with http_server() as server:
        url = wanted(f"http://127.0.0.1:{server.server_port}/endless")
        with one.fetch(url) as pipe:
            first = one._now.process
            os.kill(first.pid, how)
            while pipe.recv(65536):
                pass  # until it has gone
        with one.fetch(url):
            assert one._now.process.pid != first.pid
        assert first.poll() == -how


def test_a_courier_that_does_not_answer_is_ended(one, monkeypatch):
    started = []
    monkeypatch.setattr(couriers, "BEGIN", "import time; time.sleep(600)")
    start = one._start
    monkeypatch.setattr(one, "_start", lambda: started.append(start()) or started[-1])
    monkeypatch.setattr(couriers, "ANSWER_SECONDS", 0.05)
    with pytest.raises(UnreadableError, match="no process to fetch it"), one.fetch(b"{}"):
        raise AssertionError("nothing has begun")
    assert [each.process.returncode for each in started] == [-signal.SIGKILL] * 2


async def test_who_closes_the_socket_ends_the_fetch_and_it_leaves_when_it_has_nothing_to_do(monkeypatch):
    left = []
    monkeypatch.setattr(courier, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(courier.os, "_exit", left.append)
    ours, control = socket.socketpair()
    asked, theirs = socket.socketpair()
    with ours, control, asked, http_server() as server:
        running = courier.Courier(control)
        url = wanted(f"http://127.0.0.1:{server.server_port}/endless")
        asked.sendall(courier.HEAD.pack(courier.BEGUN, len(url)) + url)
        socket.send_fds(ours, [b"F"], [theirs.fileno()])
        theirs.close()
        task = asyncio.create_task(running.run())

        async def under_way():
            return bool(running._under_way)

        async def gone():
            return bool(left)

        await until(under_way)
        left.clear()
        asked.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(asked, courier.HEAD.size)
        assert not left
        asked.close()
        await until(gone)
        assert not running._under_way
        task.cancel()
        asyncio.get_running_loop().remove_reader(control)
        await asyncio.gather(task, return_exceptions=True)


def test_what_a_library_says_is_told_without_the_secrets_of_the_url(settings):
    source = {"type": "url", "url": "http://u:S3cret@127.0.0.1:1/?token=T0ken"}
    with pytest.raises(UnreadableError, match="cannot be read") as raised:
        list(fetching.fetch(settings, source, project=DEFAULT))
    assert "S3cret" not in raised.value.detail
    assert "T0ken" not in raised.value.detail
