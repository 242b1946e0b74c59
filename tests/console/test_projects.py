"""The pages of an operator: projects, and the keys of each; and in which project one is."""

import re
from urllib.parse import quote, unquote

from sqlalchemy import text

from app.console.application import PAGES
from tests.console.conftest import csrf
from tests.shops import client_of, furnish, shops


async def test_an_operator_makes_a_project_and_its_key_renames_and_deletes_it(person, app, engine):
    browser = await person("operator")
    home = await browser.get("/console/")
    assert home.url.path == "/console/projects"
    token = {"csrf": await csrf(browser)}
    for name in ("", "a b", "default"):
        assert (await browser.post("/console/projects", data=token | {"name": name})).status_code in {
            409,
            422,
        }
    page = await browser.post("/console/projects", data=token | {"name": "café&<b>"})
    assert (page.status_code, "first key next" in page.text) == (200, True)
    assert "café&amp;&lt;b&gt;" in page.text
    assert "<b>" not in page.text
    at = page.url.raw_path.decode().partition("?")[0]
    form = token | {"name": "first", "scope_admin": "yes"}
    assert (await browser.post(f"{at}/keys", data=token | {"name": "first"})).status_code == 422
    page = await browser.post(f"{at}/keys", data=form)
    secret = re.search(r'id="secret">([^<]+)<', page.text)[1]
    rotate = re.search(r'action="(/console/projects/[^"]+/rotate)"', page.text)[1]
    async with client_of(app, secret) as shop:
        assert (await shop.get("/v1/pools")).json()["items"] == []
        theirs = await browser.post("/console/login", data={"api_key": secret})
        assert "Project <bdi>café&amp;&lt;b&gt;</bdi>" in theirs.text
        assert (await browser.get("/console/projects")).status_code == 403
    browser = await person("operator")
    token = {"csrf": await csrf(browser)}
    seen = re.search(rf'{re.escape(rotate)}.*?name="version" value="([^"]+)"', page.text)[1]
    sure = token | {"sure": "yes", "grace_hours": "0", "version": seen}
    assert "Tick the box" in (await browser.post(rotate, data=sure | {"sure": ""})).text
    page = await browser.post(rotate, data=sure)
    fresh = re.search(r'id="secret">([^<]+)<', page.text)[1]
    revoke = rotate.removesuffix("rotate") + "revoke"
    assert "Tick the box" in (await browser.post(revoke, data=token)).text
    assert (await browser.post(revoke, data=token | {"sure": "yes"})).status_code == 200
    async with client_of(app, fresh) as shop:
        assert (await shop.get("/v1/pools")).status_code == 401

    page = await browser.post(f"{at}/rename", data=token | {"new_name": "a b"})
    assert (page.status_code, "no white space" in page.text) == (422, True)
    assert (await browser.post(f"{at}/rename", data=token | {"new_name": "default"})).status_code == 409
    page = await browser.post(f"{at}/rename", data=token | {"new_name": "shop"})
    assert (page.url.path, (await browser.get(at)).status_code) == ("/console/projects/shop", 404)
    for confirm in ("", "café"):
        page = await browser.post("/console/projects/shop/delete", data=token | {"confirm": confirm})
        assert (page.status_code, "repeat the name" in page.text) == (422, True)
    page = await browser.post("/console/projects/shop/delete", data=token | {"confirm": "shop"})
    assert (page.url.path, "deleting</span>" in page.text) == ("/console/projects", True)
    assert "being deleted since" in (await browser.get("/console/projects/shop")).text
    async with engine.begin() as connection:
        waiting = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'delete_project'")
        assert (await connection.execute(waiting)).scalar_one() == 2


async def test_the_first_project_has_no_form_to_rename_or_delete_it(person):
    browser = await person("operator")
    page = (await browser.get("/console/projects/default")).text
    assert "/console/projects/default/keys" in page
    assert "/delete" not in page
    assert "/rename" not in page


async def test_each_page_says_in_which_project_one_is(person):
    browser = await person()
    for path in ("pools", "imports/new", "keys", "audit"):
        assert "Project <bdi>default</bdi>" in (await browser.get(f"/console/{path}")).text
    assert 'href="/console/projects"' not in (await browser.get("/console/pools")).text


async def test_no_page_shows_anything_of_another_project(person, app, engine):
    async with shops(app, engine, "zzz-shop") as (other,):
        ids = await furnish(other, "zzz")
        browser = await person()
        walked = 0
        for page in PAGES:
            for route in page.router.routes:
                if "GET" not in route.methods or route.path == "/login":
                    continue
                path = re.sub(r"{(\w+)(?::\w+)?}", lambda name: quote(ids[name[1]], safe=""), route.path)
                answer = await browser.get(f"/console{path}")
                asked = [ids[name] for name in ids if ids[name] in unquote(path)]
                said = answer.text
                for each in sorted(asked, key=len, reverse=True):
                    said = said.replace(each, "")
                assert "zzz" not in said, path
                # A customer's page is where one is made, too.
                found = path.startswith("/customers/") or (not asked and path != "/projects")
                assert answer.status_code in ({200} if found else {403, 404}), (path, answer.text)
                walked += 1
        assert walked > 20, walked


async def test_a_form_of_an_operator_that_is_sent_again_makes_nothing_twice(person):
    browser = await person("operator")
    form = {"csrf": await csrf(browser), "form": "f"}
    made = [await browser.post("/console/projects", data=form | {"name": "shop"}) for _ in range(2)]
    assert [page.url.path for page in made] == ["/console/projects/shop"] * 2
    key = form | {"name": "first", "scope_admin": "yes"}
    pages = [await browser.post("/console/projects/shop/keys", data=key) for _ in range(2)]
    assert len({re.search(r'id="secret">([^<]+)<', page.text)[1] for page in pages}) == 1
    assert pages[1].text.count("<bdi>first</bdi>") == 1
    version = re.search(
        r'name="version" value="([^"]+)"><div class="field"><label for="f-new_name"',
        re.sub(r">\s+<", "><", pages[1].text),
    )
    renamed = form | {"new_name": "store", "version": version[1]}
    pages = [await browser.post("/console/projects/shop/rename", data=renamed) for _ in range(2)]
    assert [page.url.path for page in pages] == ["/console/projects/store"] * 2
