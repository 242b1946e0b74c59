"""Random templates, retries, crashes and run-outs against a model in memory.

`VOUCHERS_EXAMPLES=500 pytest -n 0 -m long tests/domain/rendering/test_model.py` tries more of them.
"""

import asyncio
import itertools
import os
from collections import Counter
from unittest.mock import patch

import httpx
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from app.domain.rendering import service
from app.domain.rendering.message_vouchers import MessageVouchers
from app.platform.engines import create_engine
from app.platform.projects import DEFAULT, of_project
from app.server.application import create_app
from tests.factories import KEY, add_key, fill

EXAMPLES = int(os.environ.get("VOUCHERS_EXAMPLES", "30"))
POOLS = st.sampled_from("abc")
CALLS = st.tuples(
    POOLS, st.booleans(), st.lists(POOLS, max_size=2), st.sampled_from([None, None, "D1", "D2"])
)
TEMPLATES = st.lists(st.tuples(CALLS, st.integers(1, 3)), min_size=1, max_size=4)
STOCK = text("""
SELECT pool.name, sum(available) AS available, sum(assigned) AS assigned
FROM stock JOIN pool ON pool.id = pool_id WHERE name ~ ('^' || :prefix || '[abc]$') GROUP BY pool.name
""")
numbers = itertools.count()


class Service:
    """The service, driven step by step."""

    def __init__(self, settings):
        self.run = asyncio.Runner().run
        self.settings = settings
        self.run(self._start())

    async def _start(self):
        self.engine = of_project(create_engine(self.settings), DEFAULT)
        await add_key(self.engine, KEY, "admin")
        app = create_app(self.settings)
        self.lifespan = app.router.lifespan_context(app)
        await self.lifespan.__aenter__()
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://test",
            headers={"Authorization": f"Bearer {KEY}"},
        )

    async def stock(self, prefix):
        async with self.engine.connect() as connection:
            rows = await connection.execute(STOCK, {"prefix": prefix})
            return {row.name: (row.available, row.assigned) for row in rows}

    async def stop(self):
        await self.client.aclose()
        await self.lifespan.__aexit__(None, None, None)
        await self.engine.dispose()


class Messages(RuleBasedStateMachine):
    """What messages show, and what is left in the pools."""

    service: Service

    def __init__(self):
        super().__init__()
        self.prefix = f"e{next(numbers)}"
        self.available = {pool: set() for pool in "abc"}
        self.taken = Counter()
        self.templates = {}
        self.shown = {}
        for pool in "abc":
            self.service.run(fill(self.service.engine, self.name(pool), 0))

    def name(self, pool):
        return f"{self.prefix}{pool}"

    @rule(pool=POOLS, n=st.integers(1, 4))
    def refill(self, pool, n):
        codes = [f"{self.name(pool)}-{next(numbers)}" for _ in range(n)]
        self.service.run(fill(self.service.engine, self.name(pool), codes))
        self.available[pool] |= set(codes)

    @rule(pool=POOLS)
    def drain(self, pool):
        while self.available[pool]:
            reply = self.post(f"/v1/pools/{self.name(pool)}/assignments", {})
            self.available[pool].remove(reply.json()["code"])
            self.taken[pool] += 1

    @rule(
        message=st.sampled_from(["m1", "m2", "m3"]),
        customer=st.sampled_from(["c1", "c2"]),
        template=TEMPLATES,
        ending=st.sampled_from(["well", "well", "well", "error", "crash before", "crash after"]),
        batch=st.booleans(),
    )
    def send(self, message, customer, template, ending, batch):
        key = message, customer
        template = self.templates.setdefault(message, template)
        expected = self.expect(template) if key not in self.shown else None
        reply = self.render(key, template, ending, batch=batch)
        if ending == "error" or (ending != "well" and reply.status_code == 500):
            assert reply.status_code in {409, 422, 500}, reply.text
            if ending != "crash after" or expected == "exhausted":
                return
            reply = self.render(key, template, "well", batch=batch)  # it was committed; what did it show?
        if key in self.shown:
            assert reply.json()["rendered"] == self.shown[key]
        elif expected == "exhausted":
            assert reply.json()["type"] == "/problems/pool-exhausted"
        else:
            self.agrees(expected, reply.json()["rendered"].split())
            self.shown[key] = reply.json()["rendered"]

    @rule(template=TEMPLATES)
    def preview(self, template):
        reply = self.render(("m9", "c9"), template, "well", batch=False, mode="preview")
        assert reply.status_code in {200, 409}

    @invariant()
    def stock_agrees(self):
        stock = self.service.run(self.service.stock(self.prefix))
        for pool in "abc":
            assert stock[self.name(pool)] == (len(self.available[pool]), self.taken[pool])

    def expect(self, template):
        """What each call shows: a voucher of a pool by a number of its own, or a default."""
        left = {pool: len(codes) for pool, codes in self.available.items()}
        cached_ones, cached_defaults, shows = {}, {}, []
        for (pool, cached, fallback, default), times in template:
            chain = tuple(dict.fromkeys((pool, *fallback)))
            for _ in range(times):
                for source in chain:
                    if cached and source in cached_ones:
                        shows.append(cached_ones[source])
                        break
                    if left[source]:
                        left[source] -= 1
                        shows.append((source, len(shows)))
                        if cached:
                            cached_ones[source] = shows[-1]
                        break
                else:
                    if default is None:
                        return "exhausted"
                    shows.append(cached_defaults.setdefault(chain, default) if cached else default)
        return shows

    def agrees(self, expected, codes):
        assert len(codes) == len(expected)
        by_voucher = {}
        for voucher, code in zip(expected, codes, strict=True):
            if isinstance(voucher, str):
                assert code == voucher
            else:
                assert by_voucher.setdefault(voucher, code) == code
        assert len(set(by_voucher.values())) == len(by_voucher)
        for (pool, _), code in by_voucher.items():
            self.available[pool].remove(code)
            self.taken[pool] += 1

    def render(self, key, template, ending, *, batch, **more):
        body = {"template": self.text(template), "channel": "sms", **more}
        if ending == "error":
            body["template"] += "{{ nope }}"
        message, customer = key
        target = {"message_id": message + self.prefix, "customer_id": customer}
        if batch:
            body["recipients"] = [target]
        else:
            body |= target
        with crash(ending):
            reply = self.post("/v1/render/batch" if batch else "/v1/render", body)
        if batch and reply.status_code == 200:
            (item,) = reply.json()["items"]
            if item["problem"] is not None:
                return httpx.Response(item["problem"]["status"], json=item["problem"])
            return httpx.Response(200, json=item)
        return reply

    def text(self, template):
        lines = []
        for (pool, cached, fallback, default), times in template:
            chain = [self.name(pool) for pool in fallback]
            call = f"assign_available(cached={cached}, fallback={chain}, default={default!r})"
            line = f"{{{{ vouchers['{self.name(pool)}'].{call.replace('None', 'none')} }}}} "
            lines.append(f"{{% for _ in range({times}) %}}{line}{{% endfor %}}")
        return "".join(lines)

    def post(self, url, body):
        return self.service.run(self.service.client.post(url, json=body))


def crash(ending):
    """The process as good as dies, before its commit or between it and the reply."""
    service_render, write = service.render, MessageVouchers.write

    async def after(*arguments):
        await service_render(*arguments)
        raise RuntimeError("the process dies here")

    async def before(self, uses):
        await write(self, uses)
        raise RuntimeError("the process dies here")

    match ending:
        case "crash after":
            return patch.object(service, "render", after)
        case "crash before":
            return patch.object(MessageVouchers, "write", before)
    return patch.object(service, "render", service_render)


@pytest.mark.parametrize("examples", [EXAMPLES // 2, pytest.param(EXAMPLES, marks=pytest.mark.long)])
def test_messages_and_stock_agree_with_the_model(settings, examples):
    Messages.service = Service(settings)
    try:
        run_state_machine_as_test(
            Messages,
            settings=hypothesis_settings(
                max_examples=examples,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    finally:
        Messages.service.run(Messages.service.stop())
