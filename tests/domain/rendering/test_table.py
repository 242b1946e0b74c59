"""Walks the table of docs/templates.md."""

import re
from pathlib import Path

TABLE = Path(__file__).parents[3] / "docs" / "templates.md"
CONTEXT = {
    "event": {"type": "view"},
    "project": {"name": "Shop"},
    "scenario": {"name": "Spring"},
    "action": {"name": "Mail"},
    "banner": {"variant": {"name": "A"}},
    "campaign": {"name": "Newsletter"},
}
MESSAGE = {"channel": "sms", "customer_id": "c1"}
PAGE = [
    "abort",
    "do",
    "break",
    "continue",
    "time",
    "now",
    "from_timestamp",
    "to_timestamp",
    "hash",
    "md5",
    "sha1",
    "sha256",
    "json_load",
    "shuffle",
    "bool",
    "datetime",
    "customer_ids",
    "event",
    "project",
    "campaign",
    "scenario",
    "action",
    "banner",
    "random",
    "catalogs",
    "segmentations",
    "consents",
    "recommendations",
]


def rows():
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[1] in {"supported", "refused"}:
            yield cells[1], cells[2].strip("`").replace("\\|", "|"), cells[3]


async def test_each_construct_does_what_the_table_says(client):
    wrong = []
    for state, template, shows in rows():
        status = 200 if state == "supported" else 422
        reply = await client.post("/v1/render", json={**MESSAGE, "template": template, "context": CONTEXT})
        said = reply.json().get("rendered" if status == 200 else "detail")
        fits = said == shows if status == 200 else shows in (said or "")
        if reply.status_code != status or not fits:
            wrong.append((template, shows, said or reply.text))
    assert wrong == []


def test_the_table_has_every_name_that_the_page_has():
    table = TABLE.read_text()
    assert [name for name in PAGE if f"`{name}" not in table and name not in table] == []
