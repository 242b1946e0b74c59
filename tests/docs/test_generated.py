"""The pages that are made from the code are those of the code as it is."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "docs"
spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("name", ["settings.md", "commands.md", "problems.md"])
def test_the_page_is_current(name):
    assert (FOLDER / name).read_text() == generate.pages()[name], "run `python docs/generate.py`"


@pytest.mark.parametrize("name", ["settings.md", "commands.md", "problems.md"])
def test_nothing_on_the_page_is_left_unexplained(name):
    for line in (FOLDER / name).read_text().splitlines():
        if line.startswith("| `"):
            assert not line.endswith("|  |"), line
