"""Messages: a bulk send against plain Jinja2, single renders beside assigns: `python -m benchmarks.render`.

The bulk send is one `POST /v1/render/batch` of 10,000 recipients with one code each, all of it: HTTP,
sandbox, codes drawn, written and committed with fsync on. Plain Jinja2 renders the same template in one
process, with the codes given.
"""

import argparse
import asyncio
import time

import orjson
from jinja2 import Environment

from benchmarks import goals, harness, load
from tests.factories import KEY
from tests.service import Service

RECIPIENTS = 10_000
CONNECTIONS = 32
WORKERS = 2
WARMING, WARMING_RECIPIENTS = 8, 500
"""Batches before the first that is measured, each on a connection of its own: so many that every process had one."""
PRODUCTS = [
    {"name": f"Product <{n}>", "price": 9.9 + n, "url": f"https://shop.example/p/{n}", "sale": n % 3 == 0}
    for n in range(8)
]
TEMPLATE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ context.title }}</title></head>
<body>
<h1>Hello {{ customer.first_name }} {{ customer.last_name }},</h1>
{% if customer.orders > 5 %}<p>Thank you for coming back.</p>{% else %}<p>Good to see you.</p>{% endif %}
<p>Your personal code: <strong>{{ vouchers['bulk'].assign_available() }}</strong></p>
<table>
{% for product in context.products %}
<tr class="{{ loop.cycle('odd', 'even') }}">
  <td><a href="{{ product.url }}?c={{ customer.id|urlencode }}">{{ product.name }}</a></td>
  <td>{{ '%.2f'|format(product.price) }} EUR{% if product.sale %} <em>now on sale</em>{% endif %}</td>
</tr>
{% endfor %}
</table>
<p>Use {{ vouchers['bulk'].assign_available() }} until {{ context.until }}.</p>
<p>{{ context.footer }}</p>
</body>
</html>
"""
CONTEXT = {
    "title": "Spring & sale",
    "products": PRODUCTS,
    "until": "30 April",
    "footer": "You get this because you are a customer. " * 5,
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=5)
    arguments = options.parse_args()
    rounds, seconds = arguments.rounds, arguments.seconds
    with harness.service(WORKERS) as service:
        harness.import_pool(service, "bulk", (rounds + 1) * RECIPIENTS)
        harness.import_pool(service, "single", int(rounds * seconds * 25_000))
        plain, bulk = [], []
        for _ in range(WARMING):
            asyncio.run(_bulk(service, WARMING_RECIPIENTS))
        for _ in range(rounds):
            plain.append(_plain())
            bulk.append(asyncio.run(_bulk(service)))
        renders, assigns = [], []
        _renders(service, 1)  # warm
        for _ in range(rounds):
            renders.append(_renders(service, seconds))
            assigns.append(_assigns(service, seconds))
        print(f"{harness.machine()}; load by {load.tool()}; medians of {rounds} interleaved rounds\n")
        print(goals.table(goals.row("render", renders, assigns), goals.row("batch", bulk, plain)))
        _print_bulk(harness.median(plain), harness.median(bulk))
        _print_single(harness.median(renders), harness.median(assigns))
        print("\n" + harness.books_agree(service))


def _customer(n: int) -> dict[str, object]:
    return {"id": f"c-{n}", "first_name": f"Ada {n}", "last_name": "O'Neil", "orders": n % 10}


class _Given:
    """Stands for `vouchers['bulk']` where the code is given."""

    def __init__(self, code: str) -> None:
        self.code = code

    def assign_available(self) -> str:
        """Return the given code."""
        return self.code


def _plain() -> float:
    template = Environment(autoescape=True).from_string(TEMPLATE)
    started = time.perf_counter()
    for n in range(RECIPIENTS):
        template.render(customer=_customer(n), context=CONTEXT, vouchers={"bulk": _Given(f"bulk-{n}")})
    return time.perf_counter() - started


async def _bulk(service: Service, recipients: int = RECIPIENTS) -> float:
    body = orjson.dumps(
        {
            "template": TEMPLATE,
            "channel": "email",
            "campaign_id": "spring",
            "context": CONTEXT,
            "recipients": [{"customer_id": f"c-{n}", "customer": _customer(n)} for n in range(recipients)],
        }
    )
    async with service.client() as client:
        started = time.perf_counter()
        reply = await client.post(
            "/v1/render/batch", content=body, headers={"Content-Type": "application/json"}
        )
        took = time.perf_counter() - started
    items = orjson.loads(reply.content)["items"]
    codes = {item["vouchers"][0]["code"] for item in items}
    whole = all(item["rendered"].count(item["vouchers"][0]["code"]) >= 2 for item in items)
    if len(codes) != recipients or not whole:
        raise RuntimeError("a message lacks its code")
    return took


def _renders(service: Service, seconds: float) -> float:
    body = orjson.dumps(
        {
            "template": "Hello {{ context.name }}, your code: {{ vouchers['single'].assign_available() }}",
            "channel": "sms",
            "customer_id": "CUSTOMER",
            "context": {"name": "Ada"},
        }
    )
    return _drive(f"{service.url}/v1/render", body.decode(), seconds)


def _assigns(service: Service, seconds: float) -> float:
    return _drive(f"{service.url}/v1/pools/single/assignments", '{"customer_id":"CUSTOMER"}', seconds)


def _drive(url: str, body: str, seconds: float) -> float:
    done = load.post(url, KEY, body, connections=CONNECTIONS, seconds=seconds)
    if done.failed:
        raise RuntimeError(f"{done.failed} requests to {url} failed")
    return done.per_second


def _print_bulk(plain: float, bulk: float) -> None:
    rows = [
        ["this service: HTTP, sandbox, drawn and committed", bulk, RECIPIENTS / bulk, bulk / plain],
        ["plain Jinja2, codes given, one process", plain, RECIPIENTS / plain, 1.0],
    ]
    head = [f"{RECIPIENTS:,} messages, one code each", "seconds", "messages per second", "times plain Jinja2"]
    print(harness.table(head, rows) + "\n")


def _print_single(renders: float, assigns: float) -> None:
    rows = [
        ["POST /v1/render, one code each", renders, renders / assigns],
        ["POST /v1/pools/{pool}/assignments", assigns, 1.0],
    ]
    head = [f"{WORKERS} processes, {CONNECTIONS} connections", "per second", "against single assigns"]
    print(harness.table(head, rows))


if __name__ == "__main__":
    main()
