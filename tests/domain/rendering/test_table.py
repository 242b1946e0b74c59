"""Walks the table of docs/templates.md."""

import re
from pathlib import Path

import pytest

from tests.domain.rendering.help import render

TABLE = Path(__file__).parents[3] / "docs" / "templates.md"
CONTEXT = {
    "event": {"type": "view"},
    "project": {"name": "Shop"},
    "scenario": {"name": "Spring"},
    "action": {"name": "Mail"},
    "banner": {"variant": {"name": "A"}},
}


def rows():
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[1] in {"supported", "refused"}:
            yield cells[1], cells[2].strip("`").replace("\\|", "|"), cells[3]


@pytest.mark.parametrize(("state", "template", "shows"), list(rows()))
async def test_each_construct_does_what_the_table_says(client, state, template, shows):
    if state == "supported":
        assert (await render(client, template, channel="sms", context=CONTEXT))["rendered"] == shows
    else:
        assert shows in (await render(client, template, channel="sms", status=422))["detail"]
