"""The drawing in `docs/architecture.md` is true, and the rules of the house hold."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
APP = ROOT / "app"


def floors():
    """The drawing: from the top, the rooms of each floor."""
    house = (ROOT / "docs/architecture.md").read_text().split("## The house")[1]
    (drawing,) = re.findall(r"```\n(.*?)```", house, re.DOTALL)[:1]
    return [
        [f"app.{room.replace('/', '.')}" for room in re.split(r"\s{2,}", line)[0].split()]
        for line in drawing.strip().splitlines()
    ]


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("app", cache_dir=None)


def test_the_drawing_shows_every_room_and_no_other():
    rooms = {f"app.{path.parent.name}" for path in APP.glob("*/__init__.py")} - {"app.domain"}
    rooms |= {f"app.domain.{path.parent.name}" for path in (APP / "domain").glob("*/__init__.py")}
    assert {room for floor in floors() for room in floor} == rooms


def test_imports_go_down_the_drawing_only(graph):
    level = {room: number for number, floor in enumerate(floors()) for room in floor}
    upwards = [
        f"{importer} -> {imported}"
        for importer in level
        for imported in level
        if importer != imported
        and level[importer] >= level[imported]
        and graph.direct_import_exists(importer=importer, imported=imported, as_packages=True)
    ]
    assert upwards == []


def test_the_sql_of_a_room_is_its_own(graph):
    strangers = [
        f"{importer} -> {module}"
        for module in graph.modules
        if module.endswith(".queries")
        for importer in graph.find_modules_that_directly_import(module)
        if importer.rpartition(".")[0] != module.rpartition(".")[0]
    ]
    assert strangers == []


WRITES = re.compile(
    r"(INSERT INTO|UPDATE|DELETE FROM)\s+(voucher|stock)\b|\b(insert|update|delete|upsert)\((Voucher|Stock)\b"
)
WRITES_WHAT_IS_NAMED = re.compile(
    r"(INSERT INTO|UPDATE|DELETE FROM|MERGE INTO|TRUNCATE|COPY)\s+\"?\{"
    r"|(?<![\w.])(insert|update|delete|upsert)\([a-z_]\w*\)"
)
"""Of a table that is a parameter."""
EVERY_TABLE_OF_A_PROJECT = {
    "app/domain/projects/queries.py",  # deletes its rows
    "app/domain/projects/moving/rows.py",  # copies them
    "app/domain/projects/moving/tables.py",  # deletes those that were copied
}
OTHER_TABLES = {
    "app/cli/demo_data.py",
    "app/domain/imports/sources/resealing.py",
    "app/platform/forgetting.py",  # those that its callers name
}


def writers(statement):
    """The files outside of the lifecycle that have such a statement."""
    return {
        str(path.relative_to(ROOT))
        for path in APP.rglob("*.py")
        if statement.search(path.read_text()) and "lifecycle" not in path.parts
    }


def test_nobody_outside_the_lifecycle_writes_vouchers_or_stock():
    assert writers(WRITES) == set()
    assert writers(WRITES_WHAT_IS_NAMED) == EVERY_TABLE_OF_A_PROJECT | OTHER_TABLES
    assert writers(re.compile(r"[\"'](voucher|stock)[\"']|\b(Voucher|Stock)\b")) & OTHER_TABLES == set()
    assert writers(re.compile(r"\b(forget|Rule)\([^)]*\"(voucher|stock)\"")) == set()


def test_the_worker_and_the_command_line_load_no_http():
    code = (
        "import sys, app.cli.main, app.server.worker\n"
        "print(sorted({'fastapi', 'starlette', 'uvicorn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_every_process_loads_again_loads_nothing():
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["vouchers"]
    module = ROOT / (script.partition(":")[0].replace(".", "/") + ".py")
    assert module == APP / "cli/__main__.py"
    assert not any(
        isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(module.read_text()).body
    )


def test_the_confined_process_loads_nothing_else_of_the_program():
    code = (
        "import sys, app.domain.rendering.confined.worker\n"
        "print(sorted(name for name in sys.modules if name.startswith('app.') "
        "and not name.startswith('app.domain.rendering.confined')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['app.domain', 'app.domain.rendering']"


TESTS = ROOT / "tests"
BESIDE_THE_HOUSE = {"chaos", "clients", "docs", "hostile"}
"""Folders of tests that look at the service from outside."""


def test_the_tests_stand_in_the_rooms_that_they_test():
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    strangers = [
        str(folder)
        for folder in folders
        if folder.parts[0] not in BESIDE_THE_HOUSE and not (APP / folder).is_dir()
    ]
    assert strangers == []


def test_what_tests_share_stands_in_no_test_module():
    shared = re.compile(r"^(from|import) (tests|benchmarks)\.[\w.]*test_", re.MULTILINE)
    assert [str(path) for path in TESTS.rglob("*.py") if shared.search(path.read_text())] == []
