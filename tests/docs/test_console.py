"""What the guide to the console names is there, under that name."""

import re
from pathlib import Path

from app.console.pages import HERE
from app.console.texts import MENU


def test_pages_and_buttons_of_the_guide_bear_its_names():
    guide = Path("docs/console.md").read_text().partition("## How a page is made")[0]
    named = set(re.findall(r"\*([^*]+)\*", guide))
    pages = {title for _, items in MENU for _, title, _ in items}
    shown = "".join(file.read_text() for file in (HERE / "templates").glob("*.html"))
    assert len(named & pages) > 8
    assert {name for name in named - pages if f">{name}<" not in shown and f"'{name}'" not in shown} == set()
