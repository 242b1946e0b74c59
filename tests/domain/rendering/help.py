"""What the tests of rendering begin with."""


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
