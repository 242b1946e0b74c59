"""Callers that never stop asking, and remember what they were told."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from tests.factories import KEY

_numbers = itertools.count()


@dataclass
class Told:
    """What callers were told."""

    codes: dict[str, str] = field(default_factory=dict)
    """By idempotency key."""
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """Connections that ended without a reply."""


async def assign_until(
    done: asyncio.Event, url: Callable[[], str], pool: str, told: Told, *, keep_alive: bool = True
) -> None:
    """Assign one code after another; a request without a reply is counted, and not sent again."""
    limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(headers=headers, timeout=30, limits=limits) as client:
        while not done.is_set():
            key = f"k{next(_numbers)}"
            try:
                reply = await client.post(
                    f"{url()}/v1/pools/{pool}/assignments", json={}, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError as error:
                told.broken.append(f"{key}: {error!r}")
                continue
            told.statuses[reply.status_code] += 1
            if reply.status_code == 201:
                told.codes[key] = reply.json()["code"]
            elif reply.status_code == 503:
                await asyncio.sleep(0.1)
