"""What several databases are asked side by side: one that is silent costs the others nothing."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from app.platform.errors import DomainError
from app.web.problems import UNAVAILABLE

Told = TypeVar("Told")
ANSWER_SECONDS = 2.0
"""Longest wait for one of them; it counts as silent then."""


async def in_time(asked: Awaitable[Told]) -> Told | None:
    """Return what a database tells; None where it does not answer in time, or cannot serve."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asked
    except (*UNAVAILABLE, DomainError, TimeoutError):
        return None
