"""Commands act in one project; `vouchers check` goes through all of them."""

import asyncio
from contextlib import nullcontext

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from app.cli import main, opening
from app.cli.checking import AGREE
from app.platform.database import transaction
from app.platform.errors import CommandError
from app.platform.projects import of_project
from tests.factories import add_projects, fill


@pytest.fixture
def run(settings, monkeypatch):
    """Run the command line with some words on the test's database; return its exit code and what it printed."""
    for module in (opening, main):
        monkeypatch.setattr(module, "database", lambda: nullcontext((settings, None)))
        monkeypatch.setattr(module, "bring_up", lambda _: None)

    async def run(*words):
        result = await asyncio.to_thread(CliRunner().invoke, main.cli, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run


async def states(engine):
    async with transaction(engine) as connection:
        return set((await connection.execute(text("SELECT status FROM voucher"))).scalars())


async def test_a_command_changes_the_codes_of_its_project_alone(engine, run, tmp_path):
    other = of_project(engine, (await add_projects(engine, "other"))[0])
    for each in (engine, other):
        await fill(each, "p", 2)  # the same codes in both
    assert "2 of 2 changed" in (await run("void", "--pool", "p", "--project", "other"))[1]
    assert (await states(engine), await states(other)) == ({"available"}, {"void"})
    file = tmp_path / "codes.csv"
    file.write_text("code\nNEW-1\n")
    assert "1 imported" in (await run("import", "q", str(file), "--project", "other"))[1]
    assert "2 of 2 changed" in (await run("void", "--pool", "p"))[1]
    assert (await states(engine), await states(other)) == ({"void"}, {"void", "available"})
    with pytest.raises(CommandError, match="no project"):
        await run("merge-customers", "a", "b", "--project", "nope")


async def test_check_says_in_which_project_the_books_do_not_agree(engine, run):
    other = of_project(engine, (await add_projects(engine, "other"))[0])
    for each in (engine, other):
        await fill(each, "p", 2)
    assert await run("check") == (0, f"{AGREE}\n")
    async with transaction(other) as connection:
        await connection.execute(text("UPDATE stock SET available = available + 1 WHERE slot = 0"))
    code, said = await run("check")
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("other: the stock of a pool does not agree with its vouchers")
