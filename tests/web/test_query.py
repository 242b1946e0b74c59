"""Query parameters that are not known are refused on every route, with the nearest name."""

import unicodedata

from fastapi.routing import APIRoute

from app.server.application import ROUTERS
from tests.factories import add_key

ROUTES = [
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods
]


def _addressed(path):
    for name in ("pool", "name", "code:code", "customer_id", "customer_id:id", "name:id"):
        path = path.replace(f"{{{name}}}", "x")
    while "{" in path:
        path = path[: path.index("{")] + "00000000-0000-4000-8000-000000000000" + path[path.index("}") + 1 :]
    return path


async def test_every_route_refuses_what_it_does_not_know(client, engine):
    assert len(ROUTES) > 80
    await add_key(engine, "k" * 40, "admin", "operator")
    client.headers["Authorization"] = f"Bearer {'k' * 40}"
    for method, path in ROUTES:
        reply = await client.request(method, _addressed(path), params={"nonsense": "1"})
        said = f"{method} {path}: {reply.text}"
        if path.startswith("/track/"):  # as Exponea's clients read it
            assert (reply.status_code, reply.json()["success"]) == (400, False), said
            assert reply.json()["errors"][0].startswith("query.nonsense: "), said
        else:
            assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request"), said
            assert ["query", "nonsense"] in [error["loc"] for error in reply.json()["errors"]], said


async def test_the_nearest_name_is_told(client):
    reply = await client.get("/v1/pools", params={"limt": 5})
    (error,) = reply.json()["errors"]
    assert "did you mean 'limit'?" in error["msg"]


async def test_a_parameter_that_is_given_twice_is_refused(client):
    for path, name in (
        ("/v1/assignments?test=true&limit=5&test=false", "test"),
        ("/v1/pools?limit=1&limit=1", "limit"),
    ):
        reply = await client.get(path)
        assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (422, ["query", name])
    for second, status in (("k", 404), ("other", 422)):
        keys = [("Idempotency-Key", "k"), ("Idempotency-Key", second)]
        assert (await client.post("/v1/pools/p/assignments", json={}, headers=keys)).status_code == status


async def test_a_time_in_a_query_is_written_out(client):
    for value, said in (
        ("2026-11-26T10:00:00 01:00", "%2B"),
        ("1700000000", "RFC 3339"),
        ("0.5", "RFC 3339"),
        ("2026-11-26", "timezone"),
    ):
        reply = await client.get("/v1/assignments", params={"until": value})
        assert (reply.status_code, said in reply.json()["detail"]) == (422, True), reply.text
    assert (await client.get("/v1/assignments?since=2026-11-26T10:00:00%2B01:00")).status_code == 200


async def test_a_pool_is_found_in_either_form_of_its_name(client):
    name, decomposed = (unicodedata.normalize(form, "prémium") for form in ("NFC", "NFD"))
    source = {"type": "text", "text": "code\nA-1\n"}
    await client.post(f"/v1/pools/{name}/imports", json={"source": source})
    for path in ("/v1/assignments", "/v1/imports", "/v1/audit"):
        there, same = [await client.get(path, params={"pool": each}) for each in (name, decomposed)]
        assert (same.status_code, len(same.json()["items"])) == (200, len(there.json()["items"])), path
    assert (await client.get("/v1/imports", params={"pool": "\0"})).json()["errors"]
    message = {"template": f"{{{{ vouchers['{decomposed}'].count_total() }}}}", "channel": "sms"}
    assert (await client.post("/v1/render", json=message)).status_code == 200
    assert "'a/b'" in (await client.get("/v1/pools/a%2Fb")).json()["detail"]


UNKNOWN = [
    ("pools", {"name": "p", "desciption": "x"}, ["desciption"], "did you mean 'description'?"),
    ("bulk-changes", {"action": "void", "filter": {"stat": "void"}}, ["filter", "stat"], "'status'"),
    ("pools/p/assignments", {"customer": "c"}, ["customer"], "'customer_id'"),
    (
        "pools/p/assignments/batch",
        {"items": [{"customerid": "c"}]},
        ["items", 0, "customerid"],
        "'customer_id'",
    ),
    ("pools/p/imports", {"source": {"type": "url", "uri": "x"}}, ["source", "url", "uri"], "'url'"),
    ("customers/c/merge", {"frm": "x"}, ["frm"], "'from'"),
    ("webhooks", {"zzz": 1}, ["zzz"], "there are events, pools, url"),
    ("render", {"template": "x", "chanel": "sms"}, ["chanel"], "'channel'"),
]


async def test_a_field_that_is_not_known_is_told_with_the_nearest(client):
    for path, body, place, said in UNKNOWN:
        reply = await client.post(f"/v1/{path}", json=body)
        errors = {tuple(error["loc"]): error["msg"] for error in reply.json()["errors"]}
        assert said in errors["body", *place], path


async def test_a_dry_run_that_is_asked_for_in_the_query_imports_nothing(client):
    file = {"file": ("c.csv", "code\nA-1\n")}
    reply = await client.post("/v1/pools/p/imports?dry_run=true", files=file)
    assert reply.status_code == 422
    assert (await client.get("/v1/pools")).json()["items"] == []
