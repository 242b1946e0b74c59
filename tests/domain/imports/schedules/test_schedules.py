import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.imports.schedules import service
from app.domain.imports.schedules.clock import next_run
from app.platform.database import transaction
from tests.domain.imports.servers import CODES, http_server, until
from tests.domain.imports.test_figures import codes

SOURCE = {"type": "storage", "url": "file:codes.csv"}


@pytest.fixture
def file(settings):
    path = settings.import_folder / "codes.csv"
    path.write_bytes(CODES)
    return path


async def create(client, **changes):
    body = {"pool": "p", "source": SOURCE, "cron": "0 6 * * *", "timezone": "Europe/Prague", **changes}
    return await client.post("/v1/import-schedules", json=body)


async def make_due(engine):
    async with transaction(engine) as connection:
        await connection.exec_driver_sql("UPDATE import_schedule SET next_run = now() - interval '1 day'")


async def imports_of(client, schedule):
    return (await client.get("/v1/imports", params={"schedule_id": schedule["id"]})).json()["items"]


async def test_a_schedule_shows_its_next_run_in_its_time_zone(client):
    made = await create(client)
    assert made.status_code == 201, made.text
    schedule = made.json()
    assert datetime.fromisoformat(schedule["next_run"]) == next_run(
        "0 6 * * *", "Europe/Prague", datetime.now(UTC)
    )
    assert schedule["last_import"] is None
    assert (await client.get(f"/v1/import-schedules/{schedule['id']}")).json() == schedule
    assert (await client.get("/v1/import-schedules")).json()["items"] == [schedule]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2027-01-10T12:00:00+00:00", "2027-01-11T05:30:00+00:00"),  # 6:30 in winter
        ("2027-07-10T12:00:00+00:00", "2027-07-11T04:30:00+00:00"),  # and in summer
    ],
)
def test_summer_time_is_minded(after, expected):
    found = next_run("30 6 * * *", "Europe/Prague", datetime.fromisoformat(after))
    assert found == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cron": "0 0 30 2 *"}, "never fires"),
        ({"cron": "nonsense expression"}, "five fields"),
        ({"cron": "61 * * * *"}, "not valid"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"timezone": "../etc/passwd"}, "no time zone"),
        ({"source": {"type": "text", "text": "A1"}}, "source"),
        ({"pool": "a b"}, "a space"),
        ({"colum": 1}, "colum"),
    ],
)
async def test_a_schedule_that_says_nothing_sensible_is_refused(client, changes, says):
    reply = await create(client, **changes)
    assert reply.status_code == 422
    assert says in reply.json()["detail"]


async def test_the_worker_runs_what_is_due_once(client, engine, file, worker):
    schedule = (await create(client, column="code")).json()
    await make_due(engine)

    async def ended():
        return [run["status"] for run in await imports_of(client, schedule)] == ["succeeded"]

    await until(ended)
    assert await codes(client) == {"S-1", "S-2", "S-3"}
    after = (await client.get(f"/v1/import-schedules/{schedule['id']}")).json()
    assert after["next_run"] == schedule["next_run"]
    assert after["last_import"]["status"] == "succeeded"


async def test_two_sweeps_at_once_begin_one_run(client, engine, file):
    schedule = (await create(client)).json()
    await make_due(engine)

    async def sweep():
        async with transaction(engine) as connection:
            return await service.begin_due(connection, datetime.now(UTC))

    await asyncio.gather(*(sweep() for _ in range(5)))
    assert len(await imports_of(client, schedule)) == 1


async def test_runs_that_were_missed_are_made_up_for_by_one(client, engine):
    schedule = (await create(client, cron="* * * * *")).json()
    await make_due(engine)
    now = datetime.now(UTC)
    async with transaction(engine) as connection:
        assert await service.begin_due(connection, now)
        assert await service.begin_due(connection, now) is False
    after = (await client.get(f"/v1/import-schedules/{schedule['id']}")).json()
    assert now < datetime.fromisoformat(after["next_run"]) <= now + timedelta(minutes=1)


async def test_a_run_is_left_out_while_the_one_before_goes_on(client, engine):
    schedule = (await create(client)).json()
    for _ in range(2):
        await make_due(engine)
        async with transaction(engine) as other:
            await service.begin_due(other, datetime.now(UTC))
    assert len(await imports_of(client, schedule)) == 1
    after = (await client.get(f"/v1/import-schedules/{schedule['id']}")).json()
    assert after["error"] == service.OVERLAP


async def test_a_failing_schedule_says_so_and_goes_on(client, engine, file, worker):
    file.unlink()
    schedule = (await create(client)).json()

    async def ends_with(*statuses):
        async def reached():
            return tuple(run["status"] for run in await imports_of(client, schedule)) == statuses

        await until(reached)

    await make_due(engine)
    await ends_with("failed")
    failed = (await client.get(f"/v1/import-schedules/{schedule['id']}")).json()
    assert "no such file" in failed["last_import"]["error"]
    file.write_bytes(CODES)
    await make_due(engine)
    await ends_with("succeeded", "failed")


async def test_a_schedule_is_changed_paused_and_deleted(client, engine):
    schedule = (await create(client)).json()
    url = f"/v1/import-schedules/{schedule['id']}"
    changed = (await client.patch(url, json={"cron": "0 7 * * *", "options": {"column": 1}})).json()
    assert changed["next_run"] != schedule["next_run"]
    assert changed["options"] == {"column": 1, "accept_suspicious": False}
    paused = (await client.patch(url, json={"active": False})).json()
    assert (paused["active"], paused["next_run"]) == (False, None)
    await make_due(engine)
    async with transaction(engine) as other:
        assert await service.begin_due(other, datetime.now(UTC)) is False
    assert (await client.patch(url, json={"cron": "0 0 31 4 *"})).status_code == 422
    assert (await client.delete(url)).status_code == 204
    assert (await client.get(url)).status_code == 404
    assert (await client.patch(url, json={})).status_code == 404
    assert (await client.delete(url)).status_code == 404


async def test_secrets_of_a_schedule_are_never_shown(client, engine, worker):
    with http_server() as server:
        url = f"http://shop:s3cret@127.0.0.1:{server.server_port}/"
        made = await create(client, source={"type": "url", "url": url})
        assert "s3cret" not in made.text
        await make_due(engine)

        async def ended():
            return [run["status"] for run in await imports_of(client, made.json())] == ["succeeded"]

        await until(ended)
        assert server.asked == ["Basic c2hvcDpzM2NyZXQ="]
