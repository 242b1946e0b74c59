"""Requests that work when they are sent as they stand, on the data of `vouchers demo --keep`.

The OpenAPI page fills them in. What they name by id is given that id by the demo (`app/cli/demo_data.py`).
"""

import uuid

from app.api.import_examples import IGNORED, REJECTS
from app.domain.assignments import identity
from app.web.examples import Example

POOL, SMALL_POOL, EMPTY_POOL = "spring_sale", "summer_sale", "old_sale"
SMALL_POOL_CODES = ("SUMMER-1", "SUMMER-2", "SUMMER-3", "SUMMER-4")
CUSTOMER, CUSTOMER_TO_ERASE = "c-1", "c-9"
IMPORT = uuid.UUID("00000000-0000-4000-8000-000000000001")
SCHEDULE = uuid.UUID("00000000-0000-4000-8000-000000000002")
HOLD = uuid.UUID("00000000-0000-4000-8000-000000000003")
BULK_CHANGE = uuid.UUID("00000000-0000-4000-8000-000000000005")
WEBHOOK = uuid.UUID("00000000-0000-4000-8000-000000000006")
API_KEY = uuid.UUID("00000000-0000-4000-8000-000000000004")
PROJECT, PROJECT_TO_RENAME, PROJECT_TO_DELETE = "shop_cz", "shop_sk", "shop_pl"
PROJECT_KEY = uuid.UUID("00000000-0000-4000-8000-000000000007")
ASSIGNMENTS = {
    customer: str(identity.of_message(f"m-{customer}", customer, POOL, 0))
    for customer in ("c-1", "c-2", "c-3")
}
"""Of the demo's messages: that of c-1 is redeemed, the others are not."""
LIKE_A_CODE = "{{ vouchers['spring_sale'].assign_available() }}"
AGGREGATE = {"event_type": "purchase", "property": "voucher_code", "function": "last"}
TRACKED = {"registered": "c-2", "cookie": "5f0c7c1e-2d8b-4b55-9c9a-3f1d2a6f8e10"}
ALERTS = {"thresholds": [1000, 100, 0], "webhook_url": "https://example.com/hooks/vouchers"}
REPEATED = {
    "pool": POOL,
    "source": {"type": "url", "url": "https://example.com/codes.csv"},
    "cron": "0 6 * * *",
    "timezone": "Europe/Prague",
    "active": False,
}


def _of(body: object = None, **place: object) -> Example:
    return Example({name: str(value) for name, value in place.items()}, body)


def _message(**more: object) -> dict[str, object]:
    return {"template": f"10 % off, only for you: {LIKE_A_CODE}", "channel": "email", "mode": "send", **more}


EXAMPLES: dict[str, Example] = {
    "createPool": _of({"name": "winter_sale", "description": "10 % off in January"}),
    "moveVouchers": _of({"to": SMALL_POOL, "count": 10, "dry_run": True}),
    "updatePool": _of({"description": "10 % off in spring"}),
    "deletePool": _of(pool=EMPTY_POOL),
    "createHold": _of({"campaign_id": "may", "count": 100}),
    "getHold": _of(hold_id=HOLD),
    "updateHold": _of({"count": 150}, hold_id=HOLD),
    "deleteHold": _of(hold_id=HOLD),
    "createImport": _of(pool=SMALL_POOL),
    **{
        name: _of(import_id=IMPORT)
        for name in (
            "getImport",
            "acceptSuspiciousRows",
            "cancelImport",
            "undoImport",
            "followImport",
        )
    },
    "getBulkChange": _of(change_id=BULK_CHANGE),
    "cancelBulkChange": _of(change_id=BULK_CHANGE),
    "listImportRejects": Example({"import_id": str(IMPORT)}, replies={"200": REJECTS}),
    "listImportIgnored": Example({"import_id": str(IMPORT)}, replies={"200": IGNORED}),
    "createImportSchedule": _of(REPEATED),
    "getImportSchedule": _of(schedule_id=SCHEDULE),
    "updateImportSchedule": _of({"cron": "30 6 * * *"}, schedule_id=SCHEDULE),
    "deleteImportSchedule": _of(schedule_id=SCHEDULE),
    "trackEvents": _of(
        {
            "events": [
                {
                    "event_id": "order-4712",
                    "customer_id": "c-2",
                    "event_type": "purchase",
                    "properties": {"voucher_code": SMALL_POOL_CODES[0], "total": 19.9},
                }
            ]
        }
    ),
    "trackCustomer": _of({"customer_ids": TRACKED, "properties": {"first_name": "Grace"}}),
    "trackCustomerEvent": _of(
        {
            "customer_ids": TRACKED,
            "event_type": "purchase",
            "properties": {"voucher_code": SMALL_POOL_CODES[0], "total": 19.9},
            "timestamp": 1767225600.5,
        }
    ),
    "trackBatch": _of(
        {
            "commands": [
                {
                    "name": "customers",
                    "command_id": "7f3a",
                    "data": {"customer_ids": TRACKED, "properties": {"newsletter": True}},
                },
                {"name": "customers/events", "data": {"customer_ids": TRACKED, "event_type": "visit"}},
                {"name": "system/time"},
            ]
        }
    ),
    "putRedemptionMapping": _of({"mappings": [{"event_type": "purchase", "property": "voucher_code"}]}),
    "redeemVoucher": _of({"customer_id": "c-2"}, code=SMALL_POOL_CODES[1]),
    "getVoucher": _of(code=SMALL_POOL_CODES[0]),
    "voidVoucher": _of({"reason": "leaked"}, code=SMALL_POOL_CODES[2]),
    "assignVoucher": _of({"customer_id": "c-4", "campaign_id": "spring"}),
    "assignVouchers": _of({"items": [{"customer_id": "c-5"}, {"customer_id": "c-6"}]}),
    "getAssignment": _of(assignment_id=ASSIGNMENTS["c-1"]),
    "confirmAssignment": _of(assignment_id=ASSIGNMENTS["c-2"]),
    "releaseAssignment": _of({"reason": "not sent"}, assignment_id=ASSIGNMENTS["c-3"]),
    "updateCustomer": _of({"properties": {"first_name": "Ada"}}),
    "mergeCustomers": _of({"from": "c-1@example.org"}),
    "eraseCustomer": _of(customer_id=CUSTOMER_TO_ERASE),
    "putAggregate": _of(AGGREGATE),
    "renderMessage": _of(_message(customer_id="c-2", campaign_id="spring", message_id="m-10")),
    "renderMessages": _of(
        _message(
            recipients=[
                {"customer_id": "c-2", "message_id": "m-11"},
                {"customer_id": "c-3", "message_id": "m-11"},
            ]
        )
    ),
    "setCustomerProperties": _of(
        {"template": f'{{"voucher": "{LIKE_A_CODE}"}}', "mode": "send", "message_id": "m-12"}
    ),
    "addCustomerEvent": _of(
        {
            "template": f'{{"event_type": "voucher", "properties": {{"code": "{LIKE_A_CODE}"}}}}',
            "mode": "send",
            "message_id": "m-13",
        }
    ),
    "setAlerts": _of(ALERTS),
    "createWebhook": _of(
        {"url": "https://example.com/hooks/vouchers", "events": ["voucher.assigned", "voucher.released"]}
    ),
    "updateWebhook": _of({"url": "https://example.com/hooks/codes", "pools": None}, webhook_id=WEBHOOK),
    **{
        name: _of(webhook_id=WEBHOOK)
        for name in (
            "getWebhook",
            "deleteWebhook",
            "rotateWebhookSecret",
            "enableWebhook",
            "sendTestWebhook",
            "listWebhookDeliveries",
        )
    },
    "createApiKey": _of({"name": "campaign system", "scopes": ["assign"]}),
    "getApiKey": _of(key_id=API_KEY),
    "rotateApiKey": _of({"grace_seconds": 3600}, key_id=API_KEY),
    "revokeApiKey": _of(key_id=API_KEY),
    "createProject": _of({"name": "shop_de"}),
    "updateProject": _of({"name": "shop_hu"}, project=PROJECT_TO_RENAME),
    "deleteProject": _of(project=PROJECT_TO_DELETE, confirm=PROJECT_TO_DELETE),
    "createProjectApiKey": _of({"name": "admin of the shop", "scopes": ["admin"]}),
    "getProjectApiKey": _of(key_id=PROJECT_KEY),
    "rotateProjectApiKey": _of({"grace_seconds": 3600}, key_id=PROJECT_KEY),
    "revokeProjectApiKey": _of(key_id=PROJECT_KEY),
}
"""By `operationId`; what stands in no example has that of its parameter."""
