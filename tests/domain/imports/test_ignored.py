"""Rows of an import that were ignored can be listed: what was there before, and what stands twice."""

from app.domain.imports.merging import ignored
from tests.factories import add_key


async def listed(client, done, **params):
    reply = await client.get(f"/v1/imports/{done['id']}/ignored", params=params)
    return [(item["line"], item["code"]) for item in reply.json()["items"]]


async def test_they_are_listed_by_line_and_page(client, upload, engine):
    await upload("code\nA-1\nA-2\nA-3\n")
    await upload("code\nO-1\n", "other")
    text = "code\nA-1\nN-1\nN-1\nO-1\nA-3\nN-2\nN-1\n"
    there = [(2, "A-1"), (4, "N-1"), (6, "A-3"), (8, "N-1")]
    dry = (await upload(text, dry_run=True)).json()
    assert (dry["ignored"], await listed(client, dry)) == (4, there), dry
    done = (await upload(text)).json()
    assert (done["ignored"], await listed(client, done)) == (4, there)
    first = (await client.get(f"/v1/imports/{done['id']}/ignored", params={"limit": 3})).json()
    assert await listed(client, done, cursor=first["next_cursor"]) == there[3:]
    again = (await upload(text)).json()
    assert len(await listed(client, again)) == again["ignored"] == 6
    await add_key(engine, "read-0123456789-0123456789-0123456789", "read")
    headers = {"Authorization": "Bearer read-0123456789-0123456789-0123456789"}
    shown = await client.get(f"/v1/imports/{done['id']}/ignored", headers=headers)
    assert "A-1" not in shown.text


async def test_codes_that_were_given_elsewhere_are_listed_too(client, upload):
    text = "code;who\nA-1;anna\nA-2;\n"
    await upload(text, customer_id_column="who")
    again = (await upload(text, customer_id_column="who")).json()
    assert (again["ignored"], await listed(client, again)) == (2, [(2, "A-1"), (3, "A-2")])


async def test_a_code_that_was_given_elsewhere_and_stands_in_the_file_again_is_counted_once(client, upload):
    text = "code;who\nA-1;anna\nA-1;\nA-2;\n"
    for dry_run in (True, False):
        done = (await upload(text, customer_id_column="who", dry_run=dry_run)).json()
        assert (done["imported"], done["ignored"]) == (2, 1), done
        assert await listed(client, done) == [(3, "A-1")], done


async def test_no_more_are_kept_than_is_said(client, upload, monkeypatch):
    monkeypatch.setattr(ignored, "MOST", 5)
    text = "code\n" + "".join(f"K-{n:03}\n" for n in range(40))
    await upload(text)
    again = (await upload(text)).json()
    assert again["ignored"] == 40
    assert 5 <= len(await listed(client, again)) <= 10  # two shares count at the same time


async def test_an_import_that_is_not_there_has_none(client):
    reply = await client.get("/v1/imports/00000000-0000-4000-8000-00000000dead/ignored")
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/import-not-found")
