"""What the examples of the OpenAPI page stand on, put into a service on which the demo has run."""

from pathlib import Path

import httpx

from app.api import examples
from app.platform.connections import connect_sync
from app.platform.postgres.server import LocalPostgres
from app.platform.settings import Settings

IDS = {
    "import": ("dry_run", examples.IMPORT),
    "import_schedule": ("true", examples.SCHEDULE),
    "bulk_change": ("true", examples.BULK_CHANGE),
    "webhook": ("true", examples.WEBHOOK),
    "hold": ("true", examples.HOLD),
    "api_key": ("name = 'example'", examples.API_KEY),
}
"""By table: which row gets the id that the examples name."""


def furnish(client: httpx.Client, home: Path) -> None:
    """Make what the examples name, through the service, and give it the ids by which they name it."""
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
    for method, path, body in (
        ("PUT", f"/v1/pools/{examples.POOL}/alerts", examples.ALERTS),
        ("PUT", "/v1/aggregates/last_spring_code", examples.AGGREGATE),
        ("PATCH", f"/v1/customers/{examples.CUSTOMER}", {"properties": {"first_name": "Ada"}}),
        ("PATCH", f"/v1/customers/{examples.CUSTOMER_TO_ERASE}", {"properties": {"first_name": "Nobody"}}),
    ):
        client.request(method, path, json=body).raise_for_status()
    with (
        LocalPostgres(home) as postgres,
        connect_sync(Settings(DATABASE_URL=postgres.url)) as connection,
    ):
        for table, (which, id_) in IDS.items():
            connection.execute(f'UPDATE "{table}" SET id = %s WHERE {which}', [id_])  # noqa: S608  (constants)


def _post(client: httpx.Client, path: str, body: object, headers: dict[str, str] | None = None) -> None:
    client.post(path, json=body, headers=headers).raise_for_status()
