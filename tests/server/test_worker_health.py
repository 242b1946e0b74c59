"""What a worker that runs by itself answers to probes."""

import asyncio
import time

import httpx
import pytest

from app.server.roles import JOBS_SILENCE_SECONDS
from app.server.sockets import PortTakenError
from app.server.worker_health import AWAY_SECONDS, Pulse, serve_health
from tests.worker import eventually


@pytest.fixture(scope="module")
def answering():
    pulse = Pulse()
    server = serve_health(pulse, "127.0.0.1", 0)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.server_address[1]}") as client:
        yield pulse, client
    server.shutdown()
    server.server_close()


@pytest.fixture
def asked(answering):
    """A pulse as it begins, and what is answered about it."""
    pulse, client = answering
    pulse.beaten, pulse.answered = Pulse().beaten, Pulse().answered
    return pulse, client


def statuses(client):
    return [client.get(path).status_code for path in ("/health/live", "/health/ready")]


async def test_a_worker_is_ready_while_its_database_answers(asked, engine):
    pulse, client = asked
    assert statuses(client) == [200, 503]  # it starts
    pulse.beat()
    following = asyncio.create_task(pulse.follow(engine))
    await eventually(lambda: pulse.answered > 0)
    following.cancel()
    assert statuses(client) == [200, 200]
    assert client.get("/health/ready?x=1").json() == {"status": "ok", "warnings": []}
    pulse.answered = time.monotonic() - AWAY_SECONDS - 1
    assert statuses(client) == [200, 503]
    refused = client.get("/health/ready")
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["warnings"] == ["The worker does no jobs: its database does not answer."]


def test_a_worker_whose_loop_is_silent_hangs_and_still_says_so(asked):
    pulse, client = asked
    pulse.beaten = time.monotonic() - JOBS_SILENCE_SECONDS - 1
    assert statuses(client) == [503, 503]
    assert client.get("/health/live").json()["warnings"] == ["The worker hangs."]


def test_nothing_else_is_answered(asked):
    _, client = asked
    assert client.get("/metrics").status_code == 404
    assert client.post("/health/live").status_code == 501
    head = client.head("/health/live")
    assert (head.status_code, head.content) == (200, b"")
    with pytest.raises(PortTakenError, match="Cannot listen"):
        serve_health(Pulse(), "127.0.0.1", client.base_url.port)
