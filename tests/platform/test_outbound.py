import asyncio
import os
import socket
import ssl
import threading

import httpx
import pytest

from app.platform import outbound, reachable
from app.platform.outbound import AddressForbiddenError
from app.platform.reachable import check_host
from app.platform.settings import Settings
from tests.worker import eventually


def to(*allowed):
    return Settings(allowed_hosts=allowed)


@pytest.fixture
async def server():
    """A server on loopback that answers with the `Host` it was asked for; `/to/X` redirects to X."""

    async def answer(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split()[1]
        host = next(line for line in head.split("\r\n") if line.lower().startswith("host:"))
        if target.startswith("/to/"):
            reply = f"HTTP/1.1 302 Found\r\nLocation: {target[4:]}\r\nContent-Length: 0\r\n\r\n"
        else:
            reply = f"HTTP/1.1 200 OK\r\nContent-Length: {len(host)}\r\n\r\n{host}"
        writer.write(reply.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "::ffff:0:8.8.8.8",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1::10.0.0.1",
        "2002:a9fe:a9fe::1",
        "2606:4700::5efe:10.0.0.1",
        "2606:4700::200:5efe:127.0.0.1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "100::1",
        "100:0:0:1::1",
        "2001:2::1",
        "2001:db8::1",
        "2620:4f:8000::1",
        "3fff::1",
        "5f00::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
        "192.0.0.1",
        "192.0.0.9",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.175.48.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "240.0.0.1",
        "no-such-host.invalid",
    ],
)
def test_an_address_that_is_not_public_is_refused(host):
    with pytest.raises(AddressForbiddenError):
        check_host(to(), host, 80)


@pytest.mark.parametrize(
    "host",
    [
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "192.0.1.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860::1",
    ],
)
def test_a_public_address_is_not(host):
    assert check_host(to(), host, 80) == [host]


@pytest.mark.parametrize("allowed", ["127.0.0.0/8", "127.0.0.1", "LOCALHOST"])
def test_what_the_allow_list_names_is_let_through(allowed, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 80))])
    assert check_host(to(allowed), "localhost", 80) == ["127.0.0.1"]
    with pytest.raises(AddressForbiddenError):
        check_host(to("10.0.0.0/8", "example.org"), "localhost", 80)


def test_the_allow_list_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("VOUCHERS_ALLOWED_HOSTS", "shop.internal, 10.0.0.0/8")
    assert Settings().allowed_hosts == ("shop.internal", "10.0.0.0/8")


async def test_the_request_reaches_an_allowed_host_under_its_own_name(server):
    async with outbound.http_client(to("localhost"), timeout=5) as client:
        reply = await client.get(f"http://localhost:{server}/")
    assert reply.text == f"Host: localhost:{server}"
    assert str(reply.url) == f"http://localhost:{server}/"


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data", "http://localhost/"])
async def test_a_redirect_is_checked_like_the_first_request(server, target):
    async with outbound.http_client(to("127.0.0.1/32", "source.test"), timeout=5) as client:
        assert (await client.get(f"http://127.0.0.1:{server}/to//elsewhere")).status_code == 200
    loopback = [(2, 1, 6, "", ("127.0.0.1", server))]
    resolve = socket.getaddrinfo

    def only_the_source(host, *rest, **named):
        return loopback if host == "source.test" else resolve(host, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", only_the_source)
        async with outbound.http_client(to("source.test"), timeout=5) as client:
            with pytest.raises(AddressForbiddenError):
                await client.get(f"http://source.test:{server}/to/{target}")


async def test_it_connects_to_the_address_that_was_checked_whatever_the_name_means_a_moment_later(server):
    answers = iter(["127.0.0.1", "192.0.2.1"])
    asked = []

    def rebinding(host, port, *_, **__):
        if host == "rebinding.test":
            asked.append(host)
            return [(2, 1, 6, "", (next(answers), port))]
        return [(2, 1, 6, "", (host, port))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", rebinding)
        async with outbound.http_client(to("rebinding.test"), timeout=5) as client:
            assert (await client.get(f"http://rebinding.test:{server}/")).status_code == 200
    assert asked == ["rebinding.test"]


async def test_the_name_is_what_a_tls_server_is_asked_for():
    asked = asyncio.get_running_loop().create_future()

    async def hello(reader, writer):
        asked.set_result(await reader.read(2000))
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with outbound.http_client(to("localhost"), timeout=5) as client:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await client.get(f"https://localhost:{port}/")
        assert b"localhost" in await asked


async def test_names_that_do_not_resolve_hold_up_nothing_else(client, monkeypatch):
    resolve, asked, over = socket.getaddrinfo, [], threading.Event()

    def resolve_slowly(host, *arguments, **named):
        if host == "slow.example.org":
            asked.append(host)
            over.wait(60)
            raise socket.gaierror
        return resolve(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_slowly)
    monkeypatch.setattr(reachable, "RESOLVE_SECONDS", 60)
    hook = {"url": "https://slow.example.org/", "events": ["voucher.assigned"]}
    asking = [asyncio.create_task(client.post("/v1/webhooks", json=hook)) for _ in range(40)]
    try:
        await eventually(lambda: len(asked) >= min(32, (os.cpu_count() or 1) + 4))  # asyncio's own threads
        async with asyncio.timeout(20):
            assert (await client.get("/health/ready")).status_code == 200
    finally:
        over.set()
        replies = await asyncio.gather(*asking)
    assert {reply.status_code for reply in replies} == {201}
