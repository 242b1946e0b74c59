"""Decisions have one form, and their list is whole."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs/decisions"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_says_what_when_and_what_else_there_was(page):
    text = page.read_text()
    assert re.match(rf"# {page.name[:4]}: \S", text)
    assert re.search(r"^Status: (accepted|replaced by \d{4}) · Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)
    assert "\n## Decision\n" in text
    assert "\n## Alternatives\n" in text


def test_the_list_names_every_decision():
    listed = re.findall(r"\]\(([^)]+\.md)\)", (FOLDER / "README.md").read_text())
    assert listed == [page.name for page in PAGES]
