import asyncio
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import typer.main
from sqlalchemy import text
from typer.testing import CliRunner

from app.cli import import_file as command
from app.cli import opening
from app.cli.main import cli
from app.domain.imports.merging import merge
from app.domain.imports.options import ImportOptions
from app.platform.database import transaction
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import codes, listing


def run(settings, path, pool="p", **options):
    """In a thread, as the command has an event loop of its own."""
    return command.run(settings, DEFAULT, pool, path, options)


async def test_a_file_is_imported_with_its_figures_at_the_end(client, settings, tmp_path, capsys):
    path = tmp_path / "codes.csv"
    path.write_text("id;voucher\n1;A1\n2;A2\n3;A1\n4;\n")
    assert await asyncio.to_thread(run, settings, path) == 0
    said = capsys.readouterr().out
    assert "4 rows: 2 imported, 1 ignored, 1 rejected" in said
    assert "line 5: empty" in said
    assert await codes(client) == {"A1", "A2"}
    assert await asyncio.to_thread(run, settings, path, column="id", dry_run=True) == 0
    assert "4 would be imported" in capsys.readouterr().out
    assert await asyncio.to_thread(run, settings, path, column="nope") == 2
    assert "no column 'nope'" in capsys.readouterr().out
    assert await asyncio.to_thread(run, settings, path, pool="a b") == 2
    assert await asyncio.to_thread(run, settings, tmp_path / "missing.csv") == 2
    assert await codes(client) == {"A1", "A2"}


def test_the_command_has_every_option_of_the_api():
    parameters = {each.name for each in typer.main.get_command(cli).commands["import"].params}
    assert parameters - {"pool", "file", "project"} == set(ImportOptions.model_fields)


async def test_the_command_says_until_when_codes_are_valid(client, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "database", lambda: nullcontext((settings, None)))
    monkeypatch.setattr(opening, "bring_up", lambda _: None)
    path = tmp_path / "codes.csv"
    path.write_text("code,until,pin\n'A,1',31.12.2030,7\n'A,2',,8\n")

    async def run(*words):
        given = ("import", "p", str(path), "--column", "code", "--quote", "'", "--attribute", "pin", *words)
        result = await asyncio.to_thread(CliRunner().invoke, cli, given)
        return result.exit_code, result.output

    column = ("--expires-at-column", "until", "--date-format", "DD.MM.YYYY")
    code, said = await run(*column, "--timezone", "Europe/[/b]")
    assert (code, said) == (
        2,
        "timezone: there is no time zone 'Europe/[/b]'; one is named as Europe/Prague\n",
    )
    code, said = await run(*column, "--timezone", "Europe/Prague", "--expires-at", "2031-06-30")
    assert (code, "2 imported" in said) == (0, True), said
    items = (await client.get("/v1/pools/p/vouchers")).json()["items"]
    assert {(each["code"], each["expires_at"], each["attributes"]["pin"]) for each in items} == {
        ("A,1", "2030-12-31T23:00:00Z", "7"),
        ("A,2", "2031-06-30T22:00:00Z", "8"),
    }


async def test_an_import_that_is_broken_off_is_cancelled_and_what_came_in_stays(
    client, engine, settings, tmp_path, monkeypatch, capsys
):
    path, real, chunks = tmp_path / "codes.csv", merge.chunk, []
    path.write_text(listing(range(400)))

    def broken_off_at_the_third(*arguments):
        chunks.append(arguments)
        if len(chunks) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(merge, "chunk", broken_off_at_the_third)
    slowly = settings.model_copy(update={"import_chunk_rows": 10})
    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(run, slowly, path)
    assert len(chunks) < 20  # of 40
    came = await codes(client)
    assert f"Broken off. {len(came)} codes have come in, and stay" in capsys.readouterr().out
    assert 0 < len(came) < 400
    (broken,) = (await client.get("/v1/imports")).json()["items"]
    (entry,) = (await client.get("/v1/audit", params={"action": "import.created"})).json()["items"]
    assert (entry["key_id"], entry["details"]) == (None, {"import_id": broken["id"]})
    assert (broken["status"], broken["error"], broken["imported"]) == (
        "failed",
        "It was cancelled.",
        len(came),
    )
    async with transaction(engine) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM import_chunk"))).scalar_one() == 0
    assert await asyncio.to_thread(run, settings, path) == 0
    assert f"{400 - len(came)} imported, {len(came)} ignored" in capsys.readouterr().out


@pytest.mark.long
def test_a_terminal_that_knows_no_arrow_gets_an_escape(database_url, tmp_path):
    path = tmp_path / "ü.csv"
    path.write_text("code\nA1\n")
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "import", "p", str(path)],
        env={**os.environ, "DATABASE_URL": database_url, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert rb"\u2192 p" in ended.stdout
    assert b"1 imported" in ended.stdout


async def test_what_a_file_and_its_name_say_is_shown_and_obeyed_by_no_terminal(
    client, settings, tmp_path, capsys
):
    path = tmp_path / "\udcff[b]\x1b[31m.csv"
    path.write_text("code;\x1b]0;x\x07note\n" + "".join(f"AB-{n};{n}\n" for n in range(20)))
    assert await asyncio.to_thread(run, settings, path, pool="[b]", column="code") == 0
    said = capsys.readouterr().out
    assert "20 imported" in said
    assert "not imported: \N{REPLACEMENT CHARACTER}]0" in said
    assert "\x1b" not in said
    (done,) = (await client.get("/v1/imports")).json()["items"]
    assert done["source"]["name"] == "\N{REPLACEMENT CHARACTER}[b]\x1b[31m.csv"
