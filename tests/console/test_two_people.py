"""Two people edit one thing in the console: the second is shown both, and what he typed is not lost."""

import asyncio
import re

from tests.console.conftest import csrf
from tests.factories import fill


def version(page):
    return re.search(r'name="version" value="([^"]+)"', page.text)[1]


async def test_a_description_that_somebody_else_changed(person, engine):
    await fill(engine, "spring", 1)
    client = await person()
    form = {"csrf": await csrf(client), "version": version(await client.get("/console/pools/spring"))}
    first = await client.post("/console/pools/spring/change", data=form | {"description": "theirs"})
    assert "theirs" in first.text
    second = await client.post("/console/pools/spring/change", data=form | {"description": "mine"})
    assert second.status_code == 412
    assert "What is saved now" in second.text
    assert "theirs" in second.text
    assert 'value="mine"' in second.text
    assert "theirs" in (await client.get("/console/pools/spring")).text
    again = form | {"version": version(second), "description": "theirs and mine"}
    assert (await client.post("/console/pools/spring/change", data=again)).status_code == 200
    assert "theirs and mine" in (await client.get("/console/pools/spring")).text


async def test_alerts_that_somebody_else_changed_or_deleted(person, engine):
    await fill(engine, "spring", 10)
    client = await person()
    address, token = "/console/alerts?pool=spring", await csrf(client)
    hook = {"csrf": token, "pool": "spring", "webhook_url": "https://example.org/hook"}
    await client.post("/console/alerts", data=hook | {"thresholds": "3"})
    seen = version(await client.get(address))
    await client.post("/console/alerts", data=hook | {"thresholds": "4", "version": seen})
    mine = hook | {"thresholds": "5", "version": seen}
    second = await client.post("/console/alerts", data=mine)
    assert second.status_code == 412
    assert "<dd><bdi>4</bdi></dd>" in second.text
    assert 'value="5"' in second.text
    mine["sure"] = "yes"
    deleted = await client.post("/console/alerts/delete", data=mine)
    assert deleted.status_code == 412, "nobody deletes what he has not seen"
    await client.post("/console/alerts/delete", data=mine | {"version": version(deleted)})
    gone = await client.post("/console/alerts", data=mine)
    assert gone.status_code == 412
    assert 'value="5"' in gone.text
    assert 'name="version"' not in gone.text
    del mine["version"]
    await client.post("/console/alerts", data=mine)
    assert ">5</td>" in (await client.get(address)).text


async def test_two_people_map_at_once_and_both_are_kept(person, client):
    browser = await person()
    token = await csrf(browser)
    forms = [{"csrf": token, "event_type": "purchase", "property": f"p{n}"} for n in range(4)]
    await asyncio.gather(*(browser.post("/console/mapping", data=form) for form in forms))
    mapped = (await client.get("/v1/redemption-mapping")).json()["mappings"]
    assert [each["property"] for each in mapped] == ["p0", "p1", "p2", "p3"]
