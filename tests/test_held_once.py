"""A guard of the tests guards."""

import asyncio

import pytest

from app.platform.database import transaction
from app.platform.engines import create_engine
from app.platform.projects import DEFAULT, beside, of_project, share_of


@pytest.fixture
async def shared(settings, held_once):
    """An engine of a project's share, and one beside it."""
    whole, short = create_engine(settings, 2), create_engine(settings, 1)
    yield of_project(whole, DEFAULT, share_of(4), beside=short)
    await whole.dispose()
    await short.dispose()


async def test_a_transaction_within_another_is_refused_unless_it_is_beside(shared):
    async with transaction(shared):
        async with transaction(beside(shared)):
            pass
        with pytest.raises(AssertionError, match="within a transaction"):
            async with transaction(shared):
                pass
    async with transaction(shared):  # after it, not within
        pass


async def test_a_task_that_outlives_the_one_that_began_it_is_none_within(shared):
    async def another():
        async with transaction(shared):
            return True

    async with transaction(shared):
        begun = asyncio.create_task(another())
    assert await begun
