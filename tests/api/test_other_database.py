"""A project that lives in a further database does all that others do, and leaves nothing in the control database."""

import pytest
from sqlalchemy import text

from app.domain.projects import deletion, elsewhere, queries
from app.domain.projects.databases import placing
from app.domain.projects.databases import service as databases
from app.domain.projects.databases.errors import DatabaseDrainingError, DatabaseNotOursError
from app.platform import giving_way
from app.platform.database import transaction
from app.platform.projects import everywhere
from tests.factories import add_key, fill
from tests.shops import client_of, furnish
from tests.two_databases import add, copy_of, two_databases
from tests.worker import eventually, working

MARKED = text(f"SELECT NOT pg_try_advisory_xact_lock({giving_way.MARK})")
OPERATOR = "operator-0123456789-0123456789-0123456789"


@pytest.fixture
def second_url(database_url, server_url, cleaner):
    cleaner.close()  # what is copied has no sessions
    with copy_of(server_url, "second") as url:
        yield url


@pytest.fixture
async def two(second_url, app, engine, settings):
    async with two_databases(app, engine, settings, second_url) as both:
        yield both


async def rows_of(engine, project_id):
    """How many rows of a project each table of a database has."""
    found = {}
    async with transaction(everywhere(engine)) as connection:
        for table in queries.tables():
            query = text(f'SELECT count(*) FROM "{table}" WHERE project_id = :id')
            if n := (await connection.execute(query, {"id": project_id})).scalar_one():
                found[table] = n
    return found


@pytest.mark.long
async def test_projects_of_the_same_names_in_two_databases_do_the_same_and_do_not_meet(two, engine):
    ids = {}
    for shop in (two.here, two.there):
        ids[shop.name] = await furnish(shop, "x")
        for path, body in (
            ("/v1/pools", {"name": "kept"}),
            ("/v1/api-keys", {"name": "k", "scopes": ["read"]}),
        ):
            same = {"Idempotency-Key": path}
            first = await shop.client.post(path, json=body, headers=same)
            again = await shop.client.post(path, json=body, headers=same)
            assert (again.status_code, again.json()) == (201, first.json()), path
    paths = ("pools", "assignments", "imports", "webhooks", "api-keys", "bulk-changes", "import-schedules")
    for path in paths:
        here, there = [(await shop.client.get(f"/v1/{path}")).json() for shop in (two.here, two.there)]
        assert len(here["items"]) == len(there["items"]) > 0, path
    lost = await two.here.client.get(f"/v1/imports/{ids['there']['import_id']}")
    assert lost.status_code == 404
    here, there = await rows_of(engine, two.here.id), await rows_of(two.second, two.there.id)
    carried = 3  # entries of the audit about keys and the project, which jobs will carry there
    assert here.pop("audit_entry") - carried == there.pop("audit_entry")
    assert here.pop("kept_reply") - 1 == there.pop("kept_reply") == 1  # that of a key stays with the keys
    assert here == there
    assert await rows_of(engine, two.there.id) == {"kept_reply": 1}
    assert await rows_of(two.second, two.here.id) == {}


async def test_requests_to_one_database_do_not_slow_down_the_jobs_of_another(two, engine, monkeypatch):
    monkeypatch.setattr(giving_way, "MANY", 0.1)

    async def is_marked(by_owner):
        async with transaction(by_owner) as connection:
            return (await connection.execute(MARKED)).scalar_one()

    async def ask(shop, database):
        await shop.client.get("/v1/pools")
        return await is_marked(database)

    await eventually(lambda: ask(two.here, everywhere(engine)))
    assert not await is_marked(two.second)
    await eventually(lambda: ask(two.there, two.second))


def problem(reply):
    return reply.status_code, reply.json()["type"].removeprefix("/problems/")


async def test_the_life_of_a_project_in_a_further_database(two, app, client, engine, settings):
    await add_key(engine, OPERATOR, "operator")
    async with client_of(app, OPERATOR) as operator:
        lost = await operator.post("/v1/projects", json={"name": "shop", "database": "third"})
        assert problem(lost) == (404, "database-not-found")
        made = await operator.post("/v1/projects", json={"name": "shop", "database": "second"})
        assert (made.status_code, made.json()["database"]) == (201, "second")
        origin = {"Origin": "http://test"}
        await operator.post("/console/login", data={"api_key": OPERATOR}, headers=origin)
        page = (await operator.get("/console/projects")).text
        assert "<td><bdi>second</bdi></td>" in page
        assert '<option value="second">second</option>' in page
        path = "/v1/projects/shop/api-keys"
        key = (await operator.post(path, json={"name": "first", "scopes": ["admin"]})).json()
        async with client_of(app, key["secret"]) as shop:
            assert (await shop.post("/v1/pools", json={"name": "p"})).status_code == 201
            own = (await shop.post("/v1/api-keys", json={"name": "own", "scopes": ["read"]})).json()
            assert (await shop.get(f"/v1/api-keys/{own['id']}")).status_code == 200
            renamed = await operator.patch("/v1/projects/shop", json={"name": "store"})
            assert (renamed.status_code, renamed.json()["database"]) == (200, "second")

            async def audited():
                entries = (await shop.get("/v1/audit")).json()["items"]
                return len(entries) == 5 and sorted(entry["action"] for entry in entries)

            async with working(
                settings
            ):  # carries there what was done to the project in the control database
                keys = ["api_key.created"] * 2
                assert await eventually(audited) == [
                    *keys,
                    "pool.created",
                    "project.created",
                    "project.renamed",
                ]

            async def names():
                async with transaction(two.second) as connection:
                    return set((await connection.execute(text("SELECT name FROM project"))).scalars())

            assert await eventually(names) == {"there", "store"}
            up = [line for line in (await client.get("/metrics")).text.splitlines() if "database_up{" in line]
            assert up == [f'vouchers_database_up{{database="{name}"}} 1.0' for name in ("main", "second")]

            gone = await operator.delete("/v1/projects/store", params={"confirm": "store"})
            assert gone.status_code == 202
            assert (await shop.get("/v1/pools")).status_code == 401
        async with transaction(engine) as connection:
            by_name = text("SELECT id FROM project WHERE name = 'store'")
            project = (await connection.execute(by_name)).scalar_one()
        for _ in range(2):
            with pytest.raises(elsewhere.NotGoneError):
                await elsewhere.delete(engine, settings, project)
        await deletion.run(two.second, project, 0)
        assert await rows_of(two.second, project) == {}
        assert await elsewhere.delete(engine, settings, project)
        assert (await operator.get("/v1/projects/store")).status_code == 404
    async with transaction(two.second) as connection:
        jobs = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'delete_project'")
        assert (await connection.execute(jobs)).scalar_one() == 2  # once asked for, and once more later


async def test_a_database_of_the_release_before_refuses_its_projects_and_no_others(two, app, engine):
    version = text("UPDATE alembic_version SET version_num = :version")
    async with transaction(two.second) as connection:
        present = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        await connection.execute(version, {"version": "0120"})
    refused = await two.there.client.get("/v1/pools")
    assert problem(refused) == (503, "database-unavailable")
    assert "not migrated to this release" in refused.json()["detail"]
    assert (await two.here.client.get("/v1/pools")).status_code == 200
    await fill(two.there.engine, "p", 1)
    drawn = await two.there.client.post("/v1/pools/p/assignments", json={"customer_id": "c"})
    assert problem(drawn) == (503, "database-unavailable")
    ready = await two.here.client.get("/health/ready")
    assert "Database second does not serve: projects there are refused." in ready.json()["warnings"]
    async with transaction(two.second) as connection:
        await connection.execute(version, {"version": present})
    assert (
        await two.there.client.post("/v1/pools/p/assignments", json={"customer_id": "c"})
    ).status_code == 201


async def test_which_databases_are_taken_and_which_get_a_project(two, second_url, engine, settings):
    for name, url, said in (
        ("third", second_url, "was added as 'second' already"),
        ("third", settings.database_url, "is the control database itself"),
        ("main", second_url, "is the control database"),
    ):
        with pytest.raises(DatabaseNotOursError, match=said):
            await add(engine, settings, name, url)
    await add(engine, settings, "second", second_url)  # at another address
    assert await placing.choose(engine, settings, None) in {1, two.database_id}
    async with transaction(everywhere(engine)) as connection:
        await databases.drain(connection, "main", draining=True)
    assert await placing.choose(engine, settings, None) == two.database_id
    with pytest.raises(DatabaseDrainingError):
        await placing.choose(engine, settings, "main")
    await fill(two.there.engine, "p", 5)
    loads = await placing.loads(everywhere(engine), settings)
    assert loads["second"].projects == {"there": 5}
    async with transaction(everywhere(engine)) as connection:
        await databases.drain(connection, "main", draining=False)
        rows = await databases.list_all(connection)
    states = await placing.states(settings, rows)
    assert [(row.name, row.projects, row.draining_since) for row in rows] == [
        ("main", 2, None),
        ("second", 1, None),
    ]
    assert states[0].version == states[1].version
    assert await databases.urls(settings) == {"second": rows[1].url}
