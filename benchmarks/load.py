"""Load from processes of its own: `wrk` where it is installed, else Python clients, a process for each 16 connections.

`wrk` needs a few per cent of a core for 10,000 requests a second; the Python clients need more than the service.
"""

import asyncio
import multiprocessing
import random
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

WRK = ("wrk", "-t1", "--timeout", "30s", "--latency")
LONGEST = 2 * 3600
"""Seconds after which `wrk` ends, whatever it waits for."""

LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
local body, run, n = [=[{body}]=], "c-{run}-", 0
function request()
    n = n + 1
    {each}
    return wrk.format(nil, nil, nil, (string.gsub(body, "CUSTOMER", run .. n)))
end
"""
KEYED = 'wrk.headers["Idempotency-Key"] = run .. n'
PLACES = """
local places = {{ {places} }}
local plain = request
function request()
    local path, key = unpack(places[math.random(#places)])
    wrk.path = path
    wrk.headers["Authorization"] = "Bearer " .. key
    return plain()
end
"""
PAUSE = """
function delay() return math.random(0, {twice}) end
"""


@dataclass(frozen=True)
class Load:
    """What came of a load."""

    per_second: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    failed: int

    def good(self) -> "Load":
        """Return itself, where no request has failed."""
        if self.failed:
            raise RuntimeError(f"{self.failed} requests failed")
        return self


def tool() -> str:
    """Return what drives the load."""
    return "wrk" if shutil.which("wrk") else "Python clients"


def post(
    url: str,
    key: str,
    body: str,
    *,
    connections: int,
    seconds: float,
    pause_ms: float = 0,
    keyed: bool = False,
) -> Load:
    """POST `body` to `url` over so many connections for so long, each pausing so long on average between requests.

    Where the body says CUSTOMER, each request has one of its own; `keyed` ones also have an `Idempotency-Key` each.
    """
    if shutil.which("wrk"):
        return _wrk(url, _script(key, body, pause_ms, keyed=keyed), connections, seconds)
    return _python(url, key, body, connections, seconds, pause_ms, keyed=keyed)


def post_all_over(
    url: str,
    places: Sequence[tuple[str, str]],
    body: str,
    *,
    connections: int,
    seconds: float,
    pause_ms: float = 0,
) -> Load:
    """POST `body` as `post` does, each time to one of many paths with its key; `wrk` only."""
    lines = ", ".join(f'{{ "{path}", "{key}" }}' for path, key in places)
    script = _script("", body) + PLACES.format(places=lines) + _pause(pause_ms)
    return _wrk(url, script, connections, seconds)


def post_during(
    act: Callable[[], object], url: str, key: str, body: str, *, connections: int, pause_ms: float
) -> Load:
    """POST `body` as `post` does keyed requests, for as long as `act` takes; `wrk` only."""
    return _wrk(url, _script(key, body, pause_ms, keyed=True), connections, LONGEST, act)


def pause_ms(per_second: float, connections: int, drive: Callable[[float], Load]) -> float:
    """How long each connection pauses between requests so that all of them make so many a second.

    `drive` makes a load with a pause: it tells which part of a cycle a request takes.
    """
    cycle_ms = 1000 * connections / per_second
    return cycle_ms - drive(cycle_ms).p50_ms


def _script(key: str, body: str, pause_ms: float = 0, *, keyed: bool = False) -> str:
    each = KEYED if keyed else ""
    script = LUA.format(key=key, body=body, run=secrets.token_hex(4), each=each)
    return script + _pause(pause_ms)


def _pause(ms: float) -> str:
    return PAUSE.format(twice=round(2 * ms)) if ms else ""


def _wrk(
    url: str, script: str, connections: int, seconds: float, act: Callable[[], object] | None = None
) -> Load:
    """Run `wrk` for so long, or until `act` is done: told to end, it reports as it does by itself."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [*WRK, f"-c{connections}", f"-d{seconds:g}s", "-s", file.name, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                if act is not None:
                    act()
                    process.send_signal(signal.SIGINT)
                said, _ = process.communicate()
            finally:
                process.kill()
    return _load(said)


def _load(said: str) -> Load:
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    return Load(
        float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        _milliseconds(_found(r" 50%\s+(\S+)", said)),
        _milliseconds(_found(r" 99%\s+(\S+)", said)),
        _milliseconds(_found(r"Latency(?:\s+\S+){2}\s+(\S+)", said)),
        int(failed[1] if failed else 0) + sum(map(int, socket_errors.groups() if socket_errors else ())),
    )


def _found(pattern: str, said: str) -> str:
    match = re.search(pattern, said)
    if match is None:
        raise RuntimeError(f"wrk said: {said}")
    return match[1]


def _milliseconds(text: str) -> float:
    number, unit = _found(r"^([\d.]+)", text), _found(r"([a-z]+)$", text)
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[unit]


def _python(
    url: str, key: str, body: str, connections: int, seconds: float, pause_ms: float, *, keyed: bool
) -> Load:
    shares = [16] * (connections // 16) + ([connections % 16] if connections % 16 else [])
    with multiprocessing.get_context("spawn").Pool(len(shares)) as processes:
        loads = [(url, key, body, share, seconds, pause_ms, keyed) for share in shares]
        parts = processes.starmap(_clients, loads)
    latencies = sorted(latency for part in parts for latency in part[0])
    return Load(
        len(latencies) / seconds,
        latencies[len(latencies) // 2] * 1e3,
        latencies[len(latencies) * 99 // 100] * 1e3,
        latencies[-1] * 1e3,
        sum(part[1] for part in parts),
    )


def _clients(
    url: str,
    key: str,
    body: str,
    connections: int,
    seconds: float,
    pause_ms: float,
    keyed: bool,
) -> tuple[list[float], int]:
    return asyncio.run(_drive(url, key, body, connections, seconds, pause_ms, keyed=keyed))


async def _drive(
    url: str, key: str, body: str, connections: int, seconds: float, pause_ms: float, *, keyed: bool
) -> tuple[list[float], int]:
    parts = urlsplit(url)
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: "
    )
    latencies: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    class Reply:
        done = False

        def on_message_complete(self) -> None:
            self.done = True

    async def client() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (started := time.perf_counter()) < end:
            own = body.replace("CUSTOMER", f"c-{secrets.token_hex(8)}")
            more = f"\r\nIdempotency-Key: {secrets.token_hex(8)}" if keyed else ""
            writer.write(f"{head}{len(own.encode())}{more}\r\n\r\n{own}".encode())
            reply = Reply()
            parser = httptools.HttpResponseParser(reply)
            while not reply.done:
                parser.feed_data(await reader.read(65536))
            latencies.append(time.perf_counter() - started)
            failed += parser.get_status_code() >= 300
            await asyncio.sleep(random.uniform(0, 2 * pause_ms / 1e3))
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return latencies, failed
