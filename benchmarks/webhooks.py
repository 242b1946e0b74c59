"""Single assigns with a webhook and without one, in turns: `python -m benchmarks.webhooks [--rounds 5] [--seconds 5]`.

The receiver is a process of its own on the same machine, which takes and counts what it is sent, and reads no more of
it than that: it would do so elsewhere. What the service and its PostgreSQL take of the processors for an assign, until
all is told, is measured too: others who work on the machine change the speeds, and hardly that.
"""

import asyncio
import contextlib
import multiprocessing
import time
from collections import defaultdict
from multiprocessing.sharedctypes import Synchronized

import httpx
import orjson
import psutil

from benchmarks import harness, load
from tests.factories import KEY
from tests.service import Service

CONNECTIONS = 64
BODY = orjson.dumps({"customer_id": "c-1", "campaign_id": "spring"}).decode()
EVENTS = ["voucher.assigned", "voucher.released", "voucher.redeemed", "voucher.voided"]
LONGEST_WAIT = 120
SETTLING = 4.0
"""Seconds after the last assign in which all is told."""


def main() -> None:
    """Measure and print."""
    rounds, seconds = harness.rounds_and_seconds(__doc__)
    with (
        receiver() as (port, taken),
        Service(workers=2, VOUCHERS_ALLOWED_HOSTS="127.0.0.1") as service,
    ):
        harness.on(service, lambda engine: harness.fill(engine, "http", (2 * rounds + 1) * seconds * 8000))
        url = f"{service.url}/v1/pools/http/assignments"
        load.post(url, KEY, BODY, connections=CONNECTIONS, seconds=2)  # warm
        found: dict[str, list[float]] = defaultdict(list)
        took: dict[str, list[float]] = defaultdict(list)
        told: list[float] = []
        for number in range(rounds):
            for on in (False, True) if number % 2 else (True, False):
                with subscribed(service, port) if on else contextlib.nullcontext():
                    before, start, busy = taken.value, time.monotonic(), processor_seconds(service)
                    done = load.post(url, KEY, BODY, connections=CONNECTIONS, seconds=seconds)
                    found["on" if on else "off"].append(done.per_second)
                    if on:
                        told.append(until_told(taken, before + int(done.per_second * seconds)) - start)
                    # What the service does by itself each second counts for both alike.
                    time.sleep(max(0.0, start + seconds + SETTLING - time.monotonic()))
                    each_took = (processor_seconds(service) - busy) / (done.per_second * seconds)
                    took["on" if on else "off"].append(each_took * 1e6)
        here, there = harness.median(found["on"]), harness.median(found["off"])
        each = [a / b for a, b in zip(found["on"], found["off"], strict=True)]
        print(f"{harness.machine()}; load by {load.tool()}; medians of {rounds} rounds in turns\n")
        head = ["assigns per second, with a webhook", "without", "with : without", "by round"]
        print(harness.table(head, [[here, there, here / there, f"{min(each):.2f} to {max(each):.2f}"]]))
        here, there = harness.median(took["on"]), harness.median(took["off"])
        head = ["processor time an assign, with a webhook (µs)", "without", "without : with"]
        print("\n" + harness.table(head, [[here, there, there / here]]))
        print(f"\nAll told {harness.median(told) - seconds:.1f} s after the last assign (median)")
        print("\n" + harness.books_agree(service))


@contextlib.contextmanager
def subscribed(service: Service, port: int):  # type: ignore[no-untyped-def]  # noqa: ANN201  (a context)
    """Have the receiver told of all while the block runs."""
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        body = {"url": f"http://127.0.0.1:{port}/", "events": EVENTS}
        hook = client.post("/v1/webhooks", json=body).raise_for_status().json()
        yield
        client.delete(f"/v1/webhooks/{hook['id']}").raise_for_status()


def processor_seconds(service: Service) -> float:
    """Return what the service and its PostgreSQL have taken of the processors so far."""
    assert service.process is not None
    root = psutil.Process(service.process.pid)
    processes = {root, *root.children(recursive=True), *service.postgres()}
    seconds = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:2])
    return seconds


def until_told(taken: "Synchronized[int]", wanted: int) -> float:
    """Return when the receiver had about all of them."""
    deadline = time.monotonic() + LONGEST_WAIT
    while taken.value < wanted * 0.999 and time.monotonic() < deadline:
        time.sleep(0.02)
    return time.monotonic()


@contextlib.contextmanager
def receiver():  # type: ignore[no-untyped-def]  # noqa: ANN201  (a context)
    """Run the receiver; give its port, and the count of events that it has taken."""
    context = multiprocessing.get_context("spawn")
    taken, port = context.Value("q", 0), context.Value("i", 0)
    process = context.Process(target=_receive, args=(taken, port), daemon=True)
    process.start()
    while port.value == 0:
        time.sleep(0.05)
    yield port.value, taken
    process.terminate()


def _receive(taken: "Synchronized[int]", port: "Synchronized[int]") -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                taken.value += body.count(b'{"id":"assignment-')
                writer.write(b"HTTP/1.1 204 -\r\n\r\n")
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**24)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(run())


if __name__ == "__main__":
    main()
