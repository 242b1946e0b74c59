"""Shops: projects beside `default`, each with a client of its own, and with one of each thing in it."""

from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.projects import service
from app.platform.database import transaction
from app.platform.projects import of_project
from app.server.application import with_hot_path
from tests.factories import add_key, fill


@dataclass
class Shop:
    """A project, with clients and the engine that are of it."""

    id: int
    name: str
    secret: str
    client: httpx.AsyncClient
    engine: AsyncEngine


def client_of(app, secret):
    """Talks HTTP to the application with this key."""
    transport = httpx.ASGITransport(with_hot_path(app), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


@asynccontextmanager
async def shops(app, engine, *names):
    """Projects of these names, each with a key that may do everything in it."""
    opened = []
    for name in names:
        async with transaction(engine) as connection:
            project = await service.create(connection, None, name)
        secret = f"key-of-{name}-0123456789-0123456789-0123456789"
        await add_key(engine, secret, "admin", project_id=project.id)
        own = of_project(engine, project.id)
        opened.append(Shop(project.id, name, secret, client_of(app, secret), own))
    try:
        yield opened
    finally:
        for shop in opened:
            await shop.client.aclose()


async def furnish(shop, mark):
    """One of each thing, made through the API; what names it, by the name of its parameter."""

    async def made(method, path, body, **headers):
        reply = await shop.client.request(method, path, json=body, headers=headers)
        assert reply.is_success, (method, path, reply.text)
        return reply.json()

    pool, customer = f"{mark}_pool", f"{mark}_customer"
    codes = await fill(shop.engine, pool, [f"{mark}-{n}" for n in range(20)])
    await fill(shop.engine, f"{mark}_pools", 1)
    path = f"/v1/pools/{pool}"
    mapping = {"event_type": "purchase", "property": "code"}
    url = f"https://example.org/{mark}"
    source = {"type": "url", "url": f"{url}.csv"}
    campaign, message = f"{mark}_campaign", f"{mark}_message"
    await made("PATCH", path, {"description": f"{mark} description"})
    await made("PUT", "/v1/redemption-mapping", {"mappings": [mapping]})
    text = {"type": "text", "text": f"code\n{mark}-imported\n"}
    imported = await made("POST", f"{path}/imports", {"source": text, "has_header": True})
    schedule = await made(
        "POST", "/v1/import-schedules", {"pool": pool, "source": source, "cron": "0 6 * * *"}
    )
    await made("PUT", f"{path}/alerts", {"thresholds": [3], "webhook_url": f"{url}/alert"})
    webhook = await made("POST", "/v1/webhooks", {"url": f"{url}/hook", "events": ["voucher.assigned"]})
    hold = await made("POST", f"{path}/holds", {"campaign_id": campaign, "count": 2})
    about = {"customer_id": customer, "campaign_id": campaign, "message_id": message}
    same = {"Idempotency-Key": f"{mark}_same"}
    given = await made("POST", f"{path}/assignments", about)
    keyed = await made("POST", f"{path}/assignments", {"customer_id": customer}, **same)
    leased = await made("POST", f"{path}/assignments", {"customer_id": customer, "lease_seconds": 3600})
    used = await made("POST", f"{path}/assignments", {"customer_id": customer})
    await made("PATCH", f"/v1/customers/{customer}", {"properties": {"email": f"{mark}@example.org"}})
    event = {"event_id": f"{mark}_event", "customer_id": customer, "event_type": "purchase"}
    event["properties"] = {"code": used["code"]}
    tracked = await made("POST", "/v1/events", {"events": [event]})
    assert tracked["items"][0]["redemption"] == "redeemed"
    await made(
        "POST",
        f"/track/v2/projects/{shop.name}/customers",
        {"customer_ids": {"registered": customer, "cookie": f"{mark}_cookie"}, "properties": {}},
    )
    await made("PUT", f"/v1/aggregates/{mark}_last", mapping | {"function": "last"})
    change = await made("POST", "/v1/bulk-changes", {"action": "void", "filter": {"pool": pool}})
    key = await made("POST", "/v1/api-keys", {"name": f"{mark} key", "scopes": ["read"]})
    render = {"template": f"{{{{ vouchers['{pool}'].assign_available() }}}}", "channel": "email"}
    await made("POST", "/v1/render", render | {"mode": "send", "customer_id": customer})
    return {
        "pool": pool,
        "code": given["code"],
        "customer_id": customer,
        "campaign_id": campaign,
        "message_id": message,
        "assignment_id": given["id"],
        "leased": leased["id"],
        "keyed": keyed["id"],
        "import_id": imported["id"],
        "schedule_id": schedule["id"],
        "webhook_id": webhook["id"],
        "hold_id": hold["id"],
        "change_id": change["id"],
        "key_id": key["id"],
        "name": f"{mark}_last",
        "project": shop.name,
        "code_prefix": codes[0][:6],
    }
