"""Exponea's own Python client, as it stands on PyPI, against the running service."""

import time

import httpx
import pytest
from exponea_python_sdk import Exponea
from exponea_python_sdk.exceptions import APIException

from tests.factories import KEY

pytestmark = pytest.mark.clients

LETTER = "{{ vouchers['sdk'].assign_available() }}"


@pytest.fixture(scope="module")
def api(service):
    """The service's own API, with the key that may do everything, and a pool with a mapping."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        file = {"file": ("codes.csv", "code\nSDK-1\nSDK-2\nSDK-3\n")}
        client.post("/v1/pools/sdk/imports", files=file, headers={"Prefer": "wait=30"}).raise_for_status()
        mapping = {"mappings": [{"event_type": "purchase", "property": "voucher_code"}]}
        client.put("/v1/redemption-mapping", json=mapping).raise_for_status()
        yield client


@pytest.fixture(scope="module")
def key(api):
    return api.post("/v1/api-keys", json={"name": "shop", "scopes": ["events"]}).json()


@pytest.fixture
def sdk(service, key):
    return Exponea("default", username=key["id"], password=key["secret"], url=service.url)


def message(api, customer):
    body = {
        "template": LETTER,
        "channel": "email",
        "mode": "send",
        "customer_id": customer,
        "message_id": "m-1",
    }
    return api.post("/v1/render", json=body).raise_for_status().json()["rendered"]


def test_identify_track_batch_and_time(sdk, api):
    cookie = {"cookie": "5f0c7c1e"}
    both = {"registered": "anna", **cookie}
    tracking = sdk.tracking
    assert tracking.add_event(cookie, "visit", {"page": "/"}, timestamp=time.time()) is True
    shown = message(api, "5f0c7c1e")
    # The sign-in.
    assert tracking.update_customer_properties(both, {"first_name": "Anna", "phone": None}) is True
    assert message(api, "anna") == shown
    assert tracking.add_event(both, "purchase", {"voucher_code": shown, "total": 19.9}) is True
    assert api.get(f"/v1/vouchers/{shown}").json()["status"] == "redeemed"

    commands = [
        tracking.add_event(cookie, "visit", timestamp=1700000000, batch=True),
        tracking.update_customer_properties({"registered": "anna"}, {"city": "Prague"}, batch=True),
        tracking.update_customer_properties({}, {"city": "Prague"}, batch=True),
        tracking.get_system_time(batch=True),
    ]
    for _ in range(2):  # a batch that is tried again
        *done, told = tracking.batch_commands(commands)
        assert done == [True, True, False]
        assert abs(told - time.time()) < 60
    assert abs(tracking.get_system_time() - time.time()) < 60

    anna = api.get("/v1/customers/anna").json()
    assert anna["properties"] == {"first_name": "Anna", "city": "Prague"}
    events = api.get("/v1/customers/anna/events").json()["items"]
    assert sorted(event["event_type"] for event in events) == ["purchase", "visit", "visit"]
    uses = api.get("/v1/redemptions", params={"customer_id": "anna"}).json()["items"]
    assert [use["outcome"] for use in uses] == ["redeemed"]


def test_errors_are_read_by_the_client(service, key, sdk):
    def said(client, act):
        with pytest.raises(APIException) as raised:
            act(client.tracking)
        return str(raised.value)

    wrong = Exponea("default", username=key["id"], password="guess", url=service.url)
    other = Exponea("other", username=key["id"], password=key["secret"], url=service.url)
    assert "not known" in said(wrong, lambda tracking: tracking.get_system_time())
    assert "Invalid project id" in said(
        other, lambda tracking: tracking.add_event({"registered": "anna"}, "visit")
    )
    assert "At least one id" in said(sdk, lambda tracking: tracking.add_event({}, "visit"))
    assert "timestamp" in said(
        sdk, lambda tracking: tracking.add_event({"cookie": "c"}, "visit", timestamp="x")
    )
    assert "50" in said(
        sdk, lambda tracking: tracking.batch_commands([tracking.get_system_time(batch=True)] * 51)
    )
