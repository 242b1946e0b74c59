import pytest

from tests.factories import add_key, fill

URL = "/v1/pools/p/alerts"
HOOK = "https://example.com/hook"


async def test_alerts_are_set_and_the_secret_is_shown_once(client, engine):
    await fill(engine, "p", 50)
    made = await client.put(URL, json={"thresholds": [0, 100, 10], "webhook_url": HOOK})
    assert made.status_code == 200
    assert made.json()["webhook_secret"].startswith("whsec_")
    assert made.json()["thresholds"] == [100, 10, 0]
    again = await client.put(URL, json={"thresholds": [100, 10, 0], "webhook_url": HOOK})
    assert again.json()["webhook_secret"] is None
    assert (await client.get(URL)).json() == again.json()


async def test_a_threshold_above_the_count_is_not_armed_for_the_count_did_not_fall_to_it(client, engine):
    await fill(engine, "p", 50)
    made = (await client.put(URL, json={"thresholds": [100, 50, 10], "webhook_url": HOOK})).json()
    assert {state["threshold"]: state["armed"] for state in made["states"]} == {
        100: False,
        50: False,
        10: True,
    }


async def test_what_is_told_is_what_anybody_may_draw(client, engine):
    await fill(engine, "p", 5)
    held = await client.post("/v1/pools/p/holds", json={"campaign_id": "spring", "count": 3})
    assert held.status_code == 201
    made = (await client.put(URL, json={"thresholds": [2], "webhook_url": HOOK})).json()
    (message,) = (await client.post(f"{URL}/test")).json()["items"]
    assert made["states"][0]["available"] == message["payload"]["data"]["available"] == 2
    document = (await client.get("/openapi.json")).json()["components"]["schemas"]
    for schema in ("Threshold", "Alerts", "AlertsUpdate"):
        described = document[schema]["properties"]
        told = described.get("threshold", described.get("thresholds"))["description"]
        assert "anybody may draw" in told


@pytest.mark.parametrize(
    ("body", "loc", "says"),
    [
        ({"thresholds": [], "webhook_url": HOOK}, ["body", "thresholds"], "at least 1 item"),
        ({"thresholds": [-1], "webhook_url": HOOK}, ["body", "thresholds", 0], "greater than or equal to 0"),
        ({"thresholds": [2**63], "webhook_url": HOOK}, ["body", "thresholds", 0], "less than or equal"),
        ({"thresholds": ["many"], "webhook_url": HOOK}, ["body", "thresholds", 0], "valid integer"),
        ({"thresholds": [5, 5], "webhook_url": HOOK}, ["body", "thresholds"], "5 stands there more often"),
        ({"thresholds": [*range(21)], "webhook_url": HOOK}, ["body", "thresholds"], "at most 20"),
        ({"thresholds": [5]}, ["body"], "a webhook_url, an email or both"),
        (
            {"thresholds": [5], "webhook_url": "ftp://example.com"},
            ["body", "webhook_url"],
            "'http' or 'https'",
        ),
        ({"thresholds": [5], "webhook_url": "no url"}, ["body", "webhook_url"], "valid URL"),
        ({"thresholds": [5], "email": "a@b, c@d"}, ["body", "email"], "pattern"),
        ({"thresholds": [5], "email": "a@b"}, ["body", "email"], "VOUCHERS_SMTP_URL"),
        ({"thresholds": [5], "webhook_url": HOOK, "day": 1}, ["body", "day"], "no such field"),
        (
            {"thresholds": [5], "webhook_url": HOOK, "expiring_within_days": 0},
            ["body", "expiring_within_days"],
            "",
        ),
    ],
)
async def test_bad_alerts_are_refused_with_what_is_wrong(client, engine, body, loc, says):
    await fill(engine, "p", 5)
    reply = await client.put(URL, json=body)
    assert reply.status_code == 422
    error = reply.json()["errors"][0]
    assert error["loc"] == loc
    assert says in error["msg"]
    assert (await client.get(URL)).json()["type"] == "/problems/alert-not-found"


async def test_alerts_of_a_pool_that_is_not_there_are_not_found(client):
    assert (await client.put(URL, json={"thresholds": [5], "webhook_url": HOOK})).status_code == 404
    for path in ("", "/deliveries"):
        assert (await client.get(f"{URL}{path}")).json()["type"] == "/problems/pool-not-found"


async def test_deleted_alerts_are_gone(client, engine):
    await fill(engine, "p", 5)
    await client.put(URL, json={"thresholds": [1], "webhook_url": HOOK})
    assert (await client.delete(URL)).status_code == 204
    for reply in (await client.get(URL), await client.delete(URL), await client.post(f"{URL}/test")):
        assert reply.json()["type"] == "/problems/alert-not-found"


async def test_a_pool_with_alerts_can_be_deleted(client, engine):
    await fill(engine, "p", 5)
    await client.put(URL, json={"thresholds": [1], "webhook_url": HOOK})
    await client.post(f"{URL}/test")
    assert (await client.delete("/v1/pools/p")).status_code == 204


async def test_a_key_that_may_only_read_sees_no_alerts(client, engine):
    await fill(engine, "p", 5)
    await add_key(engine, "reader-0123456789-0123456789-0123456789", "read", "assign", "events")
    headers = {"Authorization": "Bearer reader-0123456789-0123456789-0123456789"}
    assert (await client.get(URL, headers=headers)).status_code == 403
    assert (await client.post(f"{URL}/test", headers=headers)).status_code == 403


async def test_deliveries_are_listed_newest_first_page_by_page(client, engine):
    await fill(engine, "p", 5)
    await client.put(URL, json={"thresholds": [1], "webhook_url": HOOK})
    sent = [(await client.post(f"{URL}/test")).json()["items"][0]["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(f"{URL}/deliveries", params=params)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sent[::-1]
    assert (await client.get(f"{URL}/deliveries", params={"cursor": "bm8"})).status_code == 422
