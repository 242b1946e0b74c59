import pytest

from tests.domain.rendering.help import render

URL = "/v1/aggregates/last_spring_code"
LAST = {
    "event_type": "voucher",
    "property": "voucher_code",
    "function": "last",
    "where": {"type": "spring", "status": "active"},
}


async def track(client, *events):
    body = [
        {
            "customer_id": customer,
            "event_type": "voucher",
            "properties": properties,
            "timestamp": f"2026-03-0{day}T12:00:00Z",
        }
        for customer, day, properties in events
    ]
    reply = await client.post("/v1/events", json={"events": body})
    assert reply.status_code == 200, reply.text


async def test_an_aggregate_is_put_read_and_deleted(client):
    reply = await client.put(URL, json=LAST)
    assert reply.status_code == 200
    assert reply.json() == {"name": "last_spring_code", "match": "equal", **LAST}
    await client.put(URL, json=LAST | {"function": "first"})
    assert (await client.get(URL)).json()["function"] == "first"
    assert (await client.delete(URL)).status_code == 204
    assert (await client.get(URL)).json()["type"] == "/problems/aggregate-not-found"
    assert (await client.delete(URL)).status_code == 404


@pytest.mark.parametrize(("function", "value"), [("last", "S3"), ("first", "S1"), ("count", "3")])
async def test_last_first_and_count_go_over_the_customers_matching_events(client, function, value):
    spring = {"type": "spring", "status": "active"}
    await track(
        client,
        ("c1", 3, {"voucher_code": "S3", **spring}),
        ("c1", 1, {"voucher_code": "S1", **spring, "more": 1}),
        ("c1", 2, {"voucher_code": "S2", **spring}),
        ("c1", 4, spring),
        ("c1", 5, {"voucher_code": "W", "type": "winter", "status": "active"}),
        ("c2", 6, {"voucher_code": "other", **spring}),
    )
    await client.put(URL, json=LAST | {"function": function})
    reply = await render(client, "{{ aggregates['last_spring_code'] }} {{ aggregates.last_spring_code }}")
    assert reply["rendered"] == f"{value} {value}"


async def test_each_recipient_of_a_batch_has_their_own_value(client):
    spring = {"type": "spring", "status": "active"}
    await track(client, *((f"c{n}", 1, {"voucher_code": f"S{n}", **spring}) for n in range(3)))
    await client.put(URL, json=LAST)
    body = {
        "template": "{{ aggregates['last_spring_code']|default('none') }}",
        "channel": "sms",
        "recipients": [{"customer_id": f"c{n}"} for n in range(4)],
    }
    items = (await client.post("/v1/render/batch", json=body)).json()["items"]
    assert [item["rendered"] for item in items] == ["S0", "S1", "S2", "none"]


async def test_a_customer_without_a_value_is_an_undefined_name(client):
    await client.put(URL, json=LAST)
    template = "\n{{ aggregates['last_spring_code'] }}"
    reply = await render(client, template)
    assert reply["undefined"] == ["aggregates.last_spring_code"]
    refused = await render(client, template, status=422, strict=True)
    assert (refused["type"], refused["line"]) == ("/problems/template-error", 2)


async def test_an_unknown_aggregate_is_named_with_those_nearest(client):
    await client.put(URL, json=LAST)
    reply = await render(client, "{{ aggregates['last_sprig_code']|default('') }}", status=422)
    assert "Nearest: last_spring_code" in reply["detail"]


@pytest.mark.parametrize(
    "wrong", [{"function": "median"}, {"property": None}, {"where": 1}, {"event_type": ""}, {"nope": 1}]
)
async def test_a_definition_that_means_nothing_is_refused(client, wrong):
    assert (await client.put(URL, json=LAST | wrong)).status_code == 422
    assert (await client.get(URL)).status_code == 404


@pytest.mark.parametrize(
    ("where", "match", "n"),
    [
        ({"k": [1]}, "equal", 1),
        ({"k": [1]}, "contains", 2),
        ({"o": {"a": 1}}, "equal", 1),
        ({"o": {"a": 1}}, "contains", 2),
        ({"o.a": 1}, "equal", 3),
        ({"o.b": 2, "k": [1, 2]}, "equal", 1),
        ({"l.0.x": "y"}, "equal", 1),
        ({"o.c": None}, "equal", 0),
        ({}, "equal", 4),
    ],
)
async def test_values_are_compared_whole_and_found_by_path(client, where, match, n):
    await track(
        client,
        ("c1", 1, {"k": [1], "o": {"a": 1}}),
        ("c1", 2, {"k": [1, 2], "o": {"a": 1, "b": 2}}),
        ("c1", 3, {"k": "1", "o.a": 1, "o": {"a": 9}}),
        ("c1", 4, {"l": [{"x": "y"}]}),
    )
    wanted = {"event_type": "voucher", "function": "count", "where": where, "match": match}
    await client.put("/v1/aggregates/n", json=wanted)
    assert (await render(client, "{{ aggregates['n'] }}"))["rendered"] == str(n)


async def test_customers_events_and_aggregates_are_listed(client):
    for customer, city in (("anna", "Brno"), ("ann%", None), ("ben", "Wien")):
        await client.patch(
            f"/v1/customers/{customer.replace('%', '%25')}", json={"properties": {"city": city}}
        )
    await track(client, ("anna", 1, {"a": 1}), ("anna", 3, {"a": 3}), ("anna", 2, {"a": 2}), ("ben", 1, {}))

    async def ids(**wanted):
        return [item["id"] for item in (await client.get("/v1/customers", params=wanted)).json()["items"]]

    assert await ids() == ["ann%", "anna", "ben"]
    assert await ids(id_prefix="ann%") == ["ann%"]
    assert await ids(property="city") == ["anna", "ben"]
    assert await ids(property="city", value="Wien") == ["ben"]
    assert (await client.get("/v1/customers", params={"value": "x"})).status_code == 422
    page = (await client.get("/v1/customers/anna/events", params={"limit": 2})).json()
    assert [event["properties"]["a"] for event in page["items"]] == [3, 2]
    rest = (await client.get("/v1/customers/anna/events", params={"cursor": page["next_cursor"]})).json()
    assert ([event["properties"]["a"] for event in rest["items"]], rest["next_cursor"]) == ([1], None)
    assert (await client.get("/v1/customers/anna/events?event_type=nope")).json()["items"] == []
    for name in ("b", "a"):
        await client.put(f"/v1/aggregates/{name}", json={"event_type": "x", "function": "count"})
    assert [item["name"] for item in (await client.get("/v1/aggregates")).json()["items"]] == ["a", "b"]
