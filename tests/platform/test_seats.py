"""Few at a time, few in line, and nobody for ever."""

import asyncio

import pytest

from app.platform.errors import OverloadedError
from app.platform.seats import Seats


class FullError(OverloadedError):
    """All is taken."""


async def test_who_finds_no_place_waits_in_line_and_those_beyond_the_line_are_refused_at_once():
    seats = Seats(2, waiting=3, patience=60, refusal=FullError)
    go, at_it, most = asyncio.Event(), 0, 0

    async def take():
        nonlocal at_it, most
        async with seats.one():
            at_it += 1
            most = max(most, at_it)
            await go.wait()
            at_it -= 1

    tasks = [asyncio.create_task(take()) for _ in range(9)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.ALL_COMPLETED, timeout=0.05)
    assert [type(task.exception()) for task in tasks if task in done] == [FullError] * 4
    go.set()
    assert (await asyncio.gather(*tasks, return_exceptions=True))[:5] == [None] * 5
    assert most == 2


async def test_nobody_waits_for_ever_and_who_left_takes_no_seat():
    seats = Seats(1, waiting=3, patience=0, refusal=FullError)
    async with seats.one():
        for _ in range(5):
            with pytest.raises(FullError):
                async with seats.one():
                    raise AssertionError("there is no seat")
    async with seats.one():
        pass
