"""The life of vouchers by random walk, over HTTP, judged by `vouchers check` and a model of the states."""

import asyncio
from collections import Counter

import httpx
import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.domain.imports.merging import pipeline
from app.domain.lifecycle import check
from app.domain.redemptions import service as redemptions
from app.domain.vouchers import service as vouchers
from app.platform.database import create_engine, transaction
from app.server.application import create_app
from tests.conftest import TABLES
from tests.factories import KEY, add_key

CODES = 12
CAMPAIGNS = st.sampled_from([None, "spring", "summer"])


class Life(RuleBasedStateMachine):
    """What may happen to the vouchers of one pool, in any order."""

    given = Bundle("given")
    settings_of_test = None

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.run = self.loop.run_until_complete
        self.run(self._start())
        self.status = {}
        """The state in which each code should be."""
        self.code_of = {}
        self.released = set()
        self.used_unknown = set()
        """Codes that were used before they were imported."""
        self.events = 0

    async def _start(self):
        self.engine = create_engine(self.settings_of_test)
        async with transaction(self.engine) as connection:
            await connection.execute(text(";".join(f"DELETE FROM {table}" for table in TABLES)))
        await add_key(self.engine, KEY, "admin")
        self.app = create_app(self.settings_of_test)
        self.life = self.app.router.lifespan_context(self.app)
        await self.life.__aenter__()
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://test",
            headers={"Authorization": f"Bearer {KEY}"},
        )
        mapping = {"mappings": [{"event_type": "purchase", "property": "code"}]}
        await self.client.put("/v1/redemption-mapping", json=mapping)

    def teardown(self):
        async def stop():
            await self.client.aclose()
            await self.life.__aexit__(None, None, None)
            await self.engine.dispose()

        self.run(stop())
        self.loop.close()

    def post(self, path, **body):
        return self.run(self.client.post(path, json=body))

    @rule()
    def import_codes(self):
        if not self.status:
            codes = [f"p-{n:06}" for n in range(CODES)]
            source = {"type": "text", "text": "\n".join(["code", *codes])}
            made = self.post("/v1/pools/p/imports", source=source).json()
            self.run(asyncio.to_thread(pipeline.run, self.settings_of_test, made["id"]))
            self.status = {code: "redeemed" if code in self.used_unknown else "available" for code in codes}

    @rule(target=given, campaign=CAMPAIGNS, customer=st.sampled_from([None, "c1", "c2"]), lease=st.booleans())
    def assign(self, campaign, customer, lease):
        reply = self.post(
            "/v1/pools/p/assignments",
            campaign_id=campaign,
            customer_id=customer,
            lease_seconds=600 if lease else None,
        )
        if reply.status_code != 201:
            assert reply.status_code in {404, 409}, reply.text
            return multiple()
        code = reply.json()["code"]
        assert self.status[code] == "available"
        self.status[code] = "reserved" if lease else "assigned"
        self.code_of[reply.json()["id"]] = code
        return reply.json()["id"]

    @rule(id_=given)
    def confirm(self, id_):
        reply = self.post(f"/v1/assignments/{id_}/confirm")
        status = self.status[self.code_of[id_]]
        allowed = id_ not in self.released and status != "void"
        assert reply.status_code == (200 if allowed else 409), (status, reply.text)
        if allowed and status == "reserved":
            self.status[self.code_of[id_]] = "assigned"

    @rule(id_=given)
    def release(self, id_):
        reply = self.post(f"/v1/assignments/{id_}/release")
        code = self.code_of[id_]
        if id_ in self.released:
            assert reply.status_code == 200
        elif self.status[code] in {"reserved", "assigned"}:
            assert reply.status_code == 200
            self.status[code] = "available"
            self.released.add(id_)
        else:
            assert reply.status_code == 409

    @rule(
        number=st.integers(0, CODES),
        customer=st.sampled_from(["c1", "c2"]),
        late=st.booleans(),
        twice=st.booleans(),
    )
    def redeem_by_event(self, number, customer, late, twice):
        code = f"p-{number:06}"
        self.events += 1
        event = {
            "event_id": str(self.events),
            "event_type": "purchase",
            "customer_id": customer,
            "properties": {"code": code},
            "timestamp": "2020-01-01T00:00:00Z" if late else None,
        }
        reply = self.post("/v1/events", events=[event, event] if twice else [event])
        (outcome,) = {item["redemption"] for item in reply.json()["items"]}
        status = self.status.get(code)
        if status is None:
            assert outcome == "unknown_code"
            self.used_unknown.add(code)
        elif status == "redeemed":
            assert outcome not in {"unknown_code", "void"}
        elif status == "void" and not late:
            assert outcome == "void"
        elif status == "expired" and not late:
            assert outcome == "expired"
        else:
            assert outcome in {"redeemed", "not_assigned", "other_customer"}
            self.status[code] = "redeemed"

    @rule()
    def resolve(self):
        """Imports settle what they bring in: nothing is left to be resolved."""
        assert self.run(redemptions.resolve(self.engine)) == 0

    @rule(number=st.integers(0, CODES))
    def void(self, number):
        code = f"p-{number:06}"
        status = self.status.get(code)
        reply = self.post(f"/v1/vouchers/{code}/void")
        assert reply.status_code == {None: 404, "redeemed": 409}.get(status, 200)
        if reply.status_code == 200:
            self.status[code] = "void"

    @rule()
    def all_leases_lapse(self):
        async def lapse():
            async with transaction(self.engine) as connection:
                query = text("UPDATE assignment SET lease_until = now() WHERE lease_until IS NOT NULL")
                await connection.execute(query)
            return await vouchers.sweep(self.engine)

        reserved = [id_ for id_, code in self.code_of.items() if self._holds(id_, code, "reserved")]
        assert self.run(lapse())[0] == len(reserved)
        for id_ in reserved:
            self.status[self.code_of[id_]] = "available"
            self.released.add(id_)

    def _holds(self, id_, code, status):
        return id_ not in self.released and self.status[code] == status

    @rule(number=st.integers(0, CODES))
    def expire(self, number):
        code = f"p-{number:06}"

        async def expire():
            async with transaction(self.engine) as connection:
                query = text(
                    "UPDATE voucher SET expires_at = now() - make_interval(secs => :tolerance)"
                    " WHERE code = :code AND status = 'available'"
                )
                tolerance = self.settings_of_test.clock_tolerance_seconds
                await connection.execute(query, {"code": code, "tolerance": tolerance})
            return await vouchers.sweep(self.engine)

        expired = self.run(expire())[1]
        assert expired == (self.status.get(code) == "available")
        if expired:
            self.status[code] = "expired"

    @rule(campaign=st.sampled_from(["spring", "summer"]), count=st.integers(1, 4))
    def hold(self, campaign, count):
        reply = self.post("/v1/pools/p/holds", campaign_id=campaign, count=count)
        assert reply.status_code in {201, 404, 409}, reply.text

    @rule(campaign=st.sampled_from(["spring", "summer"]))
    def end_hold(self, campaign):
        holds = self.run(self.client.get("/v1/pools/p/holds")).json().get("items", [])
        for hold in holds:
            if hold["campaign_id"] == campaign:
                reply = self.run(self.client.delete(f"/v1/pools/p/holds/{hold['id']}"))
                assert reply.status_code == 204

    @rule(customer=st.sampled_from(["c1", "c2"]))
    def erase(self, customer):
        assert self.run(self.client.delete(f"/v1/customers/{customer}")).status_code == 200

    @invariant()
    def counts_are_those_of_the_model(self):
        if self.status:
            counts = self.run(self.client.get("/v1/pools/p/counts")).json()
            holds = self.run(self.client.get("/v1/pools/p/holds")).json()["items"]
            assert counts.pop("held") == sum(hold["count"] - hold["drawn"] for hold in holds)
            del counts["total"]
            assert Counter(counts) == Counter(self.status.values())

    @invariant()
    def check_finds_nothing(self):
        async def violations():
            async with transaction(self.engine) as connection:
                return await check.violations(connection)

        assert self.run(violations()) == []


def test_any_life_of_a_pool_breaks_no_invariant(settings):
    Life.settings_of_test = settings
    run_state_machine_as_test(
        Life,
        settings=hypothesis.settings(
            max_examples=12,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.generate],  # to shrink such a long story takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
