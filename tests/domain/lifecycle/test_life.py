"""The life of vouchers by random walk, over HTTP, judged by `vouchers check` and a model in plain Python.

The model knows the state of each code, what became of each assignment and what each hold keeps; every reply that can be
foretold is. `VOUCHERS_TEST_STEPS=20000 pytest -n 0 -m long tests/domain/lifecycle/test_life.py` plays so many steps.
"""

import asyncio
import os
from collections import Counter

import httpx
import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.domain.assignments import cursors
from app.domain.imports import undoing
from app.domain.imports.merging import pipeline
from app.domain.lifecycle import check
from app.domain.redemptions import service as redemptions
from app.domain.vouchers import service as vouchers
from app.platform import connections
from app.platform.database import transaction
from app.platform.engines import create_engine
from app.platform.projects import DEFAULT, of_project
from app.server.application import create_app
from tests.conftest import TABLES
from tests.domain.lifecycle.told import NOBODY, USED, Said, Told
from tests.factories import KEY, add_key

ASSIGN = "/v1/pools/p/assignments"
CODES = 12
STEPS = int(os.environ.get("VOUCHERS_TEST_STEPS", "160"))
STORY = 40
"""Steps of one story."""
CUSTOMERS = st.sampled_from(["c1", "c2"])
NUMBERS = st.sampled_from([0, 1, 2, 0, 1, 2, *range(CODES + 1)])
"""Of codes: some are met again and again, so that they are used, cancelled and used again."""
PLACES = st.integers(0, 999)
"""Of assignments, in the order in which they were made."""
CAMPAIGNS = st.sampled_from([None, "spring", "summer"])


class Life(RuleBasedStateMachine):
    """What may happen to the vouchers of one pool, in any order."""

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
        self.customer_of, self.who_had = {}, {}
        """To whom each assignment was given; None where to nobody, or where that was erased since."""
        self.requests = {}
        """Of each assignment that was asked for with a key: key and body."""
        self.erased = set()
        """Assignments whose customer was erased since."""
        self.sent = {}
        """Of each assignment that a message made or confirmed: the message."""
        self.imports, self.import_of = [], {}
        """Ids of the imports, and of each code the one that brought it."""
        self.pool = False
        """Whether there is a pool."""
        self.told = Told()
        self.events = []
        """What was told: the event, and what is kept of it."""
        self.directs = 0
        self.run_out = set()
        """Codes whose expiry has passed."""
        self.voided = set()
        """Codes that were made void; one of them that is redeemed was used before."""
        self.days, self.ending = None, set()
        """How long the pool's codes hold from handing out, and those that were given while it said so."""
        self.messages = 0

    async def _start(self):
        self.engine = of_project(create_engine(self.settings_of_test), DEFAULT)
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

    def get(self, path, **parameters):
        return self.run(self.client.get(path, params=parameters))

    @rule()
    def import_codes(self):
        """Import all codes: those that the pool does not have come in, and of these the used ones as used."""
        codes = [f"p-{n:06}" for n in range(CODES)]
        new = [code for code in codes if code not in self.status]
        if not new:
            return
        source = {"type": "text", "text": "\n".join(["code", *codes])}
        made = self.post("/v1/pools/p/imports", source=source).json()
        self.run(self._same_draws(made["id"]))
        self.run(asyncio.to_thread(pipeline.run, self.settings_of_test, DEFAULT, made["id"]))
        done = self.get(f"/v1/imports/{made['id']}").json()
        figures = {"status": "succeeded", "rows": CODES, "imported": len(new), "ignored": CODES - len(new)}
        assert {name: done[name] for name in figures} == figures
        self.pool = True
        self.imports.append(made["id"])
        for code in new:
            self.import_of[code] = made["id"]
            self.status[code] = "redeemed" if self.told.import_(code) else "available"

    @rule(campaign=CAMPAIGNS, customer=st.sampled_from([None, "c1", "c2"]), lease=st.booleans())
    def assign(self, campaign, customer, lease):
        body = {"campaign_id": campaign, "customer_id": customer, "lease_seconds": 600 if lease else None}
        key = {"Idempotency-Key": f"k{len(self.requests)}-{len(self.code_of)}"}
        reply = self.run(self.client.post(ASSIGN, json=body, headers=key))
        id_ = self._assigned(reply, campaign, "reserved" if lease else "assigned", customer)
        if id_ is not None:
            self.requests[id_] = (key, body)

    @rule(place=PLACES)
    def ask_again(self, place):
        """Ask again with the same key: the same code, or why not."""
        id_ = self._one(place)
        if id_ not in self.requests:
            return
        key, body = self.requests[id_]
        reply = self.run(self.client.post(ASSIGN, json=body, headers=key))
        status = self.ended.get(id_) or self.status[self.code_of[id_]]
        if id_ in self.erased:
            assert self._problem(reply) == (422, "idempotency-key-reused")
        elif id_ in self.ended:
            assert self._problem(reply) == (409, "assignment-released")
        elif status == "void":
            assert self._problem(reply) == (409, "void")
        else:
            assert (reply.status_code, reply.headers["Idempotency-Replayed"]) == (200, "true")
            told = reply.json()
            assert (told["id"], told["code"], told["status"]) == (id_, self.code_of[id_], status)

    def _problem(self, reply):
        return reply.status_code, reply.json().get("type", "").removeprefix("/problems/")

    async def _same_draws(self, import_id):
        """Have the same codes drawn in each run of a story: it is told again from the same beginning."""
        async with transaction(self.engine) as connection:
            await connection.execute(text("UPDATE import SET seed = 7 WHERE id = :id"), {"id": import_id})
        cursors.CURSORS._by_pool[DEFAULT, "p"] = cursors._Walk(0)

    def _one(self, place):
        """Return an assignment, or None where there is none: a story must not depend on what was answered."""
        ids = list(self.code_of)
        return ids[place % len(ids)] if ids else None

    def _assigned(self, reply, campaign, status, customer):
        """Compare the reply to an assign with what the model says, and note it; return its id, if it got a code."""
        if not self._may_draw(campaign):
            assert reply.status_code == (409 if self.pool else 404), reply.text
            if self.pool:
                assert reply.json()["reason"] == ("held" if self._n("available") else "empty")
            return None
        assert reply.status_code == 201, reply.text
        assert (reply.json()["status"], reply.json()["customer_id"]) == (status, customer)
        assert (reply.json()["expires_at"] is None) == (self.days is None)
        self._drawn(reply.json()["id"], reply.json()["code"], campaign, status, customer)
        return reply.json()["id"]

    def _drawn(self, id_, code, campaign, status, customer):
        assert self.status[code] == "available"
        assert id_ not in self.code_of
        self.status[code] = status
        self.ending |= {code} if self.days else set()
        self.customer_of[id_] = self.who_had[id_] = customer
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
        """Note that an assignment's code went back, to its hold if that is still there; a used one cannot be drawn."""
        code = self.code_of[id_]
        self.status[code] = "expired" if self.told.was_used(code) else "available"
        if self.status[code] == "available":
            self.run_out.discard(code)
        self.ending.discard(code)
        self.ended[id_] = how
        for hold in self.holds.values():
            hold["drawn"] -= hold["id"] == self.hold_of.get(id_)

    @rule(campaign=CAMPAIGNS, reserve=st.booleans())
    def send(self, campaign, reserve):
        """Send a message, with a code that may have been reserved for it."""
        self.messages += 1
        message = {"message_id": f"m{self.messages}", "customer_id": "c1", "campaign_id": campaign}
        if reserve:
            reply = self.post("/v1/pools/p/assignments", **message, lease_seconds=600)
            if self._assigned(reply, campaign, "reserved", "c1") is None:
                return
        possible = reserve or self._may_draw(campaign)
        template = "{{ vouchers['p'].assign_available() }}"
        reply = self._rendered(template=template, channel="email", **message)
        if not possible:
            assert reply.status_code == (409 if self.pool else 404), reply.text
            return
        assert reply.status_code == 200, reply.text
        code = reply.json()["rendered"]
        (row,) = [row for row in self._ledger() if row["message_id"] == message["message_id"]]
        assert (row["code"], row["status"]) == (code, "assigned")
        if reserve:
            assert self.code_of[row["id"]] == code
            self.status[code] = "assigned"
        else:
            self._drawn(row["id"], code, campaign, "assigned", "c1")
        self.sent[row["id"]] = {"template": template, "channel": "email", **message}

    @rule(place=PLACES)
    def send_again(self, place):
        """Send a message again: it shows the same code, or says why not."""
        id_ = self._one(place)
        if id_ not in self.sent:
            return
        reply = self._rendered(**self.sent[id_])
        if id_ in self.erased:
            assert self._problem(reply) == (422, "idempotency-key-reused")
        elif id_ in self.ended:
            assert self._problem(reply) == (409, "assignment-released")
        elif self.status[self.code_of[id_]] == "void":
            assert self._problem(reply) == (409, "void")
        else:
            assert (reply.status_code, reply.json()["rendered"]) == (200, self.code_of[id_])

    @rule(campaign=CAMPAIGNS)
    def count(self, campaign):
        """Ask a template how many codes a campaign may draw."""
        template = "{{ vouchers['p'].count_available() }} {{ vouchers['p'].count_total() }}"
        reply = self._rendered(template=template, channel="email", campaign_id=campaign, mode="preview")
        if not self.pool:
            assert reply.status_code == 404
            return
        own = self.holds.get(campaign, {"size": 0, "drawn": 0})
        available = self._n("available")
        held = min(self._kept(), available)
        free = available - held + min(own["size"] - own["drawn"], held)
        assert (reply.status_code, reply.json()["rendered"]) == (200, f"{free} {len(self.status)}")

    def _rendered(self, **body):
        """Ask again where no process could render in time: nothing was taken then."""
        while (reply := self.post("/v1/render", **body)).status_code == 503:
            pass
        return reply

    def _ledger(self):
        return self.get("/v1/assignments", limit=1000).json()["items"]

    @rule(place=PLACES)
    def confirm(self, place):
        if (id_ := self._one(place)) is None:
            return
        reply = self.post(f"/v1/assignments/{id_}/confirm")
        status = self.status.get(self.code_of[id_])
        if id_ in self.ended or status == "void":
            assert self._problem(reply) == (409, "assignment-released" if id_ in self.ended else "void")
            return
        if status == "reserved" and self.code_of[id_] in self.run_out:
            assert self._problem(reply) == (409, "expired")
            return
        assert reply.status_code == 200, (status, reply.text)
        if status == "reserved":
            self.status[self.code_of[id_]] = "assigned"
        self._tells(reply, id_)

    def _tells(self, reply, id_):
        """Compare what a reply says of an assignment."""
        told, code = reply.json(), self.code_of[id_]
        status = self.ended.get(id_) or self.status[code]
        assert (told["id"], told["code"], told["status"]) == (id_, code, status)
        assert (told["lease_until"] is None) == (status != "reserved")
        assert (told["released_at"] is None) == (id_ not in self.ended)

    @rule(place=PLACES)
    def release(self, place):
        if (id_ := self._one(place)) is None:
            return
        reply = self.post(f"/v1/assignments/{id_}/release")
        code = self.code_of[id_]
        if id_ not in self.ended and (self.status[code] == "void" or self.told.was_used(code)):
            assert self._problem(reply) == (
                409,
                "void" if self.status[code] == "void" else "already-redeemed",
            )
            return
        assert reply.status_code == 200
        if id_ not in self.ended:
            self._back(id_, "released")
        self._tells(reply, id_)

    def _stands(self, code):
        return self._holder(code) is not None

    def _holder(self, code):
        """The assignment of a code that stands."""
        return next((id_ for id_, c in self.code_of.items() if c == code and id_ not in self.ended), None)

    def _judge(self, code):
        """Work out anew what was said of a code, and its state; one that was made void is void without a use."""
        now = self.told.judge(code, self.status[code], self._stands(code))
        self.status[code] = "void" if now == "assigned" and code in self.voided else now

    def _say(self, effect, number, customer, *, late=False, twice=False):
        """Tell of a use or a cancellation, and compare what it comes to."""
        code = f"p-{number:06}"
        event = {
            "event_id": f"e{len(self.events)}",
            "event_type": {"redeem": "purchase", "cancel": "refund"}[effect],
            "customer_id": customer,
            "properties": {"code": code},
        } | ({"timestamp": "2020-01-01T00:00:00Z"} if late else {})
        given_to = None
        if not late and (holder := self._holder(code)) is not None:
            given_to = self.who_had[holder] or NOBODY
        said = Said(len(self.events), effect, customer, late, given_to)
        self.events.append((event, said))
        self.told.of[code].append(said)
        status = self.status.get(code)
        if effect == "redeem" and not late and (code in self.voided or code in self.run_out):
            said.outcome = "void" if code in self.voided else "expired"
        if status is not None:
            self._judge(code)
        items = self.post("/v1/events", events=[event, event] if twice else [event]).json()["items"]
        assert [item["status"] for item in items] == ["accepted", "duplicate"][: 1 + twice]
        assert {item["redemption"] for item in items} == {said.outcome}

    @rule(number=NUMBERS, customer=CUSTOMERS, late=st.booleans(), twice=st.booleans())
    def redeem_by_event(self, number, customer, late, twice):
        self._say("redeem", number, customer, late=late, twice=twice)

    @rule(number=NUMBERS, customer=CUSTOMERS)
    def cancel_by_event(self, number, customer):
        """Take back an order: a code of which no use is left is its customer's again, if it was given to any."""
        self._say("cancel", number, customer)

    @rule(number=NUMBERS, customer=st.sampled_from([None, "c1", "c2"]), keyed=st.booleans())
    def redeem_directly(self, number, customer, keyed):
        """Redeem a code without an event: it is redeemed now, or nothing is stored; again with the key, the same."""
        code = f"p-{number:06}"
        status = self.status.get(code)
        url, key = (
            f"/v1/vouchers/{code}/redemptions",
            {"Idempotency-Key": f"d{self.directs}"} if keyed else {},
        )
        self.directs += 1
        reply = self.run(self.client.post(url, json={"customer_id": customer}, headers=key))
        holder = self._holder(code)
        given_to = None if holder is None else self.who_had[holder] or NOBODY
        said = Said(len(self.events), "redeem", customer, late=False, given_to=given_to)
        if status is None:
            assert self._problem(reply) == (404, "voucher-not-found")
        elif code in self.voided or code in self.run_out:
            assert self._problem(reply) == (409, "void" if code in self.voided else "expired")
        elif any(other.outcome in USED for other in self.told.of[code]) and not self._takes_over(code, said):
            assert self._problem(reply) == (409, "already-redeemed")
        else:
            self.events.append((None, said))
            self.told.of[code].append(said)
            self._judge(code)
            assert (reply.status_code, reply.json()["outcome"]) == (201, said.outcome), reply.text
            if keyed:
                again = self.run(self.client.post(url, json={"customer_id": customer}, headers=key))
                assert (again.status_code, again.json()["id"]) == (200, reply.json()["id"]), again.text

    def _takes_over(self, code, said):
        """Tell whether a use would be the redemption, though others stand: they were not its customer's."""
        redeemed = any(other.outcome == "redeemed" for other in self.told.of[code])
        its = said.customer is None or said.given_to in {NOBODY, said.customer}
        return said.given_to is not None and its and not redeemed

    @rule(campaign=CAMPAIGNS, number=st.integers(0, CODES))
    def assign_this(self, campaign, number):
        """Ask for one code and no other."""
        code = f"p-{number:06}"
        reply = self.post(ASSIGN, campaign_id=campaign, code=code)
        status = self.status.get(code)
        if status is None:
            assert reply.status_code == 404, reply.text
        elif status != "available":
            assert self._problem(reply) == (409, "voucher-not-available")
            assert reply.json()["voucher_status"] == status
        else:
            id_ = self._assigned(reply, campaign, "assigned", None)
            assert id_ is None or reply.json()["code"] == code

    @rule(number=st.integers(0, 1000), change=st.booleans())
    def tell_again(self, number, change):
        """Tell the same event again, or another one under its id: nothing changes."""
        if not self.events:
            return
        event, said = self.events[number % len(self.events)]
        if event is None:  # it was told directly
            return
        event = event | ({"properties": {"code": "another"}} if change else {})
        (item,) = self.post("/v1/events", events=[event]).json()["items"]
        status = "erased" if not said.named else "conflict" if change else "duplicate"
        outcome = said.outcome if status == "duplicate" else None
        assert (item["status"], item["redemption"]) == (status, outcome)

    @rule(number=st.integers(0, 1000))
    def undo(self, number):
        """Take back what is available and no hold needs. What was said of it is of unknown codes."""
        if not self.imports:
            return
        import_id = self.imports[number % len(self.imports)]
        brought = sorted(code for code in self.status if self.import_of[code] == import_id)
        available = [code for code in brought if self.status[code] == "available"]
        n = min(len(available), max(self._n("available") - self._kept(), 0))
        reply = self.post(f"/v1/imports/{import_id}/undo")
        figures = {
            "taken_back": n,
            "kept": len(brought) - n,
            "kept_for_holds": len(available) - n,
        }
        assert reply.status_code == 200, reply.text
        assert {name: reply.json()[name] for name in figures} == figures
        there = {item["code"] for item in self.get("/v1/pools/p/vouchers").json()["items"]}
        gone = self.status.keys() - there
        assert gone <= set(available)
        assert len(gone) == n
        for code in gone:
            del self.status[code]
        self.told.forget_pool(gone)

    @rule()
    def delete(self):
        """Delete the pool, which can be done where nothing was ever given, and no use or cancellation was heard of."""
        reply = self.run(self.client.delete("/v1/pools/p"))
        touched = self.code_of or any(self.told.of[code] for code in self.status)
        if not self.pool:
            assert reply.status_code == 404
        elif touched:
            assert self._problem(reply) == (409, "pool-not-empty")
        else:
            assert reply.status_code == 204, reply.text
            self.status, self.holds, self.imports, self.pool = {}, {}, [], False
            self.run_out, self.voided, self.days = set(), set(), None

    @rule()
    def resolve(self):
        """Imports settle the uses of what they bring in; what is left are cancellations."""
        known = self.told.unsettled(self.status)
        assert self.run(redemptions.resolve(self.engine)) == len(known)
        for code in known:
            self._judge(code)

    @rule(number=st.integers(0, CODES))
    def void(self, number):
        code = f"p-{number:06}"
        status = self.status.get(code)
        reply = self.post(f"/v1/vouchers/{code}/void")
        assert reply.status_code == {None: 404, "redeemed": 409}.get(status, 200)
        if reply.status_code == 200:
            self.status[code] = "void"
            self.voided.add(code)

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
            self.run_out.add(code)

    @rule(place=PLACES)
    def end_for_who_has_it(self, place):
        """Let the time pass that the pool had set for who has a code."""
        code = self.code_of.get(self._one(place))
        if code not in self.ending:
            return

        async def pass_it():
            async with transaction(self.engine) as connection:
                query = text(
                    "UPDATE voucher SET expires_at = now() - make_interval(secs => :tolerance) WHERE code = :code"
                )
                tolerance = self.settings_of_test.clock_tolerance_seconds
                await connection.execute(query, {"code": code, "tolerance": tolerance})

        self.run(pass_it())
        self.run_out.add(code)

    @rule(days=st.sampled_from([None, 14]))
    def end_after(self, days):
        """Have codes end so many days after they are handed out; what is handed out stays as it is."""
        reply = self.run(self.client.patch("/v1/pools/p", json={"expires_after_days": days}))
        assert reply.status_code == (200 if self.pool else 404), reply.text
        self.days = days if self.pool else None

    @rule(campaign=st.sampled_from(["spring", "summer"]), count=st.integers(1, 4))
    def hold(self, campaign, count):
        reply = self.post("/v1/pools/p/holds", campaign_id=campaign, count=count)
        if not self.pool:
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

    @rule(customer=CUSTOMERS)
    def erase(self, customer):
        """Erase a person: the name goes, and nothing else changes."""
        reply = self.run(self.client.delete(f"/v1/customers/{customer}"))
        given = {id_ for id_, who in self.customer_of.items() if who == customer}
        said = [said for _, said in self.events if said.customer == customer and said.named]
        assert reply.status_code == 200
        told = reply.json()
        assert (told["assignments"], told["redemptions"]) == (len(given), len(said))
        self.customer_of |= dict.fromkeys(given)
        self.erased |= given
        for each in said:
            each.named = False

    @invariant()
    def counts_are_those_of_the_model(self):
        if self.pool:
            counts = self.get("/v1/pools/p/counts").json()
            assert counts.pop("held") == min(self._kept(), self._n("available"))
            assert counts.pop("total") == len(self.status)
            assert Counter(counts) == Counter(self.status.values())

    @invariant()
    def holds_are_those_of_the_model(self):
        if self.pool:
            holds = self.get("/v1/pools/p/holds").json()
            kept = {hold["campaign_id"]: (hold["count"], hold["drawn"]) for hold in holds["items"]}
            assert kept == {name: (hold["size"], hold["drawn"]) for name, hold in self.holds.items()}
            assert holds["free"] == max(self._n("available") - self._kept(), 0)

    @invariant()
    def assignments_are_those_of_the_model(self):
        told = {row["id"]: (row["code"], row["status"], row["customer_id"]) for row in self._ledger()}
        assert told == {
            id_: (code, self.ended.get(id_) or self.status[code], self.customer_of[id_])
            for id_, code in self.code_of.items()
        }

    @invariant()
    def uses_are_those_of_the_model(self):
        async def uses():
            async with transaction(self.engine) as connection:
                query = "SELECT code, effect, outcome, count(*) FROM redemption GROUP BY 1, 2, 3"
                return {tuple(row[:3]): row[3] for row in await connection.execute(text(query))}

        assert self.run(uses()) == self.told.outcomes()

    @invariant()
    def expiries_are_those_of_the_model(self):
        """No code of the model ends by itself, but for those that it has let run out."""

        async def ending():
            async with transaction(self.engine) as connection:
                query = text("SELECT code FROM voucher WHERE expires_at IS NOT NULL")
                return set((await connection.execute(query)).scalars())

        assert self.run(ending()) - self.run_out == self.ending - self.run_out

    @invariant()
    def check_finds_nothing(self):
        async def violations():
            async with transaction(self.engine) as connection:
                return await check.violations(connection)

        assert self.run(violations()) == []


@pytest.mark.parametrize("steps", [STEPS // 2, pytest.param(STEPS, marks=pytest.mark.long)])
def test_any_life_of_a_pool_breaks_no_invariant(settings, monkeypatch, steps):
    # A machine with much else to do is no failure of the model.
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 60)
    monkeypatch.setattr(undoing, "AT_A_TIME", 5)
    Life.settings_of_test = settings.model_copy(update={"statement_seconds": 60})
    run_state_machine_as_test(
        Life,
        settings=hypothesis.settings(
            max_examples=max(1, steps // STORY),
            stateful_step_count=STORY,
            deadline=None,
            phases=[Phase.generate],  # to shrink such a long story takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
