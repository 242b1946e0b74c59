"""Honest callers beside hostile ones: `python -m benchmarks.siege [--seconds 60] [--only NAME]`.

500 assigns a second, each connection pausing between requests, first alone and then beside each attack in turn: what
the assigns' 99th percentile becomes, how many fail, and how much memory the service's own processes take more (pages
that several share are counted once). The attackers are a process of their own and come from 127.0.0.2, for a bound by
address must not hit the honest.

Then four times the load that the service can serve: what is accepted, what is refused, and how soon all is as before.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import orjson
import psutil
import uvloop

from benchmarks import harness, load
from tests.factories import KEY
from tests.service import Service

PER_SECOND = 500
CONNECTIONS = 64
BODY = orjson.dumps({"customer_id": "CUSTOMER", "campaign_id": "spring"}).decode()
DRIP_SECONDS = 2.0
OVERLOAD = 4
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
MANY = 900
"""Connections of an overload from each address, of the 1,024 that one may have to one process."""
TICK = 0.005
IDLE_SECONDS = 4.0
"""The service closes a connection that is silent for a second more."""

LAST_SECONDS = 5.0
"""How long answers may come after the last request."""

MESSAGE = orjson.dumps(
    {
        "template": "<p>Dear {{ customer.first_name }}, {{ vouchers['codes'].assign_available() }} is yours.</p>",
        "channel": "email",
        "mode": "send",
        "customer": {"first_name": "Ada"},
    }
)

Attack = Callable[["Target"], Coroutine[object, object, None]]


@dataclass(frozen=True, slots=True)
class Target:
    """What is attacked, and from where a URL drips."""

    port: int
    drip_port: int

    def head(self, method: str, path: str, *, key: str | None = KEY, more: str = "") -> bytes:
        """Return the beginning of a request, without the empty line at its end."""
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}{more}".encode()


async def _connect(
    target: Target, address: str = ADDRESSES[0]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", target.port, local_addr=(address, 0), limit=4096)


async def _again(n: int, one: Callable[[], Coroutine[object, object, None]]) -> None:
    """Do it `n` times side by side, and again when it ends, until this is cancelled."""

    async def forever() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await one()
            await asyncio.sleep(0.05)

    await asyncio.gather(*(forever() for _ in range(n)))


async def endless_heads(target: Target) -> None:
    """Send header lines without end."""

    async def one() -> None:
        _, writer = await _connect(target)
        writer.write(target.head("GET", "/v1/pools", key=None))
        while True:
            writer.write(b"X-More: " + b"a" * 1000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    await _again(50, one)


async def silent_connections(target: Target) -> None:
    """Open connections that say nothing, or half of a head."""

    async def one() -> None:
        reader, writer = await _connect(target)
        if os.urandom(1)[0] % 2:
            writer.write(target.head("POST", "/v1/pools/codes/assignments"))
        await reader.read()
        writer.close()

    await _again(400, one)


async def bodies_without_a_key(target: Target) -> None:
    """Send 31 MB of JSON without a key."""
    body = b"[" + b'{"customer_id":"c"},' * (31 * 1024**2 // 20) + b"{}]"

    async def one() -> None:
        reader, writer = await _connect(target)
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(target.head("POST", "/v1/events", key=None, more=more))
        for start in range(0, len(body), 65536):
            writer.write(body[start : start + 65536])
            await writer.drain()
        await reader.read()
        writer.close()

    await _again(10, one)


async def unread_exports(target: Target) -> None:
    """Ask for exports, and do not read them."""

    async def one() -> None:
        _, writer = await _connect(target)
        writer.write(target.head("GET", "/v1/pools/codes/export", more="\r\n"))
        await asyncio.sleep(40)
        writer.close()

    await _again(10, one)


async def slow_downloads(target: Target) -> None:
    """Read exports at a kilobyte each second."""

    async def one() -> None:
        reader, writer = await _connect(target)
        writer.write(target.head("GET", "/v1/pools/codes/export", more="\r\n"))
        while await reader.read(1024):  # noqa: ASYNC110  (slow on purpose)
            await asyncio.sleep(1)
        writer.close()

    await _again(10, one)


async def dripping_sources(target: Target) -> None:
    """Import from a URL that sends a byte every two seconds, and preview it."""
    source = orjson.dumps(
        {"source": {"type": "url", "url": f"http://127.0.0.1:{target.drip_port}/codes.csv"}}
    )
    more = f"Content-Type: application/json\r\nContent-Length: {len(source)}\r\nConnection: close\r\n\r\n"

    async def one(path: str) -> None:
        reader, writer = await _connect(target)
        writer.write(target.head("POST", path, more=more) + source)
        await reader.read()
        writer.close()

    await asyncio.gather(
        _again(4, lambda: one("/v1/pools/dripped/imports")), _again(24, lambda: one("/v1/imports/preview"))
    )


async def unknown_keys(target: Target) -> None:
    """Try keys."""

    async def one() -> None:
        reader, writer = await _connect(target)
        try:
            while True:
                writer.write(target.head("GET", "/v1/pools", key=os.urandom(16).hex(), more="\r\n"))
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(0.05)
        finally:
            writer.close()

    await _again(20, one)


ATTACKS: dict[str, Attack] = {
    "heads without end": endless_heads,
    "silent connections, half heads": silent_connections,
    "bodies of 31 MB without a key": bodies_without_a_key,
    "exports that are not read": unread_exports,
    "slow downloads": slow_downloads,
    "sources that drip": dripping_sources,
    "keys that are not known": unknown_keys,
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=60, help="how long each attack lasts")
    options.add_argument("--only", choices=[*ATTACKS, "overload"], help="this alone")
    arguments = options.parse_args()
    named = [name for name in ATTACKS if arguments.only in {None, name}]
    with dripping() as drip_port, Service(workers=2, VOUCHERS_ALLOWED_HOSTS="127.0.0.1") as service:
        seconds = arguments.seconds
        codes = PER_SECOND * seconds * (len(named) + 3) * 2 + 300_000
        harness.on(service, lambda engine: harness.fill(engine, "codes", codes))
        target = Target(int(service.url.rpartition(":")[2]), drip_port)
        url = f"{service.url}/v1/pools/codes/assignments"
        pause = load.pause_ms(PER_SECOND, CONNECTIONS, lambda ms: honest(url, 3, ms))
        print(f"{harness.machine()}; load by {load.tool()}; {seconds} s each\n")
        if named:
            alone = honest(url, seconds, pause)
            rows: list[list[object]] = [
                ["nothing", alone.per_second, alone.p50_ms, alone.p99_ms, 1.0, alone.failed, 0]
            ]
            for name in named:
                found, more = beside(service, target, name, lambda: honest(url, seconds, pause))
                ratio = found.p99_ms / alone.p99_ms
                rows.append([name, found.per_second, found.p50_ms, found.p99_ms, ratio, found.failed, more])
                time.sleep(3)
            head = [
                "beside",
                "assigns a second",
                "p50, ms",
                "p99, ms",
                "p99 against alone",
                "failed",
                "memory, MiB more",
            ]
            print(harness.table(head, rows), "\n")
        print(harness.books_agree(service))
    if arguments.only in {None, "overload"}:
        overload(seconds)


def honest(url: str, seconds: float, pause_ms: float) -> load.Load:
    """Drive what honest callers ask for."""
    return load.post(url, KEY, BODY, connections=CONNECTIONS, seconds=seconds, pause_ms=pause_ms)


def beside(
    service: Service, target: Target, name: str, measure: Callable[[], load.Load]
) -> tuple[load.Load, int]:
    """Measure beside an attack; return also by how many MiB the service's own processes grew at the most."""
    context = multiprocessing.get_context("spawn")
    attacker = context.Process(target=attack, args=(name, target), daemon=True)
    with memory(service) as grown:
        attacker.start()
        time.sleep(1.5)
        try:
            found = measure()
        finally:
            attacker.kill()
            attacker.join()
    return found, grown()


def attack(name: str, target: Target) -> None:
    """Attack until killed."""
    asyncio.run(ATTACKS[name](target))


@contextlib.contextmanager
def memory(service: Service) -> Iterator[Callable[[], int]]:
    """Watch the memory of the service's own processes; what is given tells by how many MiB it grew at the most."""
    done, most = threading.Event(), 0

    def taken() -> int:
        assert service.process is not None
        tree = psutil.Process(service.process.pid)
        return sum(_proportional(process.pid) for process in [tree, *tree.children(recursive=True)])

    def watch() -> None:
        nonlocal most
        while not done.wait(0.5):
            most = max(most, taken())

    first = most = taken()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: (most - first) // 2**20
    finally:
        done.set()
        thread.join()


def _proportional(pid: int) -> int:
    """Return the bytes that a process takes, its part of what it shares with others; 0 where it has gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


@contextlib.contextmanager
def dripping() -> Iterator[int]:
    """Serve a file that drips; give the port."""
    loop = asyncio.new_event_loop()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nConnection: close\r\n\r\n")
            while True:
                writer.write(b"A")
                await writer.drain()
                await asyncio.sleep(DRIP_SECONDS)

    server = loop.run_until_complete(asyncio.start_server(drip, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@dataclass(slots=True)
class Offered:
    """What came of a load that asks for so much a second, answered or not."""

    accepted: list[float]
    """Seconds that each took."""
    refused: list[float]
    """Seconds until each was told 503 with `Retry-After`."""
    other: int = 0
    """Answers that are neither."""
    unsent: int = 0
    """Not sent, because no connection was free."""

    def row(self, name: str, seconds: float) -> list[object]:
        """Return it as a row of the table."""
        return [
            name,
            len(self.accepted) / seconds,
            _percentile(self.accepted, 50),
            _percentile(self.accepted, 99),
            len(self.refused) / seconds,
            _percentile(self.refused, 99),
            self.unsent / seconds,
            self.other,
        ]


def _percentile(seconds: list[float], percent: int) -> float:
    """Return a percentile in milliseconds; 0 of none."""
    return sorted(seconds)[len(seconds) * percent // 100] * 1e3 if seconds else 0.0


def overload(seconds: int) -> None:
    """Offer one process four times the messages that it can render; print what it does, and what it does afterwards.

    Messages and one process, because the load is made on the same processors.
    """
    with Service(workers=1) as service:
        harness.on(service, lambda engine: harness.fill(engine, "codes", 3000 * (seconds + 60)))
        port = int(service.url.rpartition(":")[2])
        url = f"{service.url}/v1/render"
        load.post(url, KEY, MESSAGE.decode(), connections=CONNECTIONS, seconds=2)  # warm
        top = load.post(url, KEY, MESSAGE.decode(), connections=CONNECTIONS, seconds=5).per_second
        print(f"\nOne process renders {top:,.0f} messages a second on {CONNECTIONS} connections. Offered:\n")
        rows = []
        with memory(service) as grown:
            for name, per_second, lasting in (
                ("half of it", top / 2, 10),
                ("four times it", top * OVERLOAD, seconds),
                ("half of it again, at once", top / 2, 5),
                ("and later", top / 2, 10),
            ):
                rows.append(offered(port, per_second, lasting).row(name, lasting))
        head = [
            "",
            "accepted/s",
            "p50, ms",
            "p99, ms",
            "refused/s",
            "p99, ms",
            "found no connection/s",
            "other answers",
        ]
        print(harness.table(head, rows))
        print(f"\nIts own processes took {grown()} MiB more at the most. {harness.books_agree(service)}")


def offered(port: int, per_second: float, seconds: float) -> Offered:
    """Offer so many messages a second, from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_offer, (port, per_second, seconds))


def _offer(port: int, per_second: float, seconds: float) -> Offered:
    with asyncio.Runner(
        loop_factory=uvloop.new_event_loop
    ) as runner:  # what the load takes is missing elsewhere
        return runner.run(_drive(port, per_second, seconds))


class _Connection(asyncio.Protocol):
    """A connection on which one request is under way at a time, or none: then it is among the free ones."""

    def __init__(self, found: Offered, free: "deque[_Connection]") -> None:
        self._found, self._free = found, free
        self._received = b""
        self._asked: float | None = None
        self._idle_since = time.perf_counter()
        self._was_idle = 0.0
        self.alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self._asked = time.perf_counter()
        self._was_idle = self._asked - self._idle_since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, whole, body = self._received.partition(b"\r\n\r\n")
        if not whole or self._asked is None:
            return
        head = head.lower()
        if len(body) < int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]):
            return
        self._idle_since = time.perf_counter()
        took, self._asked, self._received = self._idle_since - self._asked, None, b""
        if b" 200 " in head[:20]:
            self._found.accepted.append(took)
        elif b" 503 " in head[:20] and b"retry-after:" in head:
            self._found.refused.append(took)
        else:
            self._found.other += 1
        self._free.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.alive = False
        if self._asked is not None and self._was_idle > IDLE_SECONDS:
            self._found.unsent += 1  # closed for its silence, as the request was on its way
        elif self._asked is not None:
            self._found.other += 1


async def _drive(port: int, per_second: float, seconds: float) -> Offered:
    found = Offered([], [])
    free: deque[_Connection] = deque()
    loop = asyncio.get_running_loop()
    more = f"Content-Type: application/json\r\nContent-Length: {len(MESSAGE)}\r\n\r\n"
    request = Target(port, 0).head("POST", "/v1/render", more=more) + MESSAGE

    async def connect(address: str) -> None:
        _, made = await loop.create_connection(
            lambda: _Connection(found, free), "127.0.0.1", port, local_addr=(address, 0)
        )
        free.append(made)

    for _ in range(MANY):
        for address in ADDRESSES:
            await connect(address)
    begun, sent = loop.time(), 0
    while (passed := loop.time() - begun) < seconds:
        while sent < passed * per_second:
            sent += 1
            while free and not free[-1].alive:  # idle for too long
                free.pop()
                await connect(ADDRESSES[0])
            if free:
                free.pop().ask(request)
            else:
                found.unsent += 1
        await asyncio.sleep(TICK)
    await asyncio.sleep(LAST_SECONDS)
    return found


if __name__ == "__main__":
    main()
