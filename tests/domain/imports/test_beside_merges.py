"""An import that puts its rows into order, or sets many aside, for long keeps no merge of customers waiting."""

import asyncio
import json
import uuid

import pytest

from app.domain.imports.merging import given, merge
from app.domain.lifecycle import draw_keys
from app.platform.connections import connect_sync
from app.platform.projects import DEFAULT
from tests.named import numbered, plan_of

LOCK = 4711
TABLES = {merge: "staged", given: "given"}
MET = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted)"
WAIT = f"SELECT count(pg_advisory_xact_lock({LOCK})) WHERE %(lines)s::bigint[] IS NOT NULL AND %(id)s::uuid IS NOT NULL"


def stage(connection, module, rows=2):
    connection.execute(module.STAGED)
    table = TABLES[module]
    connection.execute(
        f"INSERT INTO {table} (line, code) SELECT n, 'A' || n FROM generate_series(1, {rows}) AS n"
    )


def order(connection, module):
    if module is merge:
        merge.order(connection, 1, 0, merge.before(0))
    else:
        given.order(connection, 1, draw_keys.FIRST)


def set_aside(connection, module):
    module.set_aside(connection, uuid.uuid4(), [1])


@pytest.mark.parametrize("module", [merge, given], ids=["to draw", "given elsewhere"])
@pytest.mark.parametrize("act", [order, set_aside])
async def test_a_merge_does_not_wait_for_what_an_import_does_for_long(
    client, settings, monkeypatch, act, module
):
    monkeypatch.setattr(module, "INDEX", f"SELECT pg_advisory_xact_lock({LOCK})")
    monkeypatch.setattr(module, "SET_ASIDE", WAIT)
    with (
        connect_sync(settings, project=DEFAULT, autocommit=True) as holder,
        connect_sync(settings, project=DEFAULT, autocommit=True) as connection,
    ):
        (name,) = connection.execute("SHOW application_name").fetchone()
        stage(connection, module)
        holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        working = asyncio.create_task(asyncio.to_thread(act, connection, module))
        while not working.done() and not holder.execute(MET, [LOCK]).fetchone()[0]:
            await asyncio.sleep(0.005)
        assert not working.done()
        merged = await client.post("/v1/customers/anna/merge", json={"from": "cookie"})
        holder.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
        await working
        assert merged.status_code == 200, merged.text
        # What it writes from now on is waited for.
        assert connection.execute("SHOW application_name").fetchone() == (name,)
        assert name == f"vouchers/{DEFAULT}"


@pytest.mark.parametrize("module", [merge, given], ids=["to draw", "given elsewhere"])
def test_rows_are_set_aside_without_a_look_at_all_of_them_for_each(settings, module):
    with connect_sync(settings, project=DEFAULT, autocommit=True) as connection:
        stage(connection, module, 5000)
        values = {"lines": [1], "id": uuid.uuid4(), "project": DEFAULT}
        plan = json.dumps(plan_of(connection.cursor(), *numbered(module.SET_ASIDE, values, connection)))
    assert "Hash Join" in plan, plan
    assert "= ANY (" not in plan, plan
