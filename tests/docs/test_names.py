"""What the pages name is there: pages and their headings, files of the source, tests, benchmarks."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
FOLDERS = ("app", "benchmarks", "deploy", "docs", "migrations", "requirements", "tests")
FILE = re.compile(rf"(?:[a-z0-9_.-]+/)*[a-z0-9_.-]+\.py|(?:{'|'.join(FOLDERS)})(?:/[a-z0-9_.-]+)+/?")
"""What is in capitals stands for a name."""
TEST = re.compile(r"test_\w+")
BENCHMARK = re.compile(r"\bbenchmarks\.([a-z_]+)")


@cache
def anchors(page):
    """The anchors of a page's headings, as GitHub makes them: of two that are alike the second has a number."""
    found, seen = set(), {}
    for heading in HEADING.findall(BLOCK.sub("", page.read_text())):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        n = seen[anchor] = seen.get(anchor, -1) + 1
        found.add(f"{anchor}-{n}" if n else anchor)
    return found


@each_page
def test_links_lead_somewhere(page):
    for path, anchor in LINK.findall(page.read_text()):
        if "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.resolve()), f"{path}#{anchor}"


@cache
def paths():
    """The paths of all files and folders; pages leave out what leads to a room."""
    return [f"/{path.relative_to(ROOT)}" for folder in FOLDERS for path in (ROOT / folder).rglob("*")]


@cache
def known_tests():
    """The names of the tests, and of their files."""
    files = list((ROOT / "tests").rglob("test_*.py"))
    named = {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())}
    return named | {file.stem for file in files}


@each_page
def test_files_tests_and_benchmarks_that_a_page_names_are_there(page):
    text = page.read_text()
    for span in SPAN.findall(BLOCK.sub("", text)):
        if FILE.fullmatch(span):
            assert any(path.endswith(f"/{span.rstrip('/')}") for path in paths()), span
        elif TEST.fullmatch(span):
            assert span in known_tests(), span
    for name in BENCHMARK.findall(text):
        assert (ROOT / "benchmarks" / f"{name}.py").exists(), name
