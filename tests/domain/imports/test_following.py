"""Many who follow one import ask the database once, and too many are told to come back."""

import asyncio
from contextlib import ExitStack

import pytest

from app.domain.imports import following, service
from app.domain.imports.errors import ImportNotFoundError
from app.platform.projects import of_project

SOURCE = {"source": {"type": "text", "text": "code\nA-1\nA-2"}}


@pytest.fixture
async def an_import(client):
    """An import that waits: no worker runs."""
    return (await client.post("/v1/pools/p/imports", json=SOURCE)).json()["id"]


async def test_an_import_is_read_once_for_all_who_follow_it(an_import, engine, monkeypatch):
    reads = []
    get = service.get

    async def counted(connection, import_id):
        reads.append(import_id)
        return await get(connection, import_id)

    monkeypatch.setattr(service, "get", counted)
    monkeypatch.setattr(following, "EVERY_SECONDS", 3600)
    found = await asyncio.gather(*(following.look(engine, an_import) for _ in range(50)))
    assert len(reads) == 1
    assert len({id(each) for each in found}) == 1
    monkeypatch.setattr(following, "EVERY_SECONDS", -1)
    assert (await following.look(engine, an_import)).status == "queued"
    assert len(reads) == 2


async def test_one_who_leaves_takes_nothing_from_the_others_and_what_is_not_there_is_told_to_each(
    an_import, engine, monkeypatch
):
    monkeypatch.setattr(following, "EVERY_SECONDS", 3600)
    first = asyncio.create_task(following.look(engine, an_import))
    second = asyncio.create_task(following.look(engine, an_import))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).status == "queued"
    nobody = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    told = await asyncio.gather(*(following.look(engine, nobody) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in told] == [ImportNotFoundError] * 3


async def test_who_is_one_too_many_is_refused_or_does_not_wait(client, engine, an_import, monkeypatch):
    monkeypatch.setattr(following, "MOST", 2)
    with ExitStack() as others:
        for _ in range(2):
            others.enter_context(following.following(engine))
        refused = await client.get(f"/v1/imports/{an_import}/progress")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        made = await client.post("/v1/pools/q/imports", json=SOURCE, headers={"Prefer": "wait=60"})
        assert made.status_code == 202
        assert "Preference-Applied" not in made.headers
        wrong = await client.post("/v1/pools/q/imports", json=SOURCE, headers={"Prefer": "wait=x"})
        assert wrong.status_code == 422
    assert following.has_room(engine)


async def test_followers_of_one_project_leave_room_to_those_of_others_and_see_their_own(
    engine, an_import, monkeypatch
):
    other = of_project(engine, 2)
    monkeypatch.setattr(following, "MOST_OF_PROJECT", 1)
    with following.following(engine):
        assert (following.has_room(engine), following.has_room(other)) == (False, True)
    assert (await following.look(engine, an_import)).status == "queued"
    with pytest.raises(ImportNotFoundError):  # though it is known here what became of it a moment ago
        await following.look(other, an_import)
