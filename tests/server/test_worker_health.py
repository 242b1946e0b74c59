"""What a worker that runs by itself answers to probes."""

import asyncio
import time

import httpx
import pytest

from app.domain.access.errors import TooManyRequestsError
from app.server.roles import JOBS_SILENCE_SECONDS
from app.server.sockets import PortTakenError
from app.server.worker_health import AWAY_SECONDS, Pulse, serve_health
from tests.worker import eventually


def tell(authorization, address):
    if authorization != "Bearer known":
        raise TooManyRequestsError(f"Not to {address}.", 7)
    return b"figures 1\n"


@pytest.fixture(scope="module")
def answering():
    pulse = Pulse()
    server = serve_health(pulse, tell, "127.0.0.1", 0)
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


def test_figures_are_told_to_whom_they_may_be(asked):
    _, client = asked
    told = client.get("/metrics", headers={"Authorization": "Bearer known"})
    assert (told.status_code, told.text) == (200, "figures 1\n")
    assert told.headers["content-type"].startswith("text/plain; version=")
    refused = client.get("/metrics")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"] == "/problems/too-many-requests"
    assert refused.json()["detail"] == "Not to 127.0.0.1."


def test_nothing_else_is_answered(asked):
    _, client = asked
    assert client.get("/health").status_code == 404
    assert client.post("/health/live").status_code == 501
    head = client.head("/health/live")
    assert (head.status_code, head.content) == (200, b"")
    with pytest.raises(PortTakenError, match="Cannot listen"):
        serve_health(Pulse(), tell, "127.0.0.1", client.base_url.port)
