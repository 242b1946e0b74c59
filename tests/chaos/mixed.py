"""Everything that callers do, at random and all the time; each request is sent again until it is answered."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from tests.factories import KEY
from tests.service import Service

LETTER = "{{ vouchers['p'].assign_available() }}"
PATIENCE = 60.0
"""Seconds after which a request that was never answered is a fault by itself."""


@dataclass
class Book:
    """What was acknowledged, and how the service behaved meanwhile."""

    keys: dict[str, str] = field(default_factory=dict)
    """Codes by the idempotency key that they were given for, and that they are still given for."""
    messages: dict[str, str] = field(default_factory=dict)
    """Codes by message."""
    released: set[str] = field(default_factory=set)
    """Keys whose code was given back."""
    used: dict[str, str] = field(default_factory=dict)
    """Codes by the event that used them."""
    imports: dict[str, int] = field(default_factory=dict)
    """Rows by import."""
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    within: float = 0.0
    """Seconds in which a refusal has to come in this round."""
    during: str = ""
    """The fault of this round."""
    slowest: float = 0.0
    """The longest refusal."""
    slow: list[tuple[str, str, float]] = field(default_factory=list)
    """Refusals that took longer."""
    odd: list[str] = field(default_factory=list)
    """Replies that no fault explains."""
    last: float = 0.0
    """When the last assign was answered."""
    pause: float = 0.0
    """The longest time between two of these; a round begins by setting it to 0."""
    voids: dict[str, str] = field(default_factory=dict)
    """Changes of many vouchers that void the code of a customer, by the customer."""

    ages: Counter[str | None] = field(default_factory=Counter)
    """How many seconds old lists and exports said that they were at the most."""

    def answered(self) -> None:
        """Note that an assign was answered now."""
        now = time.monotonic()
        if self.last:
            self.pause = max(self.pause, now - self.last)
        self.last = now

    def held(self) -> list[str]:
        """Return the codes that somebody holds, each as often as it was given."""
        return [*self.keys.values(), *self.messages.values()]


class Callers:
    """Callers of one service. Those who pause between acts send batches of messages, and change many vouchers, too."""

    def __init__(
        self, service: Service, seed: int, many: int = 10, pause: float = 0.0, key: str = KEY
    ) -> None:
        self._service = service
        self._key = key
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._many = many
        self._pause = pause
        self._done = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.book = Book()

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._key}"}
        limits = httpx.Limits(max_connections=64, keepalive_expiry=2)
        self._client = httpx.AsyncClient(headers=headers, timeout=30, limits=limits)
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._many)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rest()
        await self._client.aclose()

    async def rest(self) -> None:
        """End what is under way, each request with its answer."""
        self._done.set()
        await asyncio.gather(*self._tasks)

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        """Send a request until it is answered by anything but a refusal for the time."""
        end = time.monotonic() + PATIENCE
        headers = {"Idempotency-Key": key} if key else {}
        while True:
            began, within = time.monotonic(), self.book.within
            try:
                reply = await self._client.request(
                    method, self._service.url + path, json=body, headers=headers
                )
            except httpx.TransportError as error:
                self.book.unanswered += 1
                if time.monotonic() > end:
                    raise AssertionError(f"{method} {path} was never answered") from error
                await asyncio.sleep(0.05)
                continue
            seconds = time.monotonic() - began
            self.book.statuses[reply.status_code] += 1
            if reply.status_code != 503:
                if reply.status_code >= 500:
                    self.book.odd.append(
                        f"{self.book.during}: {method} {path}: {reply.status_code} {reply.text[:200]}"
                    )
                return reply
            self.book.slowest = max(self.book.slowest, seconds)
            if seconds >= max(within, self.book.within):  # it may have begun in the round before
                self.book.slow.append((self.book.during, path, round(seconds, 1)))
            if time.monotonic() > end:
                raise AssertionError(f"{method} {path} was refused for {PATIENCE} s: {reply.text}")
            await asyncio.sleep(min(1.0, float(reply.headers["Retry-After"])) / 4)

    def _acts(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what a caller chooses from, each as often as it is likely."""
        acts = [self._assign] * 6 + [
            self._batch,
            self._letter,
            self._letter,
            self._reserve,
            self._release,
            self._import,
            self._event,
        ]
        return [*acts, self._letters, self._void, self._look] if self._pause else acts

    async def _call(self) -> None:
        acts = self._acts()
        while not self._done.is_set():
            await self._random.choice(acts)()
            await asyncio.sleep(self._pause)

    def _new(self, kind: str) -> str:
        return f"{kind}{next(self._numbers)}"

    async def _given(self, key: str, body: dict[str, Any]) -> dict[str, Any] | None:
        reply = await self.ask("POST", "/v1/pools/p/assignments", body, key)
        if reply.status_code not in {200, 201}:
            self.book.odd.append(f"assign: {reply.status_code} {reply.text[:200]}")
            return None
        self.book.answered()
        found: dict[str, Any] = reply.json()
        return found

    async def _assign(self) -> None:
        key = self._new("a")
        if given := await self._given(key, {"customer_id": key}):
            self.book.keys[key] = given["code"]

    async def _batch(self) -> None:
        keys = [self._new("b") for _ in range(20)]
        items = [{"customer_id": key, "idempotency_key": key} for key in keys]
        reply = await self.ask("POST", "/v1/pools/p/assignments/batch", {"items": items})
        for key, item in zip(keys, reply.json()["items"], strict=True):
            self.book.keys[key] = item["code"]

    async def _letter(self) -> None:
        message = self._new("m")
        body = {"template": LETTER, "channel": "sms", "customer_id": message, "message_id": message}
        reply = await self.ask("POST", "/v1/render", body)
        if reply.status_code == 200:
            self.book.messages[message] = reply.json()["rendered"]
        else:
            self.book.odd.append(f"render: {reply.status_code} {reply.text[:200]}")

    async def _letters(self) -> None:
        """Render a batch of messages, and again those that found no database."""
        messages = [self._new("l") for _ in range(5)]
        body = {"template": LETTER, "channel": "sms"}
        body["recipients"] = [{"customer_id": message, "message_id": message} for message in messages]
        end = time.monotonic() + PATIENCE
        while True:
            reply = await self.ask("POST", "/v1/render/batch", body)
            items = reply.json()["items"] if reply.status_code == 200 else []
            if items and all(item["status"] == "rendered" for item in items):
                break
            odd = [
                item for item in items if item["status"] != "rendered" and item["problem"]["status"] != 503
            ]
            if not items or odd or time.monotonic() > end:
                self.book.odd.append(f"batch: {reply.status_code} {odd or reply.text[:200]}")
                return
            await asyncio.sleep(0.1)
        for message, item in zip(messages, items, strict=True):
            self.book.messages[message] = item["rendered"]

    async def _void(self) -> None:
        """Void the code of a customer, as a change of many vouchers."""
        key = self._new("v")
        if given := await self._given(key, {"customer_id": key}):
            self.book.keys[key] = given["code"]
            body = {"action": "void", "filter": {"pool": "p", "customer_ids": [key]}}
            reply = await self.ask("POST", "/v1/bulk-changes", body)
            if reply.status_code == 202:
                self.book.voids[key] = reply.json()["id"]
            else:
                self.book.odd.append(f"void: {reply.status_code} {reply.text[:200]}")

    async def _look(self) -> None:
        """Read what may be a little old."""
        path = self._random.choice(
            ("/v1/pools/p/vouchers", "/v1/assignments?pool=p", "/v1/audit", "/metrics")
        )
        reply = await self.ask("GET", path)
        if reply.status_code != 200:
            self.book.odd.append(f"{path}: {reply.status_code} {reply.text[:200]}")
        self.book.ages[reply.headers.get("Data-Age")] += 1

    async def _reserve(self) -> None:
        key = self._new("r")
        if given := await self._given(key, {"lease_seconds": 3600}):
            reply = await self.ask("POST", f"/v1/assignments/{given['id']}/confirm")
            if reply.status_code != 200:
                self.book.odd.append(f"confirm: {reply.status_code} {reply.text[:200]}")
            self.book.keys[key] = given["code"]

    async def _release(self) -> None:
        key = self._new("g")
        if given := await self._given(key, {}):
            reply = await self.ask("POST", f"/v1/assignments/{given['id']}/release")
            if reply.status_code not in {200, 409}:  # 409: the try before, which was not answered, did it
                self.book.odd.append(f"release: {reply.status_code} {reply.text[:200]}")
            self.book.released.add(key)

    async def _import(self) -> None:
        name = self._new("i")
        text = "code\n" + "\n".join(f"{name}-{n}" for n in range(50))
        body = {"source": {"type": "text", "text": text}}
        reply = await self.ask("POST", "/v1/pools/imported/imports", body)
        if reply.status_code == 202:
            self.book.imports[reply.json()["id"]] = 50
        else:
            self.book.odd.append(f"import: {reply.status_code} {reply.text[:200]}")

    async def _event(self) -> None:
        key = self._new("e")
        if given := await self._given(key, {"customer_id": key}):
            self.book.keys[key] = given["code"]
            event = {
                "event_id": key,
                "customer_id": key,
                "event_type": "purchase",
                "properties": {"code": given["code"]},
            }
            reply = await self.ask("POST", "/v1/events", {"events": [event]})
            if reply.status_code == 200 and reply.json()["items"][0]["redemption"] == "redeemed":
                self.book.used[key] = given["code"]
            else:
                self.book.odd.append(f"event: {reply.status_code} {reply.text[:200]}")


async def audit(callers: Callers, service: Service) -> None:
    """Hold everything that was acknowledged against what the service says now: lost 0, twice 0, burnt 0."""
    await audit_books(callers)
    checked = await asyncio.to_thread(service.run, "check")
    assert checked.returncode == 0, checked.stdout


async def audit_books(callers: Callers) -> None:
    """Do as `audit`, without `vouchers check`."""
    book = callers.book
    assert not book.odd, book.odd
    held = book.held()
    assert len(set(held)) == len(held), "a code was given twice"
    await _ended(callers)
    for key in random.sample(sorted(book.keys.keys() - book.voids.keys()), min(200, len(book.keys) // 2)):
        if key.startswith("r"):
            again = await callers.ask("POST", "/v1/pools/p/assignments", {"lease_seconds": 3600}, key)
        else:
            again = await callers.ask("POST", "/v1/pools/p/assignments", {"customer_id": key}, key)
        assert (again.status_code, again.json()["code"]) == (200, book.keys[key]), "an assignment was lost"
    for message in random.sample(sorted(book.messages), min(50, len(book.messages))):
        body = {"template": LETTER, "channel": "sms", "customer_id": message, "message_id": message}
        again = await callers.ask("POST", "/v1/render", body)
        assert again.json()["rendered"] == book.messages[message], "a message was lost"
    for code in random.sample(sorted(book.used.values()), min(50, len(book.used))):
        assert (await callers.ask("GET", f"/v1/vouchers/{code}")).json()["status"] == "redeemed"
    counts = (await callers.ask("GET", "/v1/pools/p/counts")).json()
    assert counts["redeemed"] == len(book.used)
    assert counts["reserved"] == 0
    assert counts["void"] == len(book.voids), "a change of many was lost"
    assert counts["assigned"] + counts["redeemed"] + counts["void"] == len(held), "a code was burnt"
    if book.imports:
        imported = (await callers.ask("GET", "/v1/pools/imported/counts")).json()
        assert imported["total"] == sum(book.imports.values()), "an import was lost"
    assert not book.slow, book.slow


async def _ended(callers: Callers) -> None:
    """Wait for all that was put on its way, and see that each did what it was to do."""
    book = callers.book
    for import_id, rows in book.imports.items():
        found = await _end_of(callers, f"/v1/imports/{import_id}")
        assert (found["status"], found["rows"]) == ("succeeded", rows), found
        assert found["imported"] + found["ignored"] == rows  # one whose answer was lost was sent again
    for change_id in book.voids.values():
        found = await _end_of(callers, f"/v1/bulk-changes/{change_id}")
        assert found["status"] == "succeeded", found


async def _end_of(callers: Callers, path: str) -> dict[str, Any]:
    """Wait for one thing; there may be thousands of them, so that each has its own time."""
    end = time.monotonic() + 60
    while True:
        found: dict[str, Any] = (await callers.ask("GET", path)).json()
        if found["status"] not in {"queued", "running"}:
            return found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.2)
