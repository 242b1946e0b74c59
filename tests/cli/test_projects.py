"""`vouchers project` and the keys of a project."""

import asyncio
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from app.cli import databases
from app.cli.main import cli
from app.platform.errors import CommandError
from tests.shops import client_of


@pytest.fixture
def run(settings, monkeypatch):
    """Run the command line with some words on the test's database; return what it printed."""
    monkeypatch.setattr(databases, "database", lambda: nullcontext((settings, None)))
    monkeypatch.setattr(databases, "bring_up", lambda _: None)
    monkeypatch.setattr(databases, "with_secret_key", lambda settings, **_: settings)

    async def run(*words):
        result = await asyncio.to_thread(CliRunner().invoke, cli, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return run


async def test_a_project_is_made_gets_keys_another_name_and_is_deleted(run, app):
    assert "--project shop" in await run("project", "create", "shop")
    secret = (await run("api-key", "create", "--name", "k", "--scope", "admin", "--project", "shop")).strip()
    async with client_of(app, secret) as shop:
        assert (await shop.get("/v1/pools")).json()["items"] == []
        (key,) = (await shop.get("/v1/api-keys")).json()["items"]
        assert key["id"] in await run("api-key", "list", "--project", "shop")
        assert key["id"] not in await run("api-key", "list")
        with pytest.raises(CommandError, match="no active API key"):
            await run("api-key", "rotate", key["id"])
        assert "no active key" in await run("api-key", "revoke", key["id"])
        fresh = await run("api-key", "rotate", key["id"], "--grace-seconds", "0", "--project", "shop")
        async with client_of(app, fresh.strip()) as again:
            assert (await again.get("/v1/audit")).status_code == 200
            await run("api-key", "revoke", key["id"], "--project", "shop")
            assert (await again.get("/v1/audit")).status_code == 401
    await run("project", "rename", "shop", "store")
    lines = (await run("project", "list")).splitlines()
    assert [line.split()[2] for line in lines] == ["default", "store"]
    with pytest.raises(CommandError, match="repeat the name"):
        await run("project", "delete", "store", "--confirm", "shop")
    assert "keys are refused" in await run("project", "delete", "store", "--confirm", "store")
    assert "store  being deleted since" in await run("project", "list")


async def test_what_is_wrong_is_told_in_a_line(run):
    for words, said in (
        (("project", "create", "default"), "exists already"),
        (("project", "create", "a b"), "no white space"),
        (("project", "rename", "default", "x"), "neither renamed nor deleted"),
        (("project", "rename", "nope", "x"), "no project named"),
        (("project", "delete", "default", "--confirm", "default"), "neither renamed nor deleted"),
        (("api-key", "list", "--project", "nope"), "no project named"),
        (("api-key", "create", "--name", "k", "--scope", "read", "--project", "nope"), "no project named"),
    ):
        with pytest.raises(CommandError, match=said):
            await run(*words)
