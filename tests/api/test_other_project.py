"""Every operation, asked with the key of one project for the things of another: nothing of these is there."""

import json
from urllib.parse import quote

import pytest
from sqlalchemy import text

from app.api.examples import EXAMPLES
from app.platform import connections, projects
from app.platform.connections import SERVICE
from app.platform.database import transaction
from tests.shops import furnish, shops

TEXT = {"type": "text", "text": "code\nown-1\n"}
BODIES = {
    "createPool": {"name": "own_pool", "like": "{pool}"},
    "moveVouchers": {"to": "{pool}", "count": 1},
    "previewImport": {"source": {"type": "analysis", "of": "customers", "property": "email"}},
    "createImport": {"source": TEXT, "has_header": True},
    "createImportSchedule": {
        "pool": "{pool}",
        "source": {"type": "url", "url": "https://example.org/own.csv"},
        "cron": "0 6 * * *",
    },
    "trackEvents": {
        "events": [{"customer_id": "own", "event_type": "purchase", "properties": {"code": "{code}"}}]
    },
    "createBulkChange": {"action": "void", "filter": {"pool": "{pool}"}},
    "assignVoucher": {
        "customer_id": "{customer_id}",
        "message_id": "{message_id}",
        "campaign_id": "{campaign_id}",
    },
    "assignVouchers": {"items": [{"customer_id": "{customer_id}", "message_id": "{message_id}"}]},
    "mergeCustomers": {"from": "{customer_id}"},
    "renderMessage": {
        "template": "{{{{ customer.email }}}} {{{{ vouchers['{pool}'].assign_available() }}}}",
        "channel": "email",
        "mode": "send",
        "customer_id": "{customer_id}",
        "message_id": "{message_id}",
    },
    "setCustomerProperties": {"template": '{{"seen": "{{{{ customer.email }}}}"}}', "mode": "send"},
    "createWebhook": {"url": "https://example.org/own", "events": ["voucher.assigned"], "pools": ["{pool}"]},
    "putRedemptionMapping": {"mappings": [{"event_type": "purchase", "property": "code"}]},
}
"""What is asked for the other project's things by; else the example of the document."""
FILES = {"importCustomers": {"file": ("c.csv", "customer_id,n\nown,1\n")}}
OWN = {
    *("createPool", "listApiKeys", "listAuditEntries", "createApiKey", "getRedemptionMapping"),
    *("putRedemptionMapping", "replayRedemptionMapping", "importCustomers", "trackEvents", "previewImport"),
    *("updateCustomer", "eraseCustomer", "mergeCustomers", "putAggregate", "createWebhook", "createImport"),
    *("createImportSchedule", "createBulkChange", "setCustomerProperties", "addCustomerEvent"),
    *("renderMessages", "checkLiveness", "checkReadiness", "getMetrics", "explainProblem"),
}
"""Operations that answer of the caller's own project, whatever of the other's is named to them."""
MAKES = {
    "createImport",
    "updateCustomer",
    "putAggregate",
    "setCustomerProperties",
    "addCustomerEvent",
    "trackEvents",
}
MAKES |= {"createImportSchedule", "mergeCustomers", "importCustomers"}
"""Those that make what is named: they come last."""


def operations(document):
    """Every operation, those that make things last."""
    found = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return sorted(found, key=lambda each: each[2]["operationId"] in MAKES)


def named(value, ids):
    """A body with the other project's names in it."""
    if isinstance(value, str):
        return value.format(**ids) if "{" in value else value
    if isinstance(value, list):
        return [named(each, ids) for each in value]
    return {key: named(each, ids) for key, each in value.items()} if isinstance(value, dict) else value


def asked(method, path, operation, ids):
    """How the operation is asked for the other's things: address, and more."""
    name = operation["operationId"]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(ids[parameter["name"]], safe=""))
    query = {"confirm": ids["project"]} if name == "deleteProject" else {}
    if name in FILES:
        return path, {"files": FILES[name]}
    if name in BODIES:
        return path, {"json": named(BODIES[name], ids), "params": query}
    example = EXAMPLES[name].body if name in EXAMPLES else None
    text = json.dumps(example).replace("spring_sale", ids["pool"]).replace('"c-', f'"{ids["customer_id"]}-')
    return path, {"json": json.loads(text), "params": query}


def filters(operation, ids):
    """The filters of a list, set to what the other project has."""
    names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    return {name: ids[name] for name in names if name in ids}


def secrets(ids):
    """What the other project alone knows."""
    return {"zzz", *(ids[name] for name in ids if name.endswith("_id") and name[-4:] != "r_id")} | {
        ids["leased"]
    }


def is_refusal(reply):
    """Whether a reply says that there is nothing: not found, not allowed, an empty list or an empty file."""
    if reply.status_code != 200:
        return reply.status_code in {403, 404}
    if reply.headers["content-type"] == "application/json":
        return reply.json().get("items") == []
    return reply.headers["content-type"].startswith("text/csv") and reply.text.count("\n") == 1


@pytest.fixture(autouse=True, params=(True, False), ids=("behind the policy", "by the statements alone"))
def is_behind_policy(request, monkeypatch):
    """Whether row-level security keeps the service to a project; else it works as the owner, who sees all."""
    if not request.param:
        monkeypatch.setattr(connections, "_AS_SERVICE", connections._AS_OWNER)
        monkeypatch.setattr(projects, "SERVICE", "none")
        monkeypatch.setattr(projects, "SET", projects.SET.replace(SERVICE, "none"))
    return request.param


async def test_no_operation_shows_or_touches_anything_of_another_project(app, engine, is_behind_policy):
    async with shops(app, engine, "own", "zzz-shop") as (own, other):
        ids = await furnish(other, "zzz")
        async with transaction(own.engine) as connection:
            sees_other = (await connection.execute(text("SELECT EXISTS (SELECT FROM pool)"))).scalar_one()
        assert sees_other is not is_behind_policy
        before = await everything(other.client)
        document = (await own.client.get("/openapi.json")).json()
        wrong = []
        for method, path, operation in operations(document):
            name = operation["operationId"]
            place, sent = asked(method, path, operation, ids)
            replies = [await own.client.request(method, place, **sent)]
            if method == "get":
                replies.append(await own.client.get(place, params=filters(operation, ids)))
            for reply in replies:
                said = reply.text
                request = f"{reply.request.url} {json.dumps(sent.get('json'))}"
                for token in sorted(
                    (ids[each] for each in ids if ids[each] in request), key=len, reverse=True
                ):
                    said = said.replace(token, "")  # what was asked for may be said again
                leak = [secret for secret in secrets(ids) if secret in said]
                if leak or reply.status_code >= 500 or not (name in OWN or is_refusal(reply)):
                    wrong.append((name, reply.status_code, leak, reply.text[:200]))
        assert wrong == []
        assert await everything(other.client) == before


async def everything(client):
    """What a project sees of itself, page by page."""
    paths = (
        *("pools", "pools/zzz_pool/vouchers", "pools/zzz_pool/holds", "pools/zzz_pool/alerts", "imports"),
        *(
            "import-schedules",
            "redemption-mapping",
            "redemptions?outcome=redeemed",
            "assignments",
            "customers",
            "aggregates",
        ),
        *("customers/zzz_customer/events", "bulk-changes", "webhooks", "audit"),
    )
    seen = {path: (await client.get(f"/v1/{path}")).text for path in paths}
    keys = (await client.get("/v1/api-keys")).json()["items"]
    return seen | {"keys": [{**key, "last_used_at": None} for key in keys]}
