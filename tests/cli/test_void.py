"""`vouchers void` and the like: many codes at once; `vouchers merge-customers`."""

import asyncio
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from app.cli import many, opening
from app.cli.main import cli
from app.platform.errors import CommandError
from app.platform.projects import DEFAULT
from tests.factories import fill


async def test_codes_of_a_campaign_are_taken_out_dry_first(client, engine, settings, capsys):
    await fill(engine, "p", 5)
    for _ in range(2):
        await client.post("/v1/pools/p/assignments", json={"campaign_id": "k"})
    chosen = {"campaign_id": "k", "pool": None}
    assert await asyncio.to_thread(many.run, settings, DEFAULT, "void", chosen, dry_run=True) == 0
    assert "2 of 2 would be changed" in capsys.readouterr().out
    assert (await client.get("/v1/pools/p/counts")).json()["void"] == 0
    assert await asyncio.to_thread(many.run, settings, DEFAULT, "void", chosen, reason="wrong") == 0
    assert "2 of 2 changed" in capsys.readouterr().out
    assert await asyncio.to_thread(many.run, settings, DEFAULT, "void", {"pool": "p"}) == 0
    assert "3 of 5 changed\n  2 left: already" in capsys.readouterr().out
    with pytest.raises(CommandError, match="at least one of"):
        await asyncio.to_thread(many.run, settings, DEFAULT, "void", {"status": "available"})
    with pytest.raises(CommandError, match="no pool"):
        await asyncio.to_thread(many.run, settings, DEFAULT, "void", {"pool": "nope"})


@pytest.fixture
def run(settings, monkeypatch):
    """Run the command line with some words on the test's database; return what it printed."""
    monkeypatch.setattr(opening, "database", lambda: nullcontext((settings, None)))
    monkeypatch.setattr(opening, "bring_up", lambda _: None)

    async def run(*words):
        result = await asyncio.to_thread(CliRunner().invoke, cli, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return run


async def test_what_was_given_goes_back_and_an_expiry_moves(client, engine, run):
    await fill(engine, "p", 5)
    for test in (True, False):
        await client.post("/v1/pools/p/assignments", json={"campaign_id": "k", "test": test})
    assert "1 of 1 would be changed" in await run("release", "--campaign", "k", "--test", "--dry-run")
    assert "1 of 1 changed" in await run("release", "--campaign", "k", "--test")
    assert (await client.get("/v1/pools/p/counts")).json()["assigned"] == 1
    assert "5 of 5 changed" in await run("set-expiry", "2020-01-01T00:00:00Z", "--pool", "p")
    assert (await client.get("/v1/pools/p/counts")).json()["expired"] == 4
    assert "5 of 5 changed" in await run("set-expiry", "never", "--pool", "p")
    with pytest.raises(CommandError, match="with its zone"):
        await run("set-expiry", "2030-01-01", "--pool", "p")
    assert "1 of 1 changed" in await run("void", "--code", "p-000001")
    assert "1 of 5 changed" in await run("reinstate", "--pool", "p")
    assert (await client.get("/v1/pools/p/counts")).json()["void"] == 0


async def test_two_customers_become_one(client, engine, run):
    await fill(engine, "p", 3)
    await client.post("/v1/pools/p/assignments", json={"customer_id": "web-1"})
    assert "1 assignments, 0 redemptions and 0 events are those of anna now" in await run(
        "merge-customers", "web-1", "anna"
    )
    (row,) = (await client.get("/v1/assignments", params={"customer_id": "web-1"})).json()["items"]
    assert row["customer_id"] == "anna"
    assert "0 assignments" in await run("merge-customers", "web-1", "anna")
    with pytest.raises(CommandError, match="characters"):
        await run("merge-customers", "x" * 300, "anna")
