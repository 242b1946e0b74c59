"""Codes are drawn from their time on, and are in no pool before; a sweep brings them in."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import text

from app.domain.imports.merging import given, merge, pipeline
from app.domain.lifecycle import coming
from app.domain.vouchers import service as vouchers
from app.platform.clock import clock
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import books_agree, counts, figures, queue, rejects, run_job, shown

LATER = "2096-01-01"
FILE = f"code;from\nA-1;\nA-2;2020-01-01\nA-3;{LATER}\nA-4;{LATER}\nA-3;{LATER}\n"
MANY = "code;from\n" + "".join(f"CODE-{n:04};\n" for n in range(40))


@pytest.fixture
def run(engine, settings, client):
    """Imports a file by the job itself, and returns its figures."""
    return partial(run_job, engine, settings, client, valid_from_column="from")


@pytest.fixture(autouse=True)
async def agree(engine):
    yield
    await books_agree(engine)


async def make_due(engine):
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE coming_voucher SET valid_from = now() - interval '1 s'"))


async def draw(client, n=1):
    replies = [await client.post("/v1/pools/p/assignments", json={}) for _ in range(n)]
    return [reply.json().get("code", reply.status_code) for reply in replies]


async def test_they_come_at_their_time_and_are_not_drawn_before(client, upload, engine):
    done = (await upload(FILE, valid_from_column="from")).json()
    assert (done["imported"], done["scheduled"], done["ignored"], done["rejected"]) == (4, 2, 1, 0), done
    assert (done["columns_not_imported"], await counts(client)) == ([], {"available": 2})
    assert sorted(map(str, await draw(client, 3))) == ["409", "A-1", "A-2"]
    missing = await client.get("/v1/vouchers/A-3")
    assert (
        missing.status_code,
        "comes into pool 'p' at 2096-01-01T00:00:00" in missing.json()["detail"],
    ) == (404, True)
    assert (await client.post("/v1/pools/p/assignments", json={"code": "A-3"})).status_code == 404
    assert await vouchers.bring_in(engine) == 0
    await make_due(engine)
    assert await vouchers.bring_in(engine) == 2
    assert await counts(client) == {"available": 2, "assigned": 2}
    assert (await client.get(f"/v1/imports/{done['id']}")).json()["scheduled"] == 0
    assert sorted(await draw(client, 2)) == ["A-3", "A-4"]


async def test_a_run_that_goes_on_when_the_time_has_come_judges_as_the_one_before(
    client, engine, settings, monkeypatch
):
    text = "code;from;given\n" + "".join(f"A-{n};;\n" for n in range(20))
    import_id = await queue(
        *(engine, text + f"B-1;{LATER};\nB-2;;{LATER}\nB-3;{LATER};\n"),
        valid_from_column="from",
        assigned_at_column="given",
    )
    with monkeypatch.context() as patched:
        patched.setattr(merge, "order", None)  # what is to come is brought in, and nothing else is
        with pytest.raises(TypeError):
            await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    assert (await shown(client, import_id))["scheduled"] == 2
    monkeypatch.setattr(clock, "now", lambda: datetime(2097, 1, 1, tzinfo=UTC))
    await asyncio.to_thread(pipeline.run, settings, DEFAULT, import_id)
    done = await shown(client, import_id)
    assert (done["status"], figures(done), done["scheduled"]) == ("succeeded", (23, 22, 0, 1), 2), done


async def test_a_day_alone_begins_in_its_zone_and_what_is_no_time_is_a_reject(client, run, connection):
    content = "code;from\nB-1;01.02.2096\nB-2;soon\nB-3;\n"
    done = await run(content, timezone="Europe/Prague", date_format="DD.MM.YYYY")
    assert (done["imported"], done["scheduled"], done["rejected"]) == (2, 1, 1)
    (item,) = (await client.get(f"/v1/imports/{done['id']}/rejects")).json()["items"]
    assert (item["line"], item["value"], item["reason"]) == (3, "soon", "invalid_valid_from")
    at = (
        await connection.execute(text("SELECT valid_from AT TIME ZONE 'UTC' FROM coming_voucher"))
    ).scalar_one()
    assert str(at) == "2096-01-31 23:00:00"


async def test_the_same_file_again_changes_nothing(client, run):
    await run(FILE)
    again = await run(FILE)
    assert (again["imported"], again["ignored"], again["scheduled"]) == (0, 5, 0), again
    other = await run(FILE, "other")
    assert other["rejected_by"]["in_other_pool"] == 4, other
    items = (await client.get(f"/v1/imports/{other['id']}/rejects")).json()["items"]
    assert {item["other_pool"] for item in items} == {"p"}


async def test_a_dry_run_brings_nothing(run, connection):
    dry = await run(FILE, dry_run=True)
    assert (dry["imported"], dry["ignored"], dry["scheduled"]) == (4, 1, 0), dry
    assert (await connection.execute(text("SELECT count(*) FROM coming_voucher"))).scalar_one() == 0


async def test_an_undo_takes_back_what_has_not_come(client, run, engine):
    done = await run(FILE)
    undone = (await client.post(f"/v1/imports/{done['id']}/undo")).json()
    assert (undone["taken_back"], undone["kept"]) == (4, 0)
    await make_due(engine)
    assert await vouchers.bring_in(engine) == 0
    shown = (await client.get(f"/v1/imports/{done['id']}")).json()
    assert (shown["undone"], shown["scheduled"]) == (4, 0)


async def test_a_deleted_pool_gets_nothing(client, run, engine):
    await run(FILE)
    assert (await client.delete("/v1/pools/p")).status_code == 204
    await make_due(engine)
    assert await vouchers.bring_in(engine) == 0


async def test_what_has_come_by_another_way_meanwhile_is_told(client, run, engine):
    done = await run(FILE)
    await run("code\nA-3\n", "other", valid_from_column=None)
    await run("code\nA-4\n", "p", valid_from_column=None)
    await make_due(engine)
    await vouchers.bring_in(engine)
    shown = (await client.get(f"/v1/imports/{done['id']}")).json()
    assert (shown["imported"], shown["ignored"], shown["rejected_by"]["in_other_pool"]) == (2, 2, 1)
    assert (shown["rows"], shown["scheduled"]) == (done["rows"], 0)
    assert (await client.get("/v1/vouchers/A-3")).json()["pool"] == "other"


async def test_a_code_that_was_used_or_has_expired_by_then_is_not_drawn(client, run, engine):
    mapping = {"mappings": [{"event_type": "purchase", "property": "voucher_code"}]}
    await client.put("/v1/redemption-mapping", json=mapping)
    await run(
        f"code;from;until\nA-1;{LATER};\nA-2;{LATER};2020-01-01\nA-3;{LATER};\n", expires_at_column="until"
    )
    event = {"customer_id": "c", "event_type": "purchase", "properties": {"voucher_code": "A-1"}}
    await client.post("/v1/events", json={"events": [event]})
    await make_due(engine)
    await vouchers.bring_in(engine)
    assert await counts(client) == {"available": 1, "expired": 1, "redeemed": 1}


async def test_what_comes_with_a_code_comes_with_it(client, run, engine):
    await run(f"code;pin;from\nA-1;0815;{LATER}\nA-2;;{LATER}\n", attribute_columns=["pin"])
    await make_due(engine)
    await vouchers.bring_in(engine)
    assert (await client.get("/v1/vouchers/A-1")).json()["attributes"] == {"pin": "0815"}


async def test_what_was_set_aside_comes_at_its_time_once_it_is_accepted(client, run, engine):
    done = await run(f"{MANY}N/A;{LATER}\ntotal 40;{LATER}\n")
    assert (figures(done), done["rejected_by"]["suspicious"]) == ((42, 40, 0, 2), 2)
    url = f"/v1/imports/{done['id']}"
    taken = (await client.post(f"{url}/accept-suspicious")).json()
    assert (figures(taken), taken["scheduled"], taken["note"]) == ((42, 42, 0, 0), 2, None)
    assert (await client.post(f"{url}/accept-suspicious")).json() == taken
    assert await counts(client) == {"available": 40}
    assert "comes into pool 'p' at" in (await client.get("/v1/vouchers/N%2FA")).json()["detail"]
    await make_due(engine)
    assert await vouchers.bring_in(engine) == 2
    assert (await counts(client), (await client.get(url)).json()["scheduled"]) == ({"available": 42}, 0)


async def test_what_was_set_aside_and_another_pool_has_is_told_once_it_is_accepted(client, run):
    await run(f"code;from\nN/A;{LATER}\n-;\nB-1;\n", "other", accept_suspicious=True)
    await run(f"code;from\nNULL;{LATER}\n#REF!;\nB-2;\n", accept_suspicious=True)
    done = await run(MANY + "".join(f"{value};{LATER}\n" for value in ("N/A", "-", "NULL", "#REF!", "none")))
    assert done["rejected_by"]["suspicious"] == 5, done
    url = f"/v1/imports/{done['id']}"
    taken = (await client.post(f"{url}/accept-suspicious")).json()
    assert (figures(taken), taken["scheduled"]) == ((45, 41, 2, 2), 1)
    assert {(each["value"], each["other_pool"]) for each in await rejects(client, done)} == {
        ("N/A", "other"),
        ("-", "other"),
    }
    undone = (await client.post(f"{url}/undo")).json()
    assert (undone["taken_back"], (await client.get(url)).json()["scheduled"]) == (41, 0)


@pytest.mark.long
async def test_sweeps_imports_undos_and_draws_at_once(client, run, engine, monkeypatch):
    """Two sweeps at once, the same file again, and an undo in between: each code comes once or not at all."""
    monkeypatch.setattr(given, "CHUNK_ROWS", 30)
    monkeypatch.setattr(vouchers, "VOUCHERS_AT_A_TIME", 40)
    content = "code;from\n" + "".join(f"S-{n:03};{LATER}\n" for n in range(200))
    done = await run(content)
    await make_due(engine)

    async def undo():
        await asyncio.sleep(0.02)
        return (await client.post(f"/v1/imports/{done['id']}/undo")).json()

    sweeps = [vouchers.bring_in(engine) for _ in range(2)]
    _, _, again, undone, drawn = await asyncio.gather(*sweeps, run(content), undo(), draw(client, 12))
    given_out = [code for code in drawn if isinstance(code, str)]
    assert len(given_out) == len(set(given_out))
    shown = (await client.get(f"/v1/imports/{done['id']}")).json()
    assert (shown["rows"], again["rows"]) == (200, 200)
    assert undone["taken_back"] <= 200 - len([code for code in given_out if code])
    async with transaction(engine) as connection:
        left = (await connection.execute(text("SELECT count(*) FROM coming_voucher"))).scalar_one()
        assert left == again["scheduled"]
        assert await coming.of_code(connection, "nothing") is None
