"""What the examples of the OpenAPI page stand on, put into a service on which the demo has run."""

import asyncio
from pathlib import Path

import httpx

from app.api import examples
from app.domain.access.keys import service as auth
from app.domain.access.scopes import Scope
from app.platform.connections import connect_sync
from app.platform.database import transaction
from app.platform.databases import settings_of
from app.platform.engines import create_long_engine
from app.platform.postgres.server import LocalPostgres
from app.platform.projects import DEFAULT, of_project
from app.platform.settings import Settings

IDS = {
    "import": ("dry_run", examples.IMPORT),
    "import_schedule": ("true", examples.SCHEDULE),
    "bulk_change": ("true", examples.BULK_CHANGE),
    "webhook": ("true", examples.WEBHOOK),
    "hold": ("true", examples.HOLD),
}
"""By table: which row gets the id that the examples name."""
KEYS = {"example": examples.API_KEY, "example of a shop": examples.PROJECT_KEY}
"""By the name of a key: its id."""


def furnish(client: httpx.Client, home: Path) -> str:
    """Make what the examples name, through the service, and give it the ids by which they name it.

    Return a key that may do all that they do, which the client goes on with.
    """
    with LocalPostgres(home) as postgres:
        key = asyncio.run(_key_for_all(settings_of(Settings(), postgres.url)))
    client.headers["Authorization"] = f"Bearer {key}"
    codes = "code\n" + "\n".join(examples.SMALL_POOL_CODES)
    text = {"source": {"type": "text", "text": codes}}
    wait = {"Prefer": "wait=30"}
    _post(client, f"/v1/pools/{examples.SMALL_POOL}/imports", text, wait)
    # Other codes: what an import has ignored refers to its id, which is changed below.
    tried = {"source": {"type": "text", "text": "code\nSUMMER-5\nSUMMER-6"}, "dry_run": True}
    _post(client, f"/v1/pools/{examples.SMALL_POOL}/imports", tried, wait)
    _post(client, "/v1/pools", {"name": examples.EMPTY_POOL})
    _post(client, f"/v1/pools/{examples.POOL}/holds", {"campaign_id": "april", "count": 10})
    _post(client, "/v1/import-schedules", examples.REPEATED)
    change = {"action": "void", "filter": {"pool": examples.SMALL_POOL}, "dry_run": True}
    _post(client, "/v1/bulk-changes", change)
    _post(client, "/v1/webhooks", examples.EXAMPLES["createWebhook"].body)
    _post(client, "/v1/api-keys", {"name": "example", "scopes": ["read"]})
    for project in (examples.PROJECT, examples.PROJECT_TO_RENAME, examples.PROJECT_TO_DELETE):
        _post(client, "/v1/projects", {"name": project})
    shop = f"/v1/projects/{examples.PROJECT}/api-keys"
    _post(client, shop, {"name": "example of a shop", "scopes": ["read"]})
    for method, path, body in (
        ("PUT", f"/v1/pools/{examples.POOL}/alerts", examples.ALERTS),
        ("PUT", "/v1/aggregates/last_spring_code", examples.AGGREGATE),
        ("PATCH", f"/v1/customers/{examples.CUSTOMER}", {"properties": {"first_name": "Ada"}}),
        ("PATCH", f"/v1/customers/{examples.CUSTOMER_TO_ERASE}", {"properties": {"first_name": "Nobody"}}),
    ):
        client.request(method, path, json=body).raise_for_status()
    with (
        LocalPostgres(home) as postgres,
        connect_sync(settings_of(Settings(), postgres.url)) as connection,
    ):
        for table, (which, id_) in IDS.items():
            connection.execute(f'UPDATE "{table}" SET id = %s WHERE {which}', [id_])  # noqa: S608  (constants)
        for name, id_ in KEYS.items():
            connection.execute("UPDATE api_key SET id = %s WHERE name = %s", [id_, name])
    return key


async def _key_for_all(settings: Settings) -> str:
    engine = of_project(create_long_engine(settings), DEFAULT)
    try:
        async with transaction(engine) as connection:
            scopes = [Scope.ADMIN, Scope.OPERATOR]
            return (await auth.issue(connection, None, DEFAULT, "demo", scopes))[1]
    finally:
        await engine.dispose()


def _post(client: httpx.Client, path: str, body: object, headers: dict[str, str] | None = None) -> None:
    client.post(path, json=body, headers=headers).raise_for_status()
