"""Messages to one receiver go over one connection, as long as it lets them."""

import asyncio

import pytest

from app.platform import hooks
from app.platform.settings import Settings

KEPT = {
    "nothing": "HTTP/1.1 204 -\r\n\r\n",
    "short": "HTTP/1.1 200 -\r\ncontent-length: 2\r\n\r\nok",
}
ENDED = {
    "told to close": "HTTP/1.1 204 -\r\nconnection: close\r\n\r\n",
    "long": f"HTTP/1.1 200 -\r\ncontent-length: 100000\r\n\r\n{'x' * 100_000}",
    "of unknown length": "HTTP/1.1 200 -\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
}


async def send(answer: str, *, hang_up: bool = False) -> int:
    """Send three messages to a receiver that answers so; return how many connections it took."""
    taken = []

    async def serve(reader, writer):
        taken.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                assert await reader.readexactly(length) == '{"a":"é"}'.encode()
                writer.write(answer.encode())
                if hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, hooks.sender(Settings(allowed_hosts=("127.0.0.1",))) as sender:
        for _ in range(3):
            said = await sender.post(url, "m", '{"a":"é"}', [hooks.new_secret()])
            assert (said.status, said.error) == (int(answer.split()[1]), None)
    return len(taken)


@pytest.mark.parametrize("answer", KEPT.values(), ids=KEPT)
async def test_a_receiver_is_told_over_one_connection(answer):
    assert await send(answer) == 1


@pytest.mark.parametrize("answer", ENDED.values(), ids=ENDED)
async def test_a_connection_ends_where_its_receiver_says_so_or_its_answer_does_not_end_soon(answer):
    assert await send(answer) == 3


async def test_a_receiver_that_closes_without_a_word_is_told_over_a_new_connection():
    assert await send(KEPT["nothing"], hang_up=True) == 3
