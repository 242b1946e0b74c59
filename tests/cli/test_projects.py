"""`vouchers project` and the keys of a project."""

import asyncio
import json
import zipfile
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from app.cli import opening
from app.cli.main import cli
from app.platform.errors import CommandError
from tests.factories import fill
from tests.shops import client_of, shops


@pytest.fixture
def run(settings, monkeypatch):
    """Run the command line with some words on the test's database; return what it printed."""
    monkeypatch.setattr(opening, "database", lambda: nullcontext((settings, None)))
    monkeypatch.setattr(opening, "bring_up", lambda _: None)
    monkeypatch.setattr(opening, "with_secret_key", lambda settings, **_: settings)

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


async def test_an_export_has_all_of_the_project_and_no_secret(run, app, engine, tmp_path):
    file = tmp_path / "a.zip"
    async with shops(app, engine, "a", "b") as (a, b):
        for shop in (a, b):
            await fill(shop.engine, "p", [f"{shop.name}-\\1", f"{shop.name}-2"])
            url = f"https://example.org/{shop.name}"
            hook = await shop.client.post("/v1/webhooks", json={"url": url, "events": ["voucher.assigned"]})
            given = await shop.client.post("/v1/pools/p/assignments", json={"customer_id": f"{shop.name}\n"})
            assert (hook.status_code, given.status_code) == (201, 201)
    assert "rows." in await run("project", "export", "a", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(file) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    rows = {name: [json.loads(line) for line in text.splitlines()] for name, text in texts.items()}
    assert {row["code"] for row in rows["voucher.ndjson"]} == {"a-\\1", "a-2"}
    told = [(row["customer_id"], row["occurrence"], row["test"]) for row in rows["assignment.ndjson"]]
    assert told == [("a\n", 0, False)]
    assert [row["url"] for row in rows["webhook.ndjson"]] == ["https://example.org/a"]
    said = "".join(texts.values())
    assert "whsec_" not in said
    assert "example.org/b" not in said
    with pytest.raises(CommandError, match="cannot be written"):
        await run("project", "export", "a", str(tmp_path / "missing" / "a.zip"))
    with pytest.raises(CommandError, match="no project"):
        await run("project", "export", "nope", str(file))
