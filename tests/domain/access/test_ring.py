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
    ask = queries.with_prefixes

    async def counted(connection, prefixes):
        asked.append(prefixes)
        return await ask(connection, prefixes)

    monkeypatch.setattr(queries, "with_prefixes", counted)
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


async def test_keys_in_use_are_asked_for_together(engine, settings, monkeypatch):
    names = ["first", "second", "third", "unused", "revoked"]
    secrets = {name: name.ljust(40, "x") for name in names}
    for name in names:
        await add_key(engine, secrets[name], "assign", name=name)
    asked = []
    ask = queries.with_prefixes

    async def counted(connection, prefixes):
        asked.append(len(prefixes))
        return await ask(connection, prefixes)

    monkeypatch.setattr(queries, "with_prefixes", counted)
    databases = Databases(settings)
    ring = KeyRing(databases, 4)
    now = 1000.0
    monkeypatch.setattr(keys.ring, "time", SimpleNamespace(monotonic=lambda: now))
    for secret in secrets.values():
        await ring.recognise(secret)
    for name in set(names) - {"unused"}:
        assert ring.remembered(secrets[name]).name == name
    async with transaction(everywhere(engine)) as connection:
        await connection.execute(text("UPDATE api_key SET last_used_at = now() - interval '1 hour'"))
        await connection.execute(text("UPDATE api_key SET revoked_at = now() WHERE name = 'revoked'"))
    now += 4.1
    assert (await ring.recognise(secrets["second"])).name == "second"
    assert asked == [1, 1, 1, 1, 1, 4]
    remembered = {name for name in names if ring.remembered(secrets[name]) is not None}
    assert remembered == {"first", "second", "third"}
    async with transaction(everywhere(engine)) as connection:
        used = "SELECT name FROM api_key WHERE last_used_at > now() - interval '1 minute'"
        assert set((await connection.execute(text(used))).scalars()) == {"first", "second", "third"}
    now += 3  # what is used is asked for before its time ends, as soon as one has to be
    with pytest.raises(UnauthenticatedError):
        await ring.recognise(secrets["revoked"])
    assert asked[-1] == 4
    now += 3
    assert ring.remembered(secrets["first"]) is not None
    await databases.close()


async def test_the_secret_before_the_last_is_asked_for_with_others(engine, settings, monkeypatch):
    old, new = "o" * 40, "n" * 40
    await add_key(engine, old, "assign", name="rotated")
    await add_key(engine, KEY, "assign", name="other")
    async with transaction(everywhere(engine)) as connection:
        rotated = """UPDATE api_key SET previous_digest = digest, previous_prefix = prefix,
            previous_until = now() + interval '1 hour', digest = sha256(CAST(:new AS bytea)),
            prefix = substr(sha256(CAST(:new AS bytea)), 1, 8) WHERE name = 'rotated'"""
        await connection.execute(text(rotated), {"new": new.encode()})
    databases = Databases(settings)
    ring = KeyRing(databases, 4)
    now = 1000.0
    monkeypatch.setattr(keys.ring, "time", SimpleNamespace(monotonic=lambda: now))
    for secret in (old, new, KEY):
        await ring.recognise(secret)
        assert ring.remembered(secret) is not None
    now += 4.1
    await ring.recognise(KEY)
    assert [ring.remembered(secret).name for secret in (old, new, KEY)] == ["rotated", "rotated", "other"]
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


async def test_who_comes_after_a_word_is_not_answered_by_what_was_asked_before_it(
    engine, settings, monkeypatch
):
    await add_key(engine, KEY, "assign")
    databases = Databases(settings)
    ring = KeyRing(databases, 60)
    ask, read, told = queries.with_prefixes, asyncio.Event(), asyncio.Event()

    async def slow(connection, prefixes):
        rows = await ask(connection, prefixes)
        read.set()
        await told.wait()
        return rows

    monkeypatch.setattr(queries, "with_prefixes", slow)
    before = asyncio.create_task(ring.recognise(KEY))
    await read.wait()
    async with transaction(everywhere(engine)) as connection:
        await connection.execute(text("UPDATE api_key SET revoked_at = now()"))
    ring.hear("1")
    after = asyncio.create_task(ring.recognise(KEY))
    await asyncio.sleep(0)
    told.set()
    assert (await before).name == "test"
    with pytest.raises(UnauthenticatedError):
        await after
    await databases.close()


async def test_what_was_asked_before_a_word_is_not_remembered(engine, settings, monkeypatch):
    await add_key(engine, KEY, "assign")
    databases = Databases(settings)
    ring = KeyRing(databases, 60)
    ask = queries.with_prefixes

    async def told_meanwhile(connection, prefixes):
        rows = await ask(connection, prefixes)
        ring.hear("1")
        return rows

    monkeypatch.setattr(queries, "with_prefixes", told_meanwhile)
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

    monkeypatch.setattr(queries, "with_prefixes", hangs)
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
            patch.setattr(queries, "with_prefixes", away)
            assert (await ring.recognise(there.secret)).project == "there"
            for each, shop in ((ring, here), (strict, there), (strict, here)):
                with pytest.raises(OperationalError):
                    await each.recognise(shop.secret)
        async with transaction(everywhere(engine)) as connection:
            await connection.execute(text("UPDATE api_key SET revoked_at = now()"))
        with pytest.raises(UnauthenticatedError):
            await ring.recognise(there.secret)
        monkeypatch.setattr(queries, "with_prefixes", away)
        with pytest.raises(OperationalError):  # it was revoked, as far as is known
            await ring.recognise(there.secret)
    await databases.close()
