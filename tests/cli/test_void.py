"""`vouchers void`: many codes at once."""

import asyncio

import pytest

from app.cli import many
from app.platform.errors import CommandError
from tests.factories import fill


async def test_codes_of_a_campaign_are_taken_out_dry_first(client, engine, settings, capsys):
    await fill(engine, "p", 5)
    for _ in range(2):
        await client.post("/v1/pools/p/assignments", json={"campaign_id": "k"})
    chosen = {"campaign_id": "k", "pool": None}
    assert await asyncio.to_thread(many.run, settings, "void", chosen, dry_run=True) == 0
    assert "2 of 2 would be changed" in capsys.readouterr().out
    assert (await client.get("/v1/pools/p/counts")).json()["void"] == 0
    assert await asyncio.to_thread(many.run, settings, "void", chosen, reason="wrong") == 0
    assert "2 of 2 changed" in capsys.readouterr().out
    assert await asyncio.to_thread(many.run, settings, "void", {"pool": "p"}) == 0
    assert "3 of 5 changed\n  2 left: already" in capsys.readouterr().out
    with pytest.raises(CommandError, match="at least one of"):
        await asyncio.to_thread(many.run, settings, "void", {"status": "available"})
    with pytest.raises(CommandError, match="no pool"):
        await asyncio.to_thread(many.run, settings, "void", {"pool": "nope"})
