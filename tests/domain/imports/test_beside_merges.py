"""An import that puts its rows into order, which may take long, keeps no merge of customers waiting."""

import asyncio

import pytest

from app.domain.imports.merging import given, merge
from app.domain.lifecycle import draw_keys
from app.platform.connections import connect_sync
from app.platform.projects import DEFAULT

LOCK = 4711
STAGED = "INSERT INTO {} (line, code) VALUES (1, 'A'), (2, 'B')"
MET = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted)"


@pytest.mark.parametrize("kind", ["to draw", "given elsewhere"])
async def test_a_merge_does_not_wait_for_rows_that_are_put_into_order(client, settings, monkeypatch, kind):
    module = merge if kind == "to draw" else given
    monkeypatch.setattr(module, "INDEX", f"SELECT pg_advisory_xact_lock({LOCK})")

    def order(connection):
        connection.execute(module.STAGED)
        if kind == "to draw":
            connection.execute(STAGED.format("staged"))
            merge.order(connection, 1, 0, merge.before(0))
        else:
            connection.execute(STAGED.format("given"))
            given.order(connection, 1, draw_keys.FIRST)

    with (
        connect_sync(settings, project=DEFAULT, autocommit=True) as holder,
        connect_sync(settings, project=DEFAULT, autocommit=True) as connection,
    ):
        (name,) = connection.execute("SHOW application_name").fetchone()
        holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        ordering = asyncio.create_task(asyncio.to_thread(order, connection))
        while not ordering.done() and not holder.execute(MET, [LOCK]).fetchone()[0]:
            await asyncio.sleep(0.005)
        assert not ordering.done()
        merged = await client.post("/v1/customers/anna/merge", json={"from": "cookie"})
        holder.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
        await ordering
        assert merged.status_code == 200, merged.text
        # What it writes from now on is waited for.
        assert connection.execute("SHOW application_name").fetchone() == (name,)
        assert name == f"vouchers/{DEFAULT}"
