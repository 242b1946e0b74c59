"""Walks the table of docs/templates.md."""

import re
from pathlib import Path

from tests.domain.rendering.help import FORMS, sent
from tests.factories import fill

TABLE = Path(__file__).parents[3] / "docs" / "templates.md"
CONTEXT = {
    "event": {"type": "view"},
    "project": {"name": "Shop"},
    "scenario": {"name": "Spring"},
    "action": {"name": "Mail"},
    "banner": {"variant": {"name": "A"}},
    "experiment": {"id": 7, "variant": {"name": "B"}},
    "campaign": {"name": "Newsletter"},
    "tag": {"name": "Popup"},
    "params": {"size": "L"},
    "webhook": {"data": {"ok": "yes"}},
}
POOLS = {"spring_sale": ["SPRING-1"], "pair": ["PAIR-1", "PAIR-2"], "sold_out": [], "also_sold_out": []}
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
    "experiment",
    "tag",
    "params",
    "webhook",
    "random",
    "catalogs",
    "segmentations",
    "consents",
    "consent.page",
    "recommendations",
    "metrics",
    "report_value_by_key",
]


def rows():
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[1] in {"supported", "refused"}:
            yield cells[1], cells[2].strip("`").replace("\\|", "|"), cells[3]


async def test_each_construct_does_what_the_table_says_in_each_form(client, engine):
    for pool, codes in POOLS.items():
        await fill(engine, pool, codes)
    wrong, table = [], list(rows())
    assert len(table) > 80
    for state, template, shows in table:
        for form in FORMS:
            reply = await sent(client, form, template, context=CONTEXT)
            said = reply.get("rendered" if state == "supported" else "detail")
            fits = said == shows if state == "supported" else shows in (said or "")
            if not fits:
                wrong.append((form, template, shows, said or reply))
    assert wrong == []


def test_the_table_has_every_name_that_the_page_has():
    table = "".join(line for line in TABLE.read_text().splitlines(keepends=True) if line.startswith("|"))
    assert [name for name in PAGE if not re.search(rf"\b{re.escape(name)}\b", table)] == []
