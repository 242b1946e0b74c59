"""Query parameters that are not known are refused on every route, with the nearest name."""

import pytest
from fastapi.routing import APIRoute

from app.server.application import ROUTERS

ROUTES = [
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_refuses_what_it_does_not_know(client, method, path):
    for name in ("pool", "name", "code:path", "customer_id", "customer_id:path", "name:path"):
        path = path.replace(f"{{{name}}}", "x")
    while "{" in path:
        path = path[: path.index("{")] + "00000000-0000-4000-8000-000000000000" + path[path.index("}") + 1 :]
    reply = await client.request(method, path, params={"nonsense": "1"})
    if path.startswith("/track/"):  # as Exponea's clients read it
        assert (reply.status_code, reply.json()["success"]) == (400, False)
        assert reply.json()["errors"][0].startswith("query.nonsense: ")
        return
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request"), reply.text
    assert ["query", "nonsense"] in [error["loc"] for error in reply.json()["errors"]]


async def test_the_nearest_name_is_told(client):
    reply = await client.get("/v1/pools", params={"limt": 5})
    (error,) = reply.json()["errors"]
    assert "did you mean 'limit'?" in error["msg"]


async def test_a_dry_run_that_is_asked_for_in_the_query_imports_nothing(client):
    file = {"file": ("c.csv", "code\nA-1\n")}
    reply = await client.post("/v1/pools/p/imports?dry_run=true", files=file)
    assert reply.status_code == 422
    assert (await client.get("/v1/pools")).json()["items"] == []
