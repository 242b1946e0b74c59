"""What the tests of rendering begin with."""

import orjson

FORMS = ("render", "json", "ndjson")
"""The forms of a request: a single message, a batch, a batch by lines."""


async def sent(client, form, template, **body):
    """Message m1 to customer c1, if not said otherwise, in one of the forms: its item, or its problem."""
    message = {"template": template, "channel": "sms", "customer_id": "c1", "message_id": "m1"} | body
    recipient = {name: message.pop(name) for name in ("customer_id", "message_id")}
    if form == "render":
        return (await client.post("/v1/render", json=message | recipient)).json()
    if "customer" in message:
        recipient["customer"] = message.pop("customer")
    message["recipients"] = [recipient]
    headers = {"Accept": "application/x-ndjson"} if form == "ndjson" else {}
    reply = await client.post("/v1/render/batch", json=message, headers=headers)
    if reply.status_code != 200:
        return reply.json()
    item = orjson.loads(reply.text) if form == "ndjson" else reply.json()["items"][0]
    return item["problem"] or item


async def render(client, template=None, *, status=200, **body):
    """The reply to a message to customer c1."""
    request = {"template": template, "channel": "email", "customer_id": "c1", "message_id": "m1"} | body
    reply = await client.post("/v1/render", json=request)
    assert reply.status_code == status, reply.text
    return reply.json()


async def counts(client, pool):
    """How many of a pool are available, and how many assigned."""
    stock = (await client.get(f"/v1/pools/{pool}/counts")).json()
    return stock["available"], stock["assigned"]
