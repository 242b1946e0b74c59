import asyncio

from app.cli import import_file as command
from app.platform.projects import DEFAULT
from tests.domain.imports.imported import codes


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
