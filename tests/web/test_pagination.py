"""Cursors: one list does not take another's, nor what is none."""

import base64
from urllib.parse import quote

LISTS = [
    "/v1/pools",
    "/v1/pools/p/vouchers",
    "/v1/pools/p/alerts/deliveries",
    "/v1/pools/p/history",
    "/v1/assignments",
    "/v1/imports",
    "/v1/import-schedules",
    "/v1/redemptions",
    "/v1/audit",
]
NONE_OF_THEM = [
    b"[true]",
    b"{}",
    b"no",
    b"\xff",
    b'["2026-01-01T00:00:00Z", "no id"]',
    b'["no state", 1, "A-1"]',
]


async def test_what_is_no_cursor_of_a_list_is_refused(client):
    await client.post("/v1/pools", json={"name": "p"})
    await client.put("/v1/pools/p/alerts", json={"thresholds": [1]})
    cursors = ["ä", "=", *(base64.urlsafe_b64encode(key).decode().rstrip("=") for key in NONE_OF_THEM)]
    for path in LISTS:
        assert (await client.get(path)).status_code == 200
        for cursor in cursors:
            reply = await client.get(path, params={"cursor": cursor})
            assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request"), cursor


async def test_the_link_of_a_page_leads_on_whatever_the_id(client):
    for customer_id in ("a/b", "a?b#c", "50%25", "Zoë 🎟", "a;b,c<d>\"'"):
        events = [{"customer_id": customer_id, "event_type": "e", "properties": {"n": n}} for n in range(3)]
        await client.post("/v1/events", json={"events": events})
        address = f"/v1/customers/{quote(customer_id, safe='')}/events?limit=1&event_type=e"
        seen = []
        while address is not None:
            page = await client.get(address)
            seen += [event["properties"]["n"] for event in page.json()["items"]]
            address = page.links["next"]["url"] if page.links else None
        assert sorted(seen) == [0, 1, 2], customer_id
