"""The life of vouchers by random walk, over HTTP, judged by `vouchers check` and a model in plain Python.

The model knows the state of each code, what became of each assignment and what each hold keeps; every reply that can be
foretold is. `VOUCHERS_TEST_STEPS=20000 pytest -n 0 tests/domain/lifecycle/test_life.py` plays so many steps.
"""

import asyncio
import os
from collections import Counter, defaultdict

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

from app.domain.assignments import drawing
from app.domain.imports.merging import pipeline
from app.domain.lifecycle import check
from app.domain.redemptions import service as redemptions
from app.domain.vouchers import service as vouchers
from app.platform import database
from app.platform.database import transaction
from app.platform.engines import create_engine
from app.server.application import create_app
from tests.conftest import TABLES
from tests.factories import KEY, add_key

CODES = 12
STEPS = int(os.environ.get("VOUCHERS_TEST_STEPS", "240"))
STORY = 40
"""Steps of one story."""
CUSTOMERS = st.sampled_from(["c1", "c2"])
NUMBERS = st.sampled_from([0, 1, 2, 0, 1, 2, *range(CODES + 1)])
"""Of codes: some are met again and again, so that they are used, cancelled and used again."""
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
        self.ended = {}
        """How each assignment ended whose code went back: released or lapsed."""
        self.holds = {}
        """By campaign: the id of its hold, its size, and how much of it was drawn."""
        self.hold_of = {}
        """Of each assignment that was drawn from a hold: the hold's id."""
        self.used, self.cancelled = set(), set()
        """Codes that were used, and that a cancellation was heard of."""
        self.cancelled_unknown = set()
        """Codes whose cancellation is one of an unknown code, because an undo took them."""
        self.import_id = None
        self.messages = 0
        self.used_unknown = set()
        """Codes that were used before they were imported."""
        self.events = 0
        self.uses = defaultdict(Counter)
        """By code: how many uses of each customer stand."""
        self.loose = Counter()
        """By code and customer: cancellations that have taken back nothing so far."""

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
        mapping = {
            "mappings": [
                {"event_type": "purchase", "property": "code"},
                {"event_type": "refund", "property": "code", "effect": "cancel"},
            ]
        }
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
            self.run(self._same_draws(made["id"]))
            self.run(asyncio.to_thread(pipeline.run, self.settings_of_test, made["id"]))
            self.import_id = made["id"]
            self.status = {code: "redeemed" if code in self.used_unknown else "available" for code in codes}

    @rule(target=given, campaign=CAMPAIGNS, customer=st.sampled_from([None, "c1", "c2"]), lease=st.booleans())
    def assign(self, campaign, customer, lease):
        reply = self.post(
            "/v1/pools/p/assignments",
            campaign_id=campaign,
            customer_id=customer,
            lease_seconds=600 if lease else None,
        )
        return self._assigned(reply, campaign, "reserved" if lease else "assigned")

    async def _same_draws(self, import_id):
        """Have the same codes drawn in each run of a story: it is told again from the same beginning."""
        async with transaction(self.engine) as connection:
            await connection.execute(text("UPDATE import SET seed = 7 WHERE id = :id"), {"id": import_id})
        drawing.CURSORS._by_pool["p"] = 0

    def _assigned(self, reply, campaign, status):
        """Compare the reply to an assign with what the model says, and note it."""
        if not self._may_draw(campaign):
            assert reply.status_code == (409 if self.import_id else 404), reply.text
            if self.import_id:
                assert reply.json()["reason"] == ("held" if self._n("available") else "empty")
            return multiple()
        assert reply.status_code == 201, reply.text
        assert reply.json()["status"] == status
        self._drawn(reply.json()["id"], reply.json()["code"], campaign, status)
        return reply.json()["id"]

    def _drawn(self, id_, code, campaign, status):
        assert self.status[code] == "available"
        self.status[code] = status
        self.code_of[id_] = code
        hold = self.holds.get(campaign)
        if hold is not None and hold["drawn"] < hold["size"]:
            hold["drawn"] += 1
            self.hold_of[id_] = hold["id"]

    def _n(self, status):
        return sum(state == status for state in self.status.values())

    def _kept(self):
        return sum(hold["size"] - hold["drawn"] for hold in self.holds.values())

    def _may_draw(self, campaign):
        own = self.holds.get(campaign, {"size": 0, "drawn": 0})
        free = self._n("available") - self._kept()
        return self._n("available") > 0 and own["size"] - own["drawn"] + max(free, 0) > 0

    def _back(self, id_, how):
        """Note that an assignment's code went back, to its hold if that is still there."""
        self.status[self.code_of[id_]] = "available"
        self.ended[id_] = how
        for hold in self.holds.values():
            hold["drawn"] -= hold["id"] == self.hold_of.get(id_)

    @rule(target=given, campaign=CAMPAIGNS, reserve=st.booleans())
    def send(self, campaign, reserve):
        """Send a message, with a code that may have been reserved for it."""
        self.messages += 1
        message = {"message_id": f"m{self.messages}", "customer_id": "c1", "campaign_id": campaign}
        if reserve:
            reply = self.post("/v1/pools/p/assignments", **message, lease_seconds=600)
            if not isinstance(self._assigned(reply, campaign, "reserved"), str):
                return multiple()
        possible = reserve or self._may_draw(campaign)
        template = "{{ vouchers['p'].assign_available() }}"
        reply = self._rendered(template=template, channel="email", **message)
        if not possible:
            assert reply.status_code == (409 if self.import_id else 404), reply.text
            return multiple()
        assert reply.status_code == 200, reply.text
        code = reply.json()["rendered"]
        (row,) = [row for row in self._ledger() if row["message_id"] == message["message_id"]]
        assert (row["code"], row["status"]) == (code, "assigned")
        if reserve:
            assert self.code_of[row["id"]] == code
            self.status[code] = "assigned"
        else:
            self._drawn(row["id"], code, campaign, "assigned")
        return row["id"]

    def _rendered(self, **body):
        """Ask again where no process could render in time: nothing was taken then."""
        while (reply := self.post("/v1/render", **body)).status_code == 503:
            pass
        return reply

    def _ledger(self):
        return self.run(self.client.get("/v1/assignments", params={"limit": 1000})).json()["items"]

    @rule(id_=given)
    def confirm(self, id_):
        reply = self.post(f"/v1/assignments/{id_}/confirm")
        status = self.status.get(self.code_of[id_])
        allowed = id_ not in self.ended and status != "void"
        assert reply.status_code == (200 if allowed else 409), (status, reply.text)
        if allowed and status == "reserved":
            self.status[self.code_of[id_]] = "assigned"

    @rule(id_=given)
    def release(self, id_):
        reply = self.post(f"/v1/assignments/{id_}/release")
        code = self.code_of[id_]
        if id_ in self.ended:
            assert reply.status_code == 200
        elif self.status[code] in {"reserved", "assigned"}:
            assert reply.status_code == 200
            self._back(id_, "released")
        else:
            assert reply.status_code == 409

    def _stands(self, code):
        return any(c == code and id_ not in self.ended for id_, c in self.code_of.items())

    def _say(self, event_type, code, customer, *, twice=False, **more):
        """Tell of a use or a cancellation; what it comes to."""
        self.events += 1
        event = {
            "event_id": str(self.events),
            "event_type": event_type,
            "customer_id": customer,
            "properties": {"code": code},
            **more,
        }
        reply = self.post("/v1/events", events=[event, event] if twice else [event])
        (outcome,) = {item["redemption"] for item in reply.json()["items"]}
        self.cancelled_unknown -= {code} & set(self.status)  # judged again with what is new
        return outcome

    @rule(number=NUMBERS, customer=CUSTOMERS, late=st.booleans(), twice=st.booleans())
    def redeem_by_event(self, number, customer, late, twice):
        code = f"p-{number:06}"
        self.used.add(code)
        more = {"timestamp": "2020-01-01T00:00:00Z"} if late else {}
        outcome = self._say("purchase", code, customer, twice=twice, **more)
        status, uses = self.status.get(code), self.uses[code]
        if status is None:
            assert outcome == "unknown_code"
            self.used_unknown.add(code)
            return
        if status in {"void", "expired"} and not late:
            assert outcome == status
            return
        settled = status == "redeemed" and not self._stands(code)
        if late and self.loose[code, customer] and self._stands(code) and not settled:
            assert outcome == "cancelled"
            self.loose[code, customer] -= 1
            return
        allowed = {"redeemed", "not_assigned", "other_customer"}
        # What was used before it was imported is nobody's, and stays used.
        assert outcome in (allowed | {"already_redeemed"} if uses.total() or settled else allowed), outcome
        uses[customer] += 1
        self.status[code] = "redeemed"

    @rule(number=NUMBERS, customer=CUSTOMERS)
    def cancel_by_event(self, number, customer):
        """Take back an order: a code of which no use is left is its customer's again, if it was given to any."""
        code = f"p-{number:06}"
        self.cancelled.add(code)
        outcome = self._say("refund", code, customer)
        if code not in self.status:
            assert outcome == "unknown_code"
            self.cancelled_unknown.add(code)
        elif self.status[code] == "redeemed" and self._stands(code) and self.uses[code][customer]:
            assert outcome == "cancelled"
            self.uses[code][customer] -= 1
            if not self.uses[code].total():
                self.status[code] = "assigned"
            return
        else:
            assert outcome == "not_redeemed"
        self.loose[code, customer] += 1

    @rule()
    def undo(self):
        """Take back, by code, what is available and no hold needs. What was said of it is of unknown codes."""
        if self.import_id is None:
            return
        gone = sorted(code for code, status in self.status.items() if status == "available")
        gone = gone[: max(len(gone) - self._kept(), 0)]
        reply = self.post(f"/v1/imports/{self.import_id}/undo")
        assert (reply.status_code, reply.json()["taken_back"]) == (200, len(gone)), reply.text
        for code in gone:
            del self.status[code]
            self.uses[code].clear()
        self.used_unknown |= self.used & set(gone)
        self.cancelled_unknown |= self.cancelled & set(gone)

    @rule()
    def delete(self):
        """Delete the pool, which can be done where nothing was ever given, and no use or cancellation was heard of."""
        reply = self.run(self.client.delete("/v1/pools/p"))
        touched = self.code_of or (self.used | self.cancelled) & set(self.status)
        if self.import_id is None:
            assert reply.status_code == 404
        elif touched:
            assert reply.status_code == 409, reply.text
        else:
            assert reply.status_code == 204, reply.text
            self.status, self.holds, self.import_id = {}, {}, None

    @rule()
    def resolve(self):
        """Imports settle the uses of what they bring in; what is left are cancellations, which change nothing."""
        known = self.cancelled_unknown & set(self.status)
        assert self.run(redemptions.resolve(self.engine)) == len(known)
        self.cancelled_unknown -= known

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
            self._back(id_, "lapsed")

    def _holds(self, id_, code, status):
        return id_ not in self.ended and self.status[code] == status

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
        if self.import_id is None:
            assert reply.status_code == 404
        elif campaign in self.holds or count > self._n("available") - self._kept():
            assert reply.status_code == 409, reply.text
        else:
            assert reply.status_code == 201, reply.text
            self.holds[campaign] = {"id": reply.json()["id"], "size": count, "drawn": 0}

    @rule(campaign=st.sampled_from(["spring", "summer"]))
    def end_hold(self, campaign):
        holds = self.run(self.client.get("/v1/pools/p/holds")).json().get("items", [])
        for hold in holds:
            if hold["campaign_id"] == campaign:
                reply = self.run(self.client.delete(f"/v1/pools/p/holds/{hold['id']}"))
                assert reply.status_code == 204
                del self.holds[campaign]

    @rule(customer=st.sampled_from(["c1", "c2"]))
    def erase(self, customer):
        assert self.run(self.client.delete(f"/v1/customers/{customer}")).status_code == 200

    @invariant()
    def counts_are_those_of_the_model(self):
        if self.status:
            counts = self.run(self.client.get("/v1/pools/p/counts")).json()
            assert counts.pop("held") == min(self._kept(), self._n("available"))
            assert counts.pop("total") == len(self.status)
            assert Counter(counts) == Counter(self.status.values())

    @invariant()
    def holds_are_those_of_the_model(self):
        if self.import_id is not None:
            holds = self.run(self.client.get("/v1/pools/p/holds")).json()
            kept = {hold["campaign_id"]: (hold["count"], hold["drawn"]) for hold in holds["items"]}
            assert kept == {name: (hold["size"], hold["drawn"]) for name, hold in self.holds.items()}
            assert holds["free"] == max(self._n("available") - self._kept(), 0)

    @invariant()
    def assignments_are_those_of_the_model(self):
        told = {row["id"]: row["status"] for row in self._ledger()}
        assert told == {id_: self.ended.get(id_) or self.status[code] for id_, code in self.code_of.items()}

    @invariant()
    def check_finds_nothing(self):
        async def violations():
            async with transaction(self.engine) as connection:
                return await check.violations(connection)

        assert self.run(violations()) == []


def test_any_life_of_a_pool_breaks_no_invariant(settings, monkeypatch):
    # A machine with much else to do is no failure of the model.
    monkeypatch.setattr(database, "CONNECT_SECONDS", 60)
    Life.settings_of_test = settings.model_copy(update={"statement_seconds": 60})
    run_state_machine_as_test(
        Life,
        settings=hypothesis.settings(
            max_examples=max(1, STEPS // STORY),
            stateful_step_count=STORY,
            deadline=None,
            phases=[Phase.generate],  # to shrink such a long story takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
