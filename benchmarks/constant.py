"""The limit of the HTTP side: the web processes of `vouchers serve`, with an application that always answers the same.

Sockets, protocol, event loop and the settings of Uvicorn are those of the service; only the application is another one.
"""

import ctypes
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import httpx
import psutil
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.roles import REPLACED, Role, shared_times
from app.server.sockets import hold
from app.server.spawned import begin_web

APPLICATION = "app.server.application"
"""The module from which a web process takes its application."""

START_SECONDS = 30.0
OF_SERVER = {b"date"}
"""Headers that the server adds itself."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered to every request."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @classmethod
    def like(cls, reply: httpx.Response) -> "Reply":
        """Return what answers as this reply did, with the same headers and body."""
        headers = [(name.lower(), value) for name, value in reply.headers.raw]
        return cls(reply.status_code, [one for one in headers if one[0] not in OF_SERVER], reply.content)


@contextmanager
def serving(reply: Reply, workers: int) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Serve the reply from so many processes; give the URL, and the processes."""
    held = hold("127.0.0.1", 0, workers)
    beats = shared_times(workers)
    roles = [
        Role(f"constant-{n}", begin, (n, held, beats, reply), START_SECONDS, REPLACED) for n in range(workers)
    ]
    running = [each for each in [role.spawn() for role in roles] if each is not None]
    try:
        deadline = time.monotonic() + START_SECONDS
        while sum(each.started for each in running) < workers:
            if time.monotonic() > deadline:
                raise TimeoutError("the constant answer does not start")
            time.sleep(0.05)
        url = f"http://127.0.0.1:{held[0].getsockname()[1]}"
        if httpx.post(url, content=b"{}").content != reply.body:
            raise RuntimeError("another application answers")
        yield url, [psutil.Process(each.process.pid) for each in running]
    finally:
        for each in running:
            each.kill()
        for one in held:
            one.close()


def begin(
    beat: ctypes.c_double,
    own: int,
    held: list[socket.socket],
    beats: ctypes.Array[ctypes.c_double],
    reply: Reply,
) -> None:
    """Answer in this process, as a web process of the service begins."""
    other = ModuleType(APPLICATION)
    vars(other)["create_asgi"] = lambda: application(reply)
    sys.modules[APPLICATION] = other
    begin_web(beat, own, held, beats)


def application(reply: Reply) -> ASGIApp:
    """Return the ASGI application: it reads the body of a request, and answers."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    return answer
