"""Things that few have at a time."""

import asyncio

import pytest

from app.platform.errors import OverloadedError
from app.platform.turns import Turns

pytestmark = pytest.mark.anyio


async def waiting(turns, key, order, name):
    async with turns.one(key):
        order.append(name)


async def started(*acts):
    tasks = []
    for act in acts:
        tasks.append(asyncio.create_task(act))
        await asyncio.sleep(0)
    return tasks


async def test_a_crowded_key_keeps_no_other_from_its_turn():
    turns, order = Turns(["it"], patience=10), []
    held = await turns.take("a")
    tasks = await started(
        *(waiting(turns, "a", order, f"a{n}") for n in range(3)), waiting(turns, "b", order, "b0")
    )
    turns.give_back(held)
    await asyncio.gather(*tasks)
    assert order == ["a0", "b0", "a1", "a2"]
    assert turns.free == ["it"]


async def test_too_many_of_a_key_are_refused_and_others_are_not():
    turns = Turns(["it"], patience=10, waiting=1)
    held = await turns.take("a")
    tasks = await started(turns.take("a"))
    with pytest.raises(OverloadedError):
        await turns.take("a")
    tasks += await started(turns.take("b"))
    turns.give_back(held)
    turns.give_back(await tasks[0])
    assert await tasks[1] == "it"


async def test_who_waits_too_long_is_told():
    turns = Turns(["it"], patience=0.001)
    held = await turns.take("a")
    with pytest.raises(OverloadedError):
        await turns.take("a")
    turns.give_back(held)
    assert await turns.take("b") == "it"


async def test_what_is_handed_to_one_who_leaves_goes_to_the_next():
    turns = Turns(["it"], patience=10)
    held = await turns.take("a")
    leaving, staying = await started(turns.take("a"), turns.take("b"))
    turns.give_back(held)
    leaving.cancel()
    assert await staying == "it"
    assert leaving.cancelled()
