"""The keys that a process knows."""

import asyncio
from types import SimpleNamespace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.domain.access import keys
from app.domain.access.errors import UnauthenticatedError
from app.domain.access.keys import queries
from app.domain.access.keys.ring import KeyRing
from app.platform.database import transaction
from app.platform.databases import Databases
from app.platform.projects import everywhere
from tests.factories import KEY, add_key
from tests.shops import shops


async def test_a_burst_with_a_key_that_is_new_here_asks_the_database_once(engine, settings, monkeypatch):
    await add_key(engine, KEY, "assign")
    asked = []
    ask = queries.with_prefix

    async def counted(connection, prefix):
        asked.append(prefix)
        return await ask(connection, prefix)

    monkeypatch.setattr(queries, "with_prefix", counted)
    databases = Databases(settings)
    ring = KeyRing(databases, 5)
    callers = await asyncio.gather(*(ring.recognise(KEY) for _ in range(50)))
    assert (len(asked), len({caller.key_id for caller in callers})) == (1, 1)
    unknown = await asyncio.gather(*(ring.recognise("x" * 40) for _ in range(50)), return_exceptions=True)
    assert len(asked) == 2
    assert {type(error) for error in unknown} == {UnauthenticatedError}
    with pytest.raises(UnauthenticatedError):
        await ring.recognise("x" * 40)
    await databases.close()


async def test_a_key_that_changed_elsewhere_is_asked_for_again(app, engine, settings):
    databases = Databases(settings)
    ring = KeyRing(databases, 60)
    async with shops(app, engine, "one", "other") as both:
        one, other = [await ring.recognise(shop.secret) for shop in both]
        remembered = [lambda shop=shop: ring.remembered(shop.secret) is not None for shop in both]
        for word, left in ((str(one.key_id), [False, True]), (str(other.project_id), [False, False])):
            ring.hear(word)
            assert [each() for each in remembered] == left
        for word in (None, "what is this", "-"):
            await ring.recognise(both[0].secret)
            ring.hear(word)
            assert not remembered[0]()
    await databases.close()


async def test_what_was_asked_before_a_word_is_not_remembered(engine, settings, monkeypatch):
    await add_key(engine, KEY, "assign")
    databases = Databases(settings)
    ring = KeyRing(databases, 60)
    ask = queries.with_prefix

    async def told_meanwhile(connection, prefix):
        rows = await ask(connection, prefix)
        ring.hear("1")
        return rows

    monkeypatch.setattr(queries, "with_prefix", told_meanwhile)
    await ring.recognise(KEY)
    assert ring.remembered(KEY) is None
    await databases.close()


async def test_a_key_that_cannot_be_asked_for_is_not_honoured_for_ever(engine, settings, monkeypatch):
    await add_key(engine, KEY, "assign")
    databases = Databases(settings)
    ring = KeyRing(databases, 4)
    now = 1000.0
    monkeypatch.setattr(keys.ring, "time", SimpleNamespace(monotonic=lambda: now))
    await ring.recognise(KEY)
    answers = asyncio.Event()

    async def hangs(*_):
        await answers.wait()
        raise OSError

    monkeypatch.setattr(queries, "with_prefix", hangs)
    for later, honoured in ((3.9, True), (4.1, True), (7.9, True), (8.1, False)):
        now = 1000 + later
        asking = asyncio.create_task(ring.recognise(KEY))
        await asyncio.sleep(0)
        assert (ring.remembered(KEY) is not None) == honoured, later
        answers.set()
        await asyncio.gather(asking, return_exceptions=True)
        answers.clear()
    await databases.close()


async def test_the_keys_of_a_project_that_is_deleted_are_not_remembered(app, engine, settings):
    databases = Databases(settings)
    ring = KeyRing(databases, 60)
    async with shops(app, engine, "doomed", "other") as both:
        for shop in both:
            await ring.recognise(shop.secret)
        doomed, other = both
        ring.forget(doomed.id)
        assert ring.remembered(doomed.secret) is None
        assert ring.remembered(other.secret).project == "other"
    await databases.close()


async def test_while_the_control_database_is_away_keys_of_projects_elsewhere_are_good_for_a_set_time(
    app, engine, settings, monkeypatch
):
    databases = Databases(settings)
    async with shops(app, engine, "here", "there") as (here, there):
        async with transaction(everywhere(engine)) as connection:
            await connection.execute(text("INSERT INTO database (name, url) VALUES ('b', 'sealed')"))
            elsewhere = "UPDATE project SET database_id = (SELECT max(id) FROM database) WHERE id = :id"
            await connection.execute(text(elsewhere), {"id": there.id})
        ring, strict = KeyRing(databases, 0, 60), KeyRing(databases, 0, 0)
        for each in (ring, strict):
            for shop in (here, there):
                await each.recognise(shop.secret)

        async def away(*_):
            raise OperationalError("", None, Exception())

        with monkeypatch.context() as patch:
            patch.setattr(queries, "with_prefix", away)
            assert (await ring.recognise(there.secret)).project == "there"
            for each, shop in ((ring, here), (strict, there), (strict, here)):
                with pytest.raises(OperationalError):
                    await each.recognise(shop.secret)
        async with transaction(everywhere(engine)) as connection:
            await connection.execute(text("UPDATE api_key SET revoked_at = now()"))
        with pytest.raises(UnauthenticatedError):
            await ring.recognise(there.secret)
        monkeypatch.setattr(queries, "with_prefix", away)
        with pytest.raises(OperationalError):  # it was revoked, as far as is known
            await ring.recognise(there.secret)
    await databases.close()
