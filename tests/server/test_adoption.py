"""Which sockets a process serves beside its own."""

import asyncio
import ctypes
import errno
import socket
from contextlib import closing

import pytest
import uvloop

from app.server.adoption import SILENCE_SECONDS, Adoption
from app.server.sockets import hold

NOW = 1000.0
SILENT = NOW - SILENCE_SECONDS - 0.1


class Greeter(asyncio.Protocol):
    """Tells who connects that it was served."""

    def connection_made(self, transport):
        transport.write(b"served")
        transport.close()


async def serve(adopted):
    return await asyncio.get_running_loop().create_server(Greeter, sock=adopted)


@pytest.fixture
def sockets():
    held = hold("127.0.0.1", 0, 2)
    yield held
    for each in held:
        each.close()


def adoption_of(sockets, *beats):
    array = (ctypes.c_double * len(beats))(*beats)
    return Adoption(0, sockets, array), array


def run(main):
    """On the event loop that serves."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        return await reader.read()


def test_a_socket_of_the_silent_is_served_until_its_process_serves_again(sockets):
    waiting = sockets[1]
    waiting.listen()  # the only one of the port that does: each connection waits there
    port = waiting.getsockname()[1]
    adoption, beats = adoption_of(sockets, NOW, SILENT)

    async def main():
        asked = asyncio.create_task(ask(port))
        await adoption.look(NOW, serve)
        assert await asked == b"served"
        beats[1] = NOW + 0.1
        await adoption.look(NOW + 0.1, serve)
        with closing(socket.create_connection(("127.0.0.1", port))) as client:
            # It listens on, and nobody else serves it.
            accepted, _ = await asyncio.get_running_loop().sock_accept(waiting)
            with closing(accepted):
                assert accepted.getpeername() == client.getsockname()
        beats[1] = SILENT
        await adoption.look(NOW + 0.2, serve)
        assert await ask(port) == b"served"
        adoption.end()

    waiting.setblocking(False)
    run(main())


@pytest.mark.parametrize(
    ("beats", "why"),
    [
        ((NOW, NOW), "it lives"),
        ((NOW, NOW - SILENCE_SECONDS / 2), "its last sign of life is young"),
        ((NOW, 0.0), "it does not listen yet"),
        ((SILENT, SILENT), "this process stood still, too"),
        ((0.0, SILENT), "this process has just begun"),
        ((SILENT,), "there is no other"),
    ],
)
async def test_nothing_is_adopted_where(beats, why, sockets):
    adoption, array = adoption_of(sockets, *beats)
    await adoption.look(NOW, lambda _: pytest.fail(why))
    assert array[0] == NOW


async def test_a_process_that_has_too_many_files_tries_again(sockets):
    adoption, _ = adoption_of(sockets, NOW, SILENT)
    tries = []

    async def refuse(adopted):
        adopted.close()
        tries.append(adopted)
        raise OSError(errno.EMFILE, "Too many open files")

    for n in range(2):
        await adoption.look(NOW + n / 10, refuse)
    assert len(tries) == 2
