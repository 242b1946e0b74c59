"""Names that are typed are found in the one form of Unicode in which they are kept, however the machine writes them."""

import asyncio
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from app.cli import import_file, main
from app.platform.errors import CommandError
from app.platform.projects import DEFAULT
from app.server import collector, crew
from tests.domain.imports.imported import counts

COMPOSED, PARTS = "caf\u00e9", "cafe\u0301"


def test_a_worker_finds_its_database(settings, monkeypatch):
    monkeypatch.setattr(main, "database", lambda: nullcontext((settings, None)))
    monkeypatch.setattr(main, "with_secret_key", lambda settings, **_: settings)
    monkeypatch.setattr(collector, "collect_rarely", lambda: None)

    async def settings_for(_, name):
        raise CommandError(name)

    monkeypatch.setattr(crew, "settings_for", settings_for)
    result = CliRunner().invoke(main.cli, ["worker", "--database", PARTS])
    assert isinstance(result.exception, CommandError)
    assert str(result.exception) == COMPOSED


@pytest.mark.parametrize("name", [COMPOSED, PARTS])
async def test_a_file_comes_into_the_pool_that_the_api_names(client, settings, tmp_path, name):
    path = tmp_path / "codes.csv"
    path.write_text("code\nA-1\n")
    await client.post("/v1/pools", json={"name": COMPOSED})
    assert await asyncio.to_thread(import_file.run, settings, DEFAULT, name, path, {}) == 0
    assert [pool["name"] for pool in (await client.get("/v1/pools")).json()["items"]] == [COMPOSED]
    assert await counts(client, COMPOSED) == {"available": 1}
