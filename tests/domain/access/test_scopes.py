"""Each cell of the table in docs/security.md: which scope reaches which kind of data."""

import pytest

from tests.factories import add_key, fill

SCOPES = ("admin", "pools", "assign", "events", "read", "operator")
ANALYSIS = {"source": {"type": "analysis", "of": "customers", "property": "email"}}
SCHEDULE = {"pool": "p", "cron": "0 3 * * *"} | ANALYSIS
FILE = {"source": {"type": "text", "text": "code\nA-1\nA-2\n"}}
RENDER = {"template": "{{ customer.email }}", "channel": "sms", "customer_id": "c"}
CELLS = [
    ("pools and counts", "GET", "/v1/pools/p", None, "admin pools read"),
    ("pools and counts", "GET", "/v1/pools/p/counts", None, "admin pools assign read"),
    ("changes of pools", "PATCH", "/v1/pools/p", {"description": "x"}, "admin pools"),
    ("codes, listed", "GET", "/v1/pools/p/vouchers", None, "admin pools read"),
    ("codes, exported", "GET", "/v1/pools/p/export", None, "admin pools"),
    ("a code, drawn", "POST", "/v1/pools/p/assignments", {}, "admin assign"),
    ("the ledger", "GET", "/v1/assignments", None, "admin pools assign read"),
    ("the ledger, exported", "GET", "/v1/assignments/export", None, "admin pools"),
    ("customers", "GET", "/v1/customers/c", None, "admin events"),
    ("customers through a preview", "POST", "/v1/imports/preview", ANALYSIS, "admin"),
    ("customers through an import", "POST", "/v1/pools/q/imports", ANALYSIS, "admin"),
    ("customers through a schedule", "POST", "/v1/import-schedules", SCHEDULE, "admin"),
    ("a customer in a message", "POST", "/v1/render", RENDER, "admin assign"),
    ("files", "POST", "/v1/imports/preview", FILE, "admin pools"),
    ("imports", "GET", "/v1/imports", None, "admin pools read"),
    ("events", "POST", "/v1/events", {"events": []}, "admin events"),
    ("uses of codes", "GET", "/v1/redemptions", None, "admin pools events read"),
    ("alerts", "GET", "/v1/pools/p/alerts", None, "admin pools"),
    ("alerts", "GET", "/v1/webhooks", None, "admin pools"),
    ("the audit", "GET", "/v1/audit", None, "admin"),
    ("API keys", "GET", "/v1/api-keys", None, "admin"),
    ("figures of the service", "GET", "/metrics", None, "admin pools read operator"),
]


def key_of(scope):
    return f"{scope}-key-0123456789-0123456789-0123456789"


@pytest.fixture(autouse=True)
async def keys(client, engine):
    for scope in SCOPES:
        await add_key(engine, key_of(scope), scope)
    await add_key(engine, key_of("pools-events"), "pools", "events")
    await fill(engine, "p", 30)
    await client.patch("/v1/customers/c", json={"properties": {"email": "c@example.org"}})


@pytest.mark.parametrize(
    ("kind", "method", "path", "body", "allowed"), CELLS, ids=lambda value: str(value)[:40]
)
async def test_a_scope_reaches_what_the_table_says(client, kind, method, path, body, allowed):
    for scope in SCOPES:
        headers = {"Authorization": f"Bearer {key_of(scope)}"}
        reply = await client.request(method, path, json=body, headers=headers)
        assert (reply.status_code != 403) == (scope in allowed.split()), (kind, scope, reply.text)
        assert reply.status_code < 500
        if reply.status_code == 403:
            assert "example.org" not in reply.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/imports/preview", ANALYSIS),
        ("/v1/pools/q/imports", ANALYSIS),
        ("/v1/import-schedules", SCHEDULE),
    ],
)
async def test_customers_are_a_source_for_who_may_read_both(client, path, body):
    headers = {"Authorization": f"Bearer {key_of('pools-events')}"}
    assert (await client.post(path, json=body, headers=headers)).status_code < 300


async def test_a_schedule_is_not_turned_into_one_that_reads_customers(client):
    url = {"source": {"type": "url", "url": "https://files.test/a.csv"}, "pool": "p", "cron": "0 3 * * *"}
    headers = {"Authorization": f"Bearer {key_of('pools')}"}
    made = await client.post("/v1/import-schedules", json=url, headers=headers)
    assert made.status_code == 201, made.text
    reply = await client.patch(f"/v1/import-schedules/{made.json()['id']}", json=ANALYSIS, headers=headers)
    assert reply.status_code == 403
