"""Keys by API: made, listed, rotated with grace, limited, and gone."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import text

from app.domain.access.keys import service as auth
from app.platform.database import transaction
from app.server.application import with_hot_path
from tests.factories import add_key


async def create(client, **body):
    reply = await client.post("/v1/api-keys", json={"name": "shop", "scopes": ["read"], **body})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def status(client, secret, path="/v1/pools"):
    return (await client.get(path, headers={"Authorization": f"Bearer {secret}"})).status_code


async def put_back(engine, column, seconds):
    """Let a moment of each key that has it be so long ago, as if that time had passed."""
    async with transaction(engine) as connection:
        moved = f"UPDATE api_key SET {column} = now() - make_interval(secs => {seconds}) WHERE {column} IS NOT NULL"
        await connection.execute(text(moved))


async def test_a_key_is_made_and_its_secret_is_shown_once(client):
    key = await create(client)
    assert await status(client, key["secret"]) == 200
    assert await status(client, key["secret"], "/v1/audit") == 403
    listed = await client.get("/v1/api-keys")
    assert key["secret"] not in listed.text
    assert [item["name"] for item in listed.json()["items"]] == ["test", "shop"]
    assert listed.headers["cache-control"] == "no-store"


async def test_the_list_has_pages(client):
    for n in range(3):
        await create(client, name=f"key {n}")
    names, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/api-keys", params=query)).json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["test", "key 0", "key 1", "key 2"]


async def test_the_last_use_is_noted_at_most_each_minute(client, engine):
    key = await create(client)
    seen = []
    for _ in range(2):
        await status(client, key["secret"])
        items = (await client.get("/v1/api-keys")).json()["items"]
        seen.append(next(item["last_used_at"] for item in items if item["id"] == key["id"]))
    assert seen[0] is not None
    assert seen[0] == seen[1]
    await put_back(engine, "last_used_at", 120)
    await status(client, key["secret"])
    items = (await client.get("/v1/api-keys")).json()["items"]
    assert next(item["last_used_at"] for item in items if item["id"] == key["id"]) >= seen[0]


async def test_a_rotated_key_has_two_secrets_for_a_while_and_one_id(client, engine):
    key = await create(client)
    first, path = key["secret"], f"/v1/api-keys/{key['id']}/rotate"
    rotated = (await client.post(path, json={"grace_seconds": 60})).json()
    assert rotated["id"] == key["id"]
    assert [await status(client, secret) for secret in (first, rotated["secret"])] == [200, 200]
    await put_back(engine, "previous_until", 0.001)
    assert [await status(client, secret) for secret in (first, rotated["secret"])] == [401, 200]
    at_once = (await client.post(path, json={"grace_seconds": 0})).json()
    assert [await status(client, secret) for secret in (rotated["secret"], at_once["secret"])] == [401, 200]
    second, third = [(await client.post(path)).json() for _ in range(2)]
    secrets = (at_once["secret"], second["secret"], third["secret"])
    assert [await status(client, secret) for secret in secrets] == [401, 200, 200]


async def test_the_bootstrap_key_stays_rotated_or_revoked_whatever_the_setting_still_says(client, engine):
    async def start(*given):
        for secret in given:
            async with transaction(engine) as connection:
                assert await auth.bootstrap(connection, secret) is None

    first = "bootstrap-key-0123456789-0123456789-0123456789"
    await start(first, first)
    key = (await client.get("/v1/api-keys")).json()["items"][-1]
    assert (key["name"], key["scopes"]) == ("bootstrap", ["admin"])
    path = f"/v1/api-keys/{key['id']}"
    second = (await client.post(f"{path}/rotate", json={"grace_seconds": 0})).json()["secret"]
    third = (await client.post(f"{path}/rotate", json={"grace_seconds": 60})).json()["secret"]
    secrets = (first, second, third)
    await start(*secrets)
    assert [await status(client, secret) for secret in secrets] == [401, 200, 200]
    listed = (await client.get("/v1/api-keys")).json()["items"]
    assert [each["name"] for each in listed] == ["test", "bootstrap"]
    assert (await client.delete(path)).status_code == 204
    await start(*secrets)
    assert [await status(client, secret) for secret in secrets] == [401, 401, 401]


async def test_a_key_ends_when_it_expires(client, engine):
    soon = datetime.now(UTC) + timedelta(minutes=1)
    key = await create(client, expires_at=soon.isoformat())
    assert await status(client, key["secret"]) == 200
    await put_back(engine, "expires_at", 0.001)
    assert await status(client, key["secret"]) == 401
    assert (await client.post(f"/v1/api-keys/{key['id']}/rotate")).status_code == 404


async def test_a_revoked_key_is_refused_and_stays_in_the_list(client):
    key = await create(client)
    assert (await client.delete(f"/v1/api-keys/{key['id']}")).status_code == 204
    assert (await client.delete(f"/v1/api-keys/{key['id']}")).status_code == 404
    assert await status(client, key["secret"]) == 401
    assert (await client.get("/v1/api-keys")).json()["items"][-1]["revoked_at"] is not None


async def test_an_expired_key_is_revoked_only_as_it_was_seen(client, engine):
    key = await create(client, expires_at="2099-01-01T00:00:00Z")
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE api_key SET expires_at = '2026-01-01Z' WHERE name = 'shop'"))
    path = f"/v1/api-keys/{key['id']}"
    assert (await client.delete(path, headers={"If-Match": '"another"'})).status_code == 412
    seen = await client.get(path)
    assert seen.json()["revoked_at"] is None
    assert (await client.delete(path, headers={"If-Match": seen.headers["etag"]})).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["read"]},
        {"name": "a\u202eb", "scopes": ["read"]},
        {"name": "a\u200bb", "scopes": ["read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "x", "scopes": ["read"], "requests_per_minute": 0},
        {"name": "x", "scopes": ["read"], "secret": "mine"},
    ],
)
async def test_a_key_that_cannot_be_is_refused(client, body):
    assert (await client.post("/v1/api-keys", json=body)).status_code == 422


async def test_an_admin_makes_no_operator_and_touches_none(client, engine):
    assert (await client.post("/v1/api-keys", json={"name": "x", "scopes": ["operator"]})).status_code == 403
    await add_key(engine, "operator-key-0123456789-0123456789-012345", "operator")
    operator = (await client.get("/v1/api-keys")).json()["items"][-1]
    assert (await client.delete(f"/v1/api-keys/{operator['id']}")).status_code == 403
    assert (await client.post(f"/v1/api-keys/{operator['id']}/rotate")).status_code == 403
    assert (
        await status(client, "operator-key-0123456789-0123456789-012345") == 403
    )  # it stands, and sees no pool


async def test_a_key_sends_so_many_requests_a_minute(client):
    key = await create(client, requests_per_minute=3)
    assert [await status(client, key["secret"]) for _ in range(4)] == [200, 200, 200, 429]
    reply = await client.get("/v1/pools", headers={"Authorization": f"Bearer {key['secret']}"})
    assert 0 < int(reply.headers["retry-after"]) <= 61
    assert reply.json()["type"] == "/problems/too-many-requests"


def from_address(app, address):
    transport = httpx.ASGITransport(with_hot_path(app), client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_who_guesses_keys_is_stopped_and_nobody_else(client, app):
    key = await create(client)
    async with from_address(app, "192.0.2.7") as guesser, from_address(app, "192.0.2.8") as other:
        tries = [await status(guesser, f"guess-{n}") for n in range(22)]
        assert tries == [401] * 20 + [429] * 2
        path, wrong = "/v1/pools/p/assignments", {"Authorization": "Bearer guess"}
        assert (await guesser.post(path, json={}, headers=wrong)).status_code == 429
        assert await status(other, key["secret"]) == 200


async def test_a_key_in_use_is_not_refused_for_bad_ones_from_its_address(client, app):
    key, new = [await create(client, scopes=["read", "assign"]) for _ in range(2)]
    path, headers = "/v1/pools/p/assignments", {"Authorization": f"Bearer {key['secret']}"}
    async with from_address(app, "192.0.2.9") as both:
        assert await status(both, key["secret"]) == 200
        assert [await status(both, f"guess-{n}") for n in range(21)] == [401] * 20 + [429]
        # Its time in the memory of this process is over: it is looked up again, by either way in.
        assert await status(both, key["secret"]) == 200
        assert (await both.post(path, json={}, headers=headers)).json()["type"] == "/problems/pool-not-found"
        # Nor does it lose that when it is rotated, or by what others use meanwhile.
        rotated = await client.post(f"/v1/api-keys/{key['id']}/rotate")
        assert rotated.status_code == 200
        assert await status(both, key["secret"]) == 200
        assert await status(both, new["secret"]) == 429  # nobody here knows it yet
        await client.delete(f"/v1/api-keys/{key['id']}")
        assert [await status(both, key["secret"]) for _ in range(2)] == [401, 429]
