import asyncio
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise

import pytest

from app.domain.imports.merging import pipeline
from app.domain.imports.schedules import service
from app.domain.imports.schedules.clock import next_run
from app.platform.database import transaction
from app.platform.metrics import SCHEDULES_GAVE_UP
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import codes
from tests.domain.imports.servers import CODES, http_server, until

SOURCE = {"type": "storage", "url": "file:codes.csv"}
DEEP = reduce(lambda inner, _: {"a": inner}, range(500), {})
SECRET = "${env:VOUCHERS_SOURCE_NONE}"


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
        ({"cron": "*/70 * * * *"}, "not valid"),
        ({"cron": "* */25 * * *"}, "not valid"),
        ({"cron": "0/0 * * * *"}, "not valid"),
        ({"cron": "R * * * *"}, "not valid"),
        ({"cron": "H H * * *"}, "not valid"),
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"timezone": "localtime"}, "no time zone"),
        ({"timezone": "posixrules"}, "no time zone"),
        ({"encoding": "klingon"}, "no encoding"),
        ({"encoding": "rot13"}, "no encoding"),
        ({"source": {"type": "url", "url": "ftp://shop.test/codes.csv"}}, "url"),
        ({"source": {"type": "url", "url": "http://"}}, "url"),
        ({"source": {"type": "url", "url": "http://:80/"}}, "host"),
        ({"source": {"type": "storage", "url": "ftp://shop.test/codes.csv"}}, "no storage"),
        ({"source": {"type": "storage", "url": "s3://b/k", "options": {"kee": "x"}}}, "no option 'kee'"),
        ({"source": {"type": "storage", "url": "file:a", "options": {"key": "x"}}}, "no option 'key'"),
        ({"source": {"type": "database", "url": "nonsense", "query": "SELECT 1"}}, "not valid"),
        ({"source": {"type": "database", "url": "postgresql://u@h/x", "query": "DROP TABLE x"}}, "no SELECT"),
        ({"source": {"type": "database", "url": "postgresql://h/x", "query": "SELECT 1"}}, "no user name"),
        ({"source": {"type": "database", "url": "postgresql:///x", "query": "SELECT 1"}}, "no host"),
        ({"source": {"type": "database", "url": "oracle://u@h/x", "query": "SELECT 1"}}, "not installed"),
        ({"source": {"type": "database", "url": "postgresql://u@h/x", "query": "SELECT '\0'"}}, "query"),
        ({"source": {"type": "storage", "url": "s3://b/k", "options": {"key": "x"}}}, "together"),
        ({"source": {"type": "storage", "url": "s3://b/k", "options": {"key": 1}}}, "are texts"),
        (
            {"source": {"type": "storage", "url": "s3://b/k", "options": {"endpoint_url": "x"}}},
            "endpoint_url",
        ),
        ({"source": {"type": "storage", "url": "gs://b/k", "options": {"token": "x"}}}, "service account"),
        ({"source": {"type": "storage", "url": "sftp:///k"}}, "no host"),
        ({"source": {"type": "storage", "url": "sftp://h/k", "options": {"host_key": "x"}}}, "no public key"),
        ({"source": {"type": "analysis", "of": "events", "property": "c", "where": DEEP}}, "nested"),
        ({"source": {"type": "analysis", "of": "events", "property": "c", "where": {"\0": 1}}}, "NUL"),
        ({"source": {"type": "url", "url": "https://10.0.0.1/c.csv"}}, "VOUCHERS_ALLOWED_HOSTS"),
        ({"source": {"type": "url", "url": "http://[fd00::1]/c.csv"}}, "VOUCHERS_ALLOWED_HOSTS"),
        (
            {"source": {"type": "database", "url": "postgresql://u@10.0.0.1/x", "query": "SELECT 1"}},
            "VOUCHERS_ALLOWED_HOSTS",
        ),
        (
            {
                "source": {
                    "type": "storage",
                    "url": "s3://b/k",
                    "options": {"endpoint_url": "http://10.0.0.1:9000"},
                }
            },
            "VOUCHERS_ALLOWED_HOSTS",
        ),
        ({"source": {"type": "storage", "url": "sftp://u@10.0.0.1/k"}}, "VOUCHERS_ALLOWED_HOSTS"),
        ({"source": {"type": "storage", "url": "file:../codes.csv"}}, "no such file"),
        ({"source": {"type": "storage", "url": "file:%00"}}, "no such file"),
        ({"source": {"type": "database", "url": "sqlite:///../x.db", "query": "SELECT 1"}}, "no such file"),
        ({"source": {"type": "database", "url": "sqlite://", "query": "SELECT 1"}}, "no such file"),
        ({"source": {"type": "url", "url": f"https://u:{SECRET}@shop.test/c.csv"}}, "is not set"),
        ({"column": "code", "customer_id_column": "code"}, "cannot say who has them"),
        ({"column": 0, "campaign_id_column": 0}, "cannot say who has them"),
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
    if "pool" not in changes:  # which stays
        made = (await create(client)).json()
        changed = await client.patch(f"/v1/import-schedules/{made['id']}", json=changes)
        assert (changed.status_code, says in changed.json()["detail"]) == (422, True)


async def test_what_only_a_change_makes_impossible_is_refused(client):
    made = (await create(client, column="code")).json()
    url = f"/v1/import-schedules/{made['id']}"
    refused = await client.patch(url, json={"customer_id_column": "code"})
    assert (refused.status_code, "cannot say who has them" in refused.json()["detail"]) == (422, True)
    assert (await client.get(url)).json() == made


async def test_a_file_is_no_source_where_there_is_no_folder(client, settings, monkeypatch):
    monkeypatch.setattr(settings, "import_folder", None)
    for source in (SOURCE, {"type": "database", "url": "sqlite:///x.db", "query": "SELECT 1"}):
        refused = await create(client, source=source)
        assert (refused.status_code, "VOUCHERS_IMPORT_FOLDER" in refused.json()["detail"]) == (422, True)


async def test_a_secret_is_for_the_hosts_that_its_operator_lists_before_the_first_run(client, monkeypatch):
    monkeypatch.setenv("VOUCHERS_SOURCE_NONE", "t0ps3cret")
    monkeypatch.setenv("VOUCHERS_SOURCE_NONE_HOSTS", "shop.test")
    refused, made = [
        await create(client, source={"type": "url", "url": f"https://u:{SECRET}@{host}/c.csv"})
        for host in ("other.test", "shop.test")
    ]
    assert (refused.status_code, "may not be sent to 'other.test'" in refused.json()["detail"]) == (422, True)
    assert made.status_code == 201, "a host that is not known now may be later"
    assert "t0ps3cret" not in refused.text + made.text


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # 02:30 comes twice in the night of October 31st, and not at all in that of March 28th
        ("30 2 * * *", "2027-10-30T12:00+00:00", ["10-31T00:30", "11-01T01:30", "11-02T01:30"]),
        ("30 2 * * *", "2027-03-27T12:00+00:00", ["03-28T01:30", "03-29T00:30", "03-30T00:30"]),
        ("30 2 * * *", "2027-10-31T00:45+00:00", ["11-01T01:30", "11-02T01:30", "11-03T01:30"]),
        ("30 * * * *", "2027-10-30T23:45+00:00", ["10-31T00:30", "10-31T01:30", "10-31T02:30"]),
        ("30 * * * *", "2027-03-27T23:45+00:00", ["03-28T00:30", "03-28T01:30", "03-28T02:30"]),
        ("30 2,3 * * *", "2027-03-27T12:00+00:00", ["03-28T01:30", "03-29T00:30", "03-29T01:30"]),
    ],
)
def test_the_nights_in_which_the_clock_is_put_on_or_back(cron, after, expected):
    at, found = datetime.fromisoformat(after), []
    for _ in expected:
        at = next_run(cron, "Europe/Prague", at)
        found.append(at.strftime("%m-%dT%H:%M"))
    assert found == expected


async def sweep(engine, now=None):
    await service.sweep(engine, now or datetime.now(UTC))


async def end_last_run(engine, status, error=None):
    async with transaction(engine) as connection:
        await connection.exec_driver_sql(
            "UPDATE import SET status = %s, error = %s WHERE status = 'queued'", (status, error)
        )


async def test_a_run_that_fails_is_tried_again_ever_later_until_the_next_regular_one(client, engine):
    schedule = (await create(client, cron="0 6 * * *", timezone="UTC")).json()
    url = f"/v1/import-schedules/{schedule['id']}"
    begins = [datetime.fromisoformat(schedule["next_run"])]
    regular = begins[0] + timedelta(days=1)
    await sweep(engine, begins[0])
    for _ in range(12):
        await end_last_run(engine, "failed", "The server of the URL answered 503.")
        await sweep(engine, begins[-1])
        shown = (await client.get(url)).json()
        assert shown["error"] == "The server of the URL answered 503."
        begins.append(datetime.fromisoformat(shown["next_run"]))
        if begins[-1] == regular:
            break
        assert len(await imports_of(client, schedule)) == len(begins) - 1  # not before its time
        await sweep(engine, begins[-1])
    waits = [(after - before).total_seconds() for before, after in pairwise(begins)]
    assert begins[-1] == regular
    assert waits[:4] == [60, 120, 240, 480]
    assert len(waits) == 11
    await sweep(engine, regular)
    await end_last_run(engine, "failed", "again")
    await sweep(engine, regular)
    shown = (await client.get(url)).json()
    assert datetime.fromisoformat(shown["next_run"]) == regular + timedelta(seconds=60)  # a period of its own
    await sweep(engine, regular + timedelta(seconds=60))
    await end_last_run(engine, "succeeded")
    await sweep(engine, regular + timedelta(seconds=60))
    shown = (await client.get(url)).json()
    assert shown["error"] is None
    assert datetime.fromisoformat(shown["next_run"]) == regular + timedelta(days=1)


async def test_who_may_only_read_sees_no_code_in_what_failed_last(client, engine):
    schedule = (await create(client, cron="0 6 * * *", timezone="UTC")).json()
    await sweep(engine, datetime.fromisoformat(schedule["next_run"]))
    await end_last_run(engine, "failed", "It cannot be told which column holds the codes: 'A1B2'.")
    await sweep(engine, datetime.fromisoformat(schedule["next_run"]))
    secret = (await client.post("/v1/api-keys", json={"name": "r", "scopes": ["read"]})).json()["secret"]
    reader = {"Authorization": f"Bearer {secret}"}
    for path in ("/v1/import-schedules", f"/v1/import-schedules/{schedule['id']}"):
        assert (await client.get(path)).text.count("A1B2") == 2
        withheld = await client.get(path, headers=reader)
        assert "A1B2" not in withheld.text
        assert withheld.text.count("Withheld") == 2


async def test_a_schedule_whose_zone_is_no_longer_known_stops_no_other(client, engine):
    broken = (await create(client)).json()
    good = (await create(client)).json()
    async with transaction(engine) as connection:
        await connection.exec_driver_sql(
            "UPDATE import_schedule SET timezone = 'Mars/Olympus' WHERE id = %s", (broken["id"],)
        )
    await make_due(engine)
    await sweep(engine)
    assert len(await imports_of(client, good)) == 1
    shown = (await client.get(f"/v1/import-schedules/{broken['id']}")).json()
    assert "no time zone 'Mars/Olympus'" in shown["error"]


@pytest.mark.parametrize("change", [{"options": {"column": 1}}, {"source": SOURCE}, {"active": True}, {}])
async def test_a_change_does_not_lose_a_run_that_is_due(client, engine, change):
    schedule = (await create(client)).json()
    await make_due(engine)
    url = f"/v1/import-schedules/{schedule['id']}"
    assert (await client.patch(url, json=change)).status_code == 200
    await sweep(engine)
    assert len(await imports_of(client, schedule)) == 1


async def test_a_pool_does_not_come_back_by_its_schedule(client, engine):
    await client.post("/v1/pools", json={"name": "p"})
    schedule = (await create(client)).json()
    refused = await client.delete("/v1/pools/p")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/pool-has-schedules")
    assert refused.json()["schedules"] == [schedule["id"]]
    await client.patch(f"/v1/import-schedules/{schedule['id']}", json={"active": False})
    assert (await client.delete("/v1/pools/p")).status_code == 204
    await sweep(engine)
    assert (await client.get("/v1/pools/p")).status_code == 404


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
            return await service.begin_due(connection, datetime.now(UTC), set())

    await asyncio.gather(*(sweep() for _ in range(5)))
    assert len(await imports_of(client, schedule)) == 1


async def test_runs_that_were_missed_are_made_up_for_by_one(client, engine):
    schedule = (await create(client, cron="* * * * *")).json()
    await make_due(engine)
    now = datetime.now(UTC)
    async with transaction(engine) as connection:
        assert await service.begin_due(connection, now, set())
        assert await service.begin_due(connection, now, set()) is False
    after = (await client.get(f"/v1/import-schedules/{schedule['id']}")).json()
    assert now < datetime.fromisoformat(after["next_run"]) <= now + timedelta(minutes=1)


async def test_a_run_is_left_out_while_the_one_before_goes_on(client, engine):
    schedule = (await create(client)).json()
    for _ in range(2):
        await make_due(engine)
        async with transaction(engine) as other:
            await service.begin_due(other, datetime.now(UTC), set())
    assert len(await imports_of(client, schedule)) == 1
    after = (await client.get(f"/v1/import-schedules/{schedule['id']}")).json()
    assert after["error"] == service.OVERLAP


@pytest.mark.long
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
    assert changed["options"] == {"column": 1, "accept_suspicious": False, "timezone": "Europe/Prague"}
    paused = (await client.patch(url, json={"active": False})).json()
    assert (paused["active"], paused["next_run"]) == (False, None)
    await make_due(engine)
    async with transaction(engine) as other:
        assert await service.begin_due(other, datetime.now(UTC), set()) is False
    assert (await client.patch(url, json={"cron": "0 0 31 4 *"})).status_code == 422
    assert (await client.delete(url)).status_code == 204
    assert (await client.get(url)).status_code == 404
    assert (await client.patch(url, json={})).status_code == 404
    assert (await client.delete(url)).status_code == 404


async def test_one_option_is_changed_and_found_out_again(client):
    schedule = (await create(client, column="code", sheet="codes", timezone="Europe/Prague")).json()
    url = f"/v1/import-schedules/{schedule['id']}"
    kept = {"column": "code", "accept_suspicious": False, "timezone": "Europe/Prague"}
    assert (await client.patch(url, json={"sheet": "others"})).json()["options"] == {
        **kept,
        "sheet": "others",
    }
    assert (await client.patch(url, json={"sheet": None, "cron": "0 7 * * *"})).json()["options"] == kept
    kept["timezone"] = "UTC"
    assert (await client.patch(url, json={"timezone": "UTC"})).json()["options"] == kept
    anew = await client.patch(url, json={"options": {"column": 1}, "skip_lines": 2})
    assert anew.json()["options"] == {**kept, "column": 1, "skip_lines": 2}
    assert (await client.patch(url, json={"encoding": "klingon"})).status_code == 422


async def test_days_are_read_in_the_zone_of_the_schedule_unless_its_options_name_another(client):
    made = (await create(client, timezone="Europe/Prague")).json()

    async def zone(change):
        changed = await client.patch(f"/v1/import-schedules/{made['id']}", json=change)
        return changed.json()["options"]["timezone"]

    assert await zone({"options": {"column": "code"}}) == "Europe/Prague"
    assert await zone({"timezone": "Asia/Tokyo"}) == "Asia/Tokyo"
    assert await zone({"options": {"timezone": "America/New_York"}}) == "America/New_York"
    assert await zone({"timezone": "UTC", "skip_lines": 1}) == "America/New_York"
    assert await zone({"options": {}, "timezone": "Europe/Prague"}) == "Europe/Prague"


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


async def gave_up(engine):
    async with transaction(engine) as connection:
        result = await connection.exec_driver_sql("SELECT gave_up_at, told_at FROM import_schedule")
    return result.one()


async def test_a_schedule_that_gives_up_notes_it_for_the_alerts_until_a_run_succeeds(client, engine):
    schedule = (await create(client, cron="* * * * *")).json()  # its period leaves no time to try again
    at = datetime.fromisoformat(schedule["next_run"])
    before = SCHEDULES_GAVE_UP._value.get()
    await sweep(engine, at)
    await end_last_run(engine, "failed", "The server of the URL answered 503.")
    await sweep(engine, at)
    assert (await gave_up(engine)).gave_up_at == at
    assert SCHEDULES_GAVE_UP._value.get() == before + 1
    await sweep(engine, at + timedelta(minutes=1))
    await end_last_run(engine, "succeeded")
    await sweep(engine, at + timedelta(minutes=1))
    assert (await gave_up(engine)).gave_up_at is None


async def test_a_question_is_not_tried_again_for_no_try_answers_it(client, engine, settings):
    (settings.import_folder / "codes.csv").write_text("a,b\nA1B2,C3D4\nE5F6,G7H8\nI9J1,K2L3\n")
    schedule = (await create(client)).json()
    at = datetime.fromisoformat(schedule["next_run"])
    await sweep(engine, at)
    (run,) = await imports_of(client, schedule)
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, run["id"])
    await sweep(engine, at)
    shown = (await client.get(f"/v1/import-schedules/{schedule['id']}")).json()
    assert "cannot be told which column" in shown["error"]
    assert datetime.fromisoformat(shown["next_run"]) == at + timedelta(days=1)
    assert (await gave_up(engine)).gave_up_at == at
    (run,) = await imports_of(client, schedule)
    assert [choice["index"] for choice in run["choices"]["column"]] == [0, 1]
