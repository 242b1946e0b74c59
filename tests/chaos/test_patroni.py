"""A PostgreSQL that Patroni keeps, as `deploy/patroni` says: its primary fails under everything that callers do.

Nobody promotes, fences or restarts anything but Patroni, and nobody restarts the service. What is measured is printed.
`VOUCHERS_TEST_FAILOVERS=50` makes so many failovers, in ways chosen at random.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.chaos.cluster import Cluster, Member
from tests.chaos.mixed import Callers, audit
from tests.chaos.promises import REFUSED
from tests.factories import fill
from tests.receivers import Receiver, receiver
from tests.service import Service
from tests.worker import eventually

__all__ = ["receiver"]

FAILOVERS = int(os.environ.get("VOUCHERS_TEST_FAILOVERS", "0"))
BACK = 60.0
"""Seconds in which all has to be back; how long it really took is printed."""
CODES = 20_000
CALLERS, PAUSE = 8, 0.2
"""Callers, and seconds between two acts of each: the jobs which they cause are done as soon as they come, so that who
waits waits for the failover."""
ROWS = 20_000
CHUNK = 1000
SETTINGS = {
    "VOUCHERS_ALLOWED_HOSTS": "127.0.0.1",
    "VOUCHERS_ALERT_RETRY_SECONDS": "0.2",
    "VOUCHERS_IMPORT_CHUNK_ROWS": str(CHUNK),
    "VOUCHERS_READ_AGE_SECONDS": "5",
}


@dataclass
class Beside:
    """What goes on beside the callers, and ends only after the failovers."""

    cluster: Cluster
    receiver: Receiver
    schedule: str = ""
    imports: list[str] = field(default_factory=list)
    run_before: dict[str, Any] | None = None
    """The schedule's last run before the fault."""

    async def begin(self, callers: Callers) -> None:
        """Set up what is told, repeated and recognised of all that follows."""
        mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
        assert (await callers.ask("PUT", "/v1/redemption-mapping", mapping)).status_code == 200
        hook = {"url": self.receiver.url, "events": ["voucher.assigned"], "pools": ["p"]}
        assert (await callers.ask("POST", "/v1/webhooks", hook)).status_code == 201
        source = {"type": "storage", "url": "file:codes.csv"}
        body = {"pool": "scheduled", "source": source, "cron": "0 0 1 1 *"}
        self.schedule = (await callers.ask("POST", "/v1/import-schedules", body)).json()["id"]

    async def before(self, callers: Callers, primary: Member) -> None:
        """Have an import in its merges and a schedule due when the fault comes."""
        name = f"long{len(self.imports)}"
        text = "code\n" + "\n".join(f"{name}-{n}" for n in range(ROWS))
        body = {"source": {"type": "text", "text": text}}
        made = (await callers.ask("POST", "/v1/pools/long/imports", body, name)).json()
        self.imports.append(made["id"])
        self.run_before = await self._last_run(callers)
        due = "UPDATE import_schedule SET next_run = now() + interval '1 second'"
        await asyncio.to_thread(primary.execute, due, "vouchers")

        async def merging() -> bool:
            found = (await callers.ask("GET", f"/v1/imports/{made['id']}")).json()
            return found["imported"] >= CHUNK or found["status"] == "succeeded"

        await eventually(merging, BACK)

    async def after(self, callers: Callers) -> dict[str, float]:
        """Wait until the import is whole and the schedule's run has ended; how long each took."""
        began = time.monotonic()
        took = {}

        async def imported() -> bool:
            found = (await callers.ask("GET", f"/v1/imports/{self.imports[-1]}")).json()
            assert found["status"] != "failed", found
            return found["status"] == "succeeded" and found["imported"] == ROWS

        async def ran() -> bool:
            last = await self._last_run(callers)
            return last is not None and last != self.run_before and last["status"] == "succeeded"

        for name, condition in (("import", imported), ("schedule", ran)):
            await eventually(condition, BACK)
            took[name] = time.monotonic() - began
        return took

    async def _last_run(self, callers: Callers) -> dict[str, Any] | None:
        schedule: dict[str, Any] = (await callers.ask("GET", f"/v1/import-schedules/{self.schedule}")).json()
        return schedule["last_import"]

    def told(self) -> dict[str, str]:
        """Codes by the event that told of them; a signature would be too old by now."""
        payloads = [json.loads(request.body) for request in self.receiver.received]
        events = [event for payload in payloads for event in payload["data"]["events"]]
        return {event["id"]: event["data"]["code"] for event in events}

    async def all_told(self, callers: Callers) -> float:
        """Wait until each code that somebody holds was told, and none twice; how long it took."""
        began = time.monotonic()
        held = set(callers.book.held())
        try:
            await eventually(lambda: held <= set(self.told().values()), BACK)
        except TimeoutError:
            missing = held - set(self.told().values())
            told = {**callers.book.keys, **callers.book.messages}
            raise AssertionError(
                [f"{who}: {code}" for who, code in told.items() if code in missing]
            ) from None
        return time.monotonic() - began


@dataclass
class Fault:
    """What happens to a primary, how it ends, and whether another takes its place."""

    name: str
    begin: Callable[[Member], object]
    end: Callable[[Member], object]


FAULTS = (
    Fault("killed", lambda member: member.kill(), lambda member: member.start()),
    Fault("stopped", lambda member: member.suspend(), lambda member: member.resume()),
    Fault("cut off", lambda member: member.cut_off(), lambda member: member.heal()),
)
MORE = (
    # Its PostgreSQL goes on as a primary that nobody has told of its end: it must acknowledge nothing.
    Fault("Patroni killed", lambda member: member.kill(server=False), lambda member: member.start_anew()),
    Fault("PostgreSQL killed", lambda member: member.kill(keeper=False), lambda _: None),
    Fault("switched over", lambda member: member.hand_over(), lambda _: None),
    # Who was promoted dies before there is a standby again: only it has all that was acknowledged.
    Fault("both killed", lambda member: member.kill(), lambda member: member.start_as_the_other_dies()),
    # Down long enough to be replaced, and back before anybody looks: its late commits are nobody's.
    Fault("Patroni stopped", lambda member: member.suspend(server=False), lambda member: member.resume()),
)


@pytest.fixture
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def say(capsys):
    """Prints what was measured, also where the test passes."""

    def say(*words: object) -> None:
        with capsys.disabled():
            print(*words, sep="\n")  # noqa: T201

    return say


async def test_nothing_acknowledged_is_lost_and_everything_goes_on_by_itself(
    cluster, receiver, tmp_path, say
):
    (tmp_path / "codes.csv").write_text("code\n" + "\n".join(f"s-{n}" for n in range(100)))
    settings = {
        **SETTINGS,
        "VOUCHERS_IMPORT_FOLDER": str(tmp_path),
        "VOUCHERS_READ_DATABASE_URL": cluster.read_url,
    }
    service = Service(workers=1, DATABASE_URL=cluster.url, **settings)
    try:
        await asyncio.to_thread(service.start)
        engine = service.engine()
        for part in range(1 + FAILOVERS // 5):  # each in the time of a statement
            await fill(engine, "p", [f"p{part}-{n:05}" for n in range(CODES)])
        await engine.dispose()
        beside = Beside(cluster, receiver)
        async with Callers(service, 0, 0) as nobody:
            await beside.begin(nobody)
        async with Callers(service, random.randrange(2**32), CALLERS, PAUSE) as callers:
            callers.book.within = REFUSED
            faults = random.choices((*FAULTS, *MORE), k=FAILOVERS) if FAILOVERS else FAULTS
            if named := os.environ.get("VOUCHERS_TEST_FAULTS"):
                faults = [
                    fault for name in named.split(",") for fault in (*FAULTS, *MORE) if fault.name == name
                ]
            for n, fault in enumerate(faults):
                say(await _round(cluster, callers, beside, fault, n))
            await _lag(cluster, callers)
            await callers.rest()
            say(f"reads by age: {dict(callers.book.ages)}")
            say(f"\nwebhooks: all told {await beside.all_told(callers):.1f} s after the last")
            say(f"{dict(callers.book.statuses)}, longest refusal {callers.book.slowest:.1f} s")
            await audit(callers, service)
    except BaseException:
        say(cluster.log(), service.log.read_text()[-20000:])
        raise
    finally:
        await asyncio.to_thread(service.__exit__)


async def _round(cluster: Cluster, callers: Callers, beside: Beside, fault: Fault, n: int) -> str:
    """Let a fault come and end, and say how long each thing was away."""
    book = callers.book
    primary = await asyncio.to_thread(cluster.primary)
    before = len(book.keys)
    await eventually(lambda: len(book.keys) > before + 100, BACK)
    await beside.before(callers, primary)
    book.during, book.pause = fault.name, 0.0
    fault.begin(primary)
    faulty = time.monotonic()
    other = cluster.other(primary)
    await eventually(lambda: asyncio.to_thread(other.takes_writes), BACK)
    promoted = time.monotonic() - faulty
    before = len(book.keys)
    await eventually(lambda: len(book.keys) > before + 20, BACK)
    assigns = book.pause
    took = await beside.after(callers)
    jobs = time.monotonic() - faulty
    fault.end(primary)
    ended = time.monotonic()
    await asyncio.to_thread(cluster.wait_until_whole)
    whole = time.monotonic() - ended
    said = (
        f"\n{n + 1}. {fault.name}: promoted after {promoted:.1f} s, no assign for {assigns:.1f} s, import and"
        f" schedule done after {jobs:.1f} s ({took}), a standby again {whole:.1f} s after the fault"
    )
    assert assigns < BACK, said
    return said


async def _lag(cluster: Cluster, callers: Callers) -> None:
    """Let the standby keep what it gets to itself: reads turn to the primary, and back; exports never miss a row."""
    primary = await asyncio.to_thread(cluster.primary)
    standby = cluster.other(primary)

    async def is_from_standby() -> bool:
        return "Data-Age" in (await callers.ask("GET", "/v1/assignments?pool=p&limit=1")).headers

    async def export() -> httpx.Response:
        """Export all assignments, once that reaches one that was made just now: it is there, whoever serves it."""
        key = f"x{random.random()}"
        made = (await callers.ask("POST", "/v1/pools/p/assignments", {"customer_id": key}, key)).json()
        callers.book.keys[key] = made["code"]
        made_at = datetime.fromisoformat(made["assigned_at"])
        async with asyncio.timeout(BACK):
            while True:
                reply = await callers.ask("GET", "/v1/assignments/export?pool=p&format=ndjson")
                if datetime.fromisoformat(reply.headers["Complete-Until"]) > made_at:
                    assert made["id"] in reply.text
                    return reply

    async def exports_from_standby() -> bool:
        """Not where it takes longer than an export waits to get what was committed before."""
        return "Data-Age" in (await export()).headers

    await eventually(is_from_standby, BACK)
    await eventually(exports_from_standby, BACK)
    replay = standby.replaying()  # Patroni would resume what was paused by a function
    replay.suspend()
    try:
        assert "Data-Age" not in (await export()).headers

        async def is_current() -> bool:
            return not await is_from_standby()

        await eventually(is_current, BACK)
    finally:
        replay.resume()
    await eventually(is_from_standby, BACK)
