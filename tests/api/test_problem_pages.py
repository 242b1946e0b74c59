"""Every problem has a page that says what to do."""

import orjson

from app.api.problem_pages import REMEDIES, kinds
from app.platform.errors import DomainError
from app.server import refusals


def test_every_problem_says_what_to_do_and_no_other_is_explained():
    assert {kind.name for kind in kinds().values() if kind.remedy} == set(kinds()) == set(REMEDIES)


async def test_a_problem_has_a_page(client):
    for name in REMEDIES:
        page = await client.get(f"/problems/{name}", headers={"Accept": "text/html"})
        assert page.status_code == 200, name
        assert page.headers["content-type"].startswith("text/html")
        assert name in page.text
        assert "What to do" in page.text
        told = (await client.get(f"/problems/{name}")).json()
        assert told["remedy"] == REMEDIES[name]


async def test_what_the_protocol_refuses_has_a_page_that_says_the_same(client):
    told = [refusal for refusal in vars(refusals).values() if isinstance(refusal, refusals.Refusal)]
    assert len(told) > 6
    for refusal in told:
        said = orjson.loads(refusal.raw("/v1/pools").partition(b"\r\n\r\n")[2])
        page = (await client.get(said["type"])).json()
        assert page["status"] == said["status"], refusal.name
        assert page["name"] in {"overloaded", "stopping"} or page["title"] == said["title"]


async def test_the_type_of_a_problem_leads_to_its_page(client):
    problem = (await client.get("/v1/pools/none")).json()
    assert (await client.get(problem["type"])).json()["status"] == problem["status"]


async def test_an_unknown_problem_is_one_itself(client):
    reply = await client.get("/problems/nonsense")
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/not-found")


async def test_a_problem_bears_the_id_of_its_request(client):
    reply = await client.get("/v1/pools/none", headers={"X-Request-Id": "mine-1"})
    assert reply.json()["request_id"] == reply.headers["x-request-id"] == "mine-1"


def test_a_name_is_given_to_one_kind_of_problem():
    named = [error.name for error in every(DomainError) if "name" in vars(error)]
    assert len(named) == len(set(named)), sorted(named)


def every(error):
    for each in error.__subclasses__():
        yield each
        yield from every(each)
