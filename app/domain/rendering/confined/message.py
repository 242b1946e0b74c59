"""One message while it is rendered: what its calls are answered, part by part."""

import random
from collections import defaultdict
from collections.abc import Mapping

from jinja2 import TemplateRuntimeError

from app.domain.rendering.confined.errors import LimitExceeded, RenderAborted
from app.domain.rendering.confined.names.missing import MissingProperty
from app.domain.rendering.confined.places import Places
from app.domain.rendering.confined.protocol import Given, Item, Limit, PoolSupply, Seen
from app.domain.rendering.confined.supply import Code, Supply, Use
from app.domain.rendering.confined.variables import FIXED, LENIENT, path_of

PLACEHOLDER = "PLACEHOLDER"
MAX_NAMES = 100
"""Pools, and aggregates, that a message may ask for, if it may not take more vouchers than that."""


NOTHING: PoolSupply = {
    "codes": (),
    "valid_for": 0,
    "short": None,
    "looked_up": -1,
    "counts": None,
    "similar": None,
    "limits": None,
}
"""Of a pool that was not supplied."""


class Message:
    """One message while it is rendered."""

    def __init__(
        self,
        supply: Supply,
        item: Item,
        variables: dict[str, object],
        *,
        strict: bool = False,
    ) -> None:
        self._supply = supply
        self._given: Given = item.get("given") or {}
        self._is_new = item["new"]
        self._aggregates: Mapping[str, object] = item.get("aggregates") or {}
        self._before_seen: Seen = item.get("seen") or {}
        self._new_seen: Seen = {}
        self._places = Places(lambda: self._seen().get("places", {}))
        self._seed = f"{item['message']}\n{item['customer_id']}"
        self._chance: random.Random | None = None
        self._foreign: set[int] | None = None
        self.part: str | None = None
        self.uses: dict[tuple[str, int], Use] = {}
        self.strict = strict
        self.undefined: dict[str, None] = {}
        self._variables = variables
        self.drawn: dict[str, int] = defaultdict(int)
        self._customer_id = item["customer_id"]
        self._limits_before: dict[str, Limit] = {}
        self._asked: dict[str, set[str]] = defaultdict(set)
        """The names of the pools, and of the aggregates, that were asked for."""
        self._limited: str | None = None
        """The pool whose rule gives this customer nothing more."""

    def begin(self, part: str | None) -> None:
        """Begin a part of the message."""
        self.part = part
        self._places.begin(part)
        self._chance = None

    @property
    def chance(self) -> random.Random:
        """What `random` and `shuffle` draw from: seeded by message and part, so that a retry says the same."""
        if self._chance is None:
            seed = self._seed if self.part is None else f"{self._seed}\n{self.part}"
            self._chance = random.Random(seed)  # noqa: S311  (no secret)
        return self._chance

    def owns(self, value: object) -> bool:
        """Return whether a list or mapping is the template's own, and not of the data that messages share."""
        if self._foreign is None:
            self._foreign = containers([*self._variables.values(), self._aggregates])
        return id(value) not in self._foreign

    def assign(self, chain: tuple[str, ...], default: str | None, *, cached: bool, valid_for: int = 0) -> str:
        """Return the code for one call: what it was given before, or a new one from the first pool that has some.

        An uncached call takes a number in each pool that it gets to; on a retry it finds its own by that.
        """
        places = [(pool, self._number(pool, cached=cached)) for pool in chain]
        for pool, _ in places:
            self._known(pool)
        # Under a key of its own: it stands for the whole chain.
        stand_in = (" ".join(("default", *chain)), places[0][1])
        if default is not None and isinstance(shown := self._before(*stand_in), str):
            self._count_turns(places, None, cached=cached)
            return self._use(Use(None, stand_in[0], shown, stand_in[1], fresh=False))
        use, void = self._from_chain(places, valid_for)
        if use is None and void is not None and not cached:
            use = self._replacement(*void, valid_for)
        if use is not None:
            self._count_turns(places, use.pool, cached=cached)
            return self._use(use)
        if default is not None:
            self._count_turns(places, None, cached=cached)
            fresh = not self._supply.preview
            return self._use(self.uses.get(stand_in) or Use(None, stand_in[0], default, stand_in[1], fresh))
        if void is not None:
            raise RenderAborted("refused", "", pool=void[0], occurrence=void[1])
        if self._limited is not None:
            raise RenderAborted("customer-limit", "", pool=self._limited)
        raise RenderAborted("pool-exhausted", "", pool=chain[0])

    def _from_chain(
        self, places: list[tuple[str, int]], valid_for: int
    ) -> tuple[Use | None, tuple[str, int] | None]:
        """Return the code of the first pool that has one, and the place whose code was voided.

        A pool that was passed over when the message was first made, as it had run out, is passed over again.
        """
        void = None
        for index, (pool, number) in enumerate(places):
            if index + 1 < len(places) and self._passed(pool, number):
                continue
            before = self._before(pool, number)
            if isinstance(before, str):
                return Use(pool, pool, before, number, fresh=False), void
            if before is False:
                void = void or (pool, number)
                continue
            if (use := self._taken(pool, pool, number, valid_for)) is not None:
                return use, void
            if index + 1 < len(places) and not self._supply.preview:
                self._note_passed(pool, number)
        return None, void

    def _replacement(self, pool: str, number: int, valid_for: int) -> Use | None:
        """Return a new code for an uncached one that was voided; its place is kept under a key of its own."""
        key = "again " + pool
        while (before := self._before(key, number)) is False:
            key = "again " + key
        if isinstance(before, str):
            return Use(pool, key, before, number, fresh=False)
        return self._taken(pool, key, number, valid_for)

    def _taken(self, pool: str, key: str, number: int, valid_for: int) -> Use | None:
        """Return what this rendering took at a place, or takes now; None where nothing is left."""
        if (use := self.uses.get((key, number))) is not None:
            return use
        limit = self._limit(pool)
        if limit is not None and limit["left"] <= 0:
            if limit["refuse"]:
                self._limited = pool
                return None
            if limit["code"] is not None:
                return Use(pool, key, limit["code"], number, fresh=False)
        code = self._draw(pool, valid_for)
        if code is not None and limit is not None:
            limit["left"], limit["code"] = limit["left"] - 1, code
        return None if code is None else Use(pool, key, code, number, fresh=not self._supply.preview)

    def _limit(self, pool: str) -> Limit | None:
        """Return what the pool's rule leaves to the customer of this message; None where it has none."""
        limits = self._supply.pools.get(pool, NOTHING)["limits"]
        limit = limits.get(self._customer_id) if limits and self._customer_id is not None else None
        if limit is not None:
            self._limits_before.setdefault(pool, limit.copy())
        return limit

    def _note_passed(self, pool: str, number: int) -> None:
        passed = self._new_seen.setdefault("passed", [])
        if [pool, number] not in passed:
            passed.append([pool, number])

    def _passed(self, pool: str, number: int) -> bool:
        return [pool, number] in self._seen().get("passed", ())

    def _seen(self) -> Seen:
        """Return what the message saw when it was made before."""
        if not self._is_new and not self._supply.preview:
            self._supply.needs.seen = True
            if not self._supply.seen_known:
                self._supply.needs.missing = True
        if self._before_seen.get("erased"):
            raise RenderAborted("erased", "")
        return self._before_seen

    def new_seen(self) -> Seen | None:
        """Return all that the message saw, where some of it is to be stored."""
        if self._supply.preview or not (self._new_seen or self._places.new):
            return None
        counts = self._before_seen.get("counts", {}) | self._new_seen.get("counts", {})
        passed = [*self._before_seen.get("passed", ()), *self._new_seen.get("passed", ())]
        for pool, base in self._new_seen.get("counts", {}).items():
            base["old"] = [use.occurrence for use in self.uses.values() if use.pool == pool and not use.fresh]
        seen: Seen = {"counts": counts, "passed": passed}
        for known in (self._before_seen, self._new_seen):
            if "time" in known:
                seen["time"] = known["time"]
        if self._places.new or "places" in self._before_seen:
            seen["places"] = self._places.all()
        return None if seen == self._before_seen else seen

    def count(self, pool: str, which: str) -> int:
        """Return a count as of this message: what others drew before it and what it drew itself is taken off."""
        before = self._seen().get("counts", {}).get(pool) or self._new_seen.get("counts", {}).get(pool)
        if before is None:
            self._known(pool)
            self._supply.needs.counts.add(pool)
            counts = self._supply.pools.get(pool, NOTHING)["counts"]
            if counts is None:
                self._supply.needs.missing = True
                return 0
            others = self._supply.used[pool] - self.drawn[pool]
            before = {"available": counts["available"] - others, "total": counts["total"], "old": []}
            if not self._supply.preview:
                self._new_seen.setdefault("counts", {})[pool] = before
        if which != "available" or self._supply.preview:
            return int(before["available" if which == "available" else "total"])
        replays = pool in self._before_seen.get("counts", {})
        own = sum(
            use.pool == pool and (use.fresh or (replays and use.occurrence not in before["old"]))
            for use in self.uses.values()
        )
        return max(int(before["available"]) - own, 0)

    def aggregate(self, name: str) -> object:
        """Return the customer's value of an aggregate."""
        self._ask("aggregates", name)
        self._supply.needs.aggregates.add(name)
        known = self._supply.aggregates.get(name)
        if known is None:
            self._supply.needs.missing = True
            return PLACEHOLDER
        if "similar" in known:
            hint = f" Nearest: {', '.join(known['similar'])}." if known["similar"] else ""
            raise TemplateRuntimeError(f"There is no aggregate named {name!r}.{hint}")
        return self._aggregates.get(name)

    def is_fixed(self, owner: object) -> bool:
        """Return whether all that this mapping may hold is known, so that the rest is a mistake."""
        return any(owner is self._variables.get(name) for name in FIXED)

    def missing(self, owner: object, name: str) -> MissingProperty:
        """Return what stands for a property that is not set, and note it."""
        path = f"{self._place_of(owner)}{name}"
        self._note(path, "")
        return MissingProperty(path, self._note)

    def _place_of(self, owner: object) -> str:
        if not isinstance(owner, dict):
            return "aggregates."
        roots = {name: value for name in LENIENT if isinstance(value := self._variables.get(name), dict)}
        return path_of(roots, owner)

    def _note(self, path: str, instead: str) -> None:
        self.undefined.pop(instead, None)
        self.undefined[path] = None

    def read_time(self, now: float) -> float:
        """Return the time that the message was first made at."""
        self._new_seen["time"] = self._seen().get("time", now)
        return float(self._new_seen["time"])

    def take_back(self) -> None:
        """Leave what was drawn to the next message: this one was not made."""
        for pool, n in self.drawn.items():
            self._supply.used[pool] -= n
        for pool, before in self._limits_before.items():
            limits = self._supply.pools[pool]["limits"]
            if limits is not None and self._customer_id is not None:
                limits[self._customer_id].update(before)

    def _number(self, pool: str, *, cached: bool) -> int:
        return 0 if cached or self._supply.preview else self._places.next_of(pool)

    def _count_turns(self, places: list[tuple[str, int]], until: str | None, *, cached: bool) -> None:
        if cached or self._supply.preview:
            return
        for pool, place in places:
            self._places.take(pool, place)
            if pool == until:
                break

    def _known(self, pool: str) -> None:
        """Ask for the pool, also for one that is only a fallback; raise where there is no such pool."""
        self._ask("pools", pool)
        if pool not in self._supply.pools:
            self._supply.needs.missing = True
            self._supply.needs.codes[pool] += 0
        elif (similar := self._supply.pools[pool]["similar"]) is not None:
            raise RenderAborted("pool-not-found", "", pool=pool, similar=similar)

    def _ask(self, kind: str, name: str) -> None:
        """Count the names of a kind that the message asks for: each is looked up in the database."""
        asked = self._asked[kind]
        asked.add(name)
        most = max(MAX_NAMES, self._supply.max_vouchers)
        if len(asked) > most:
            raise LimitExceeded(f"A message asks for at most {most} {kind}.")

    def _before(self, key: str, number: int) -> str | bool | None:
        """Return the code that this place of the message was given before; false where it was voided."""
        if self._is_new:
            return None
        highest = self._supply.needs.occurrences
        highest[key] = max(highest.get(key, 0), number)
        looked_up = self._supply.pools.get(key, NOTHING)["looked_up"]
        if number > looked_up:
            self._supply.needs.missing = True
            return None
        given = self._given.get(key, {})
        if str(number) not in given:
            return None
        code = given[str(number)]
        if code is None:
            raise RenderAborted("refused", "", pool=key, occurrence=number)
        return code

    def _draw(self, pool: str, valid_for: int) -> str | None:
        """Return a code that is free, or None where there is none."""
        state = self._supply.pools.get(pool, NOTHING)
        if valid_for > state["valid_for"]:
            state = NOTHING
            self._supply.needs.valid_for[pool] = max(valid_for, self._supply.needs.valid_for.get(pool, 0))
            self._supply.needs.missing = True
        elif valid_for:
            self._supply.needs.valid_for[pool] = state["valid_for"]
        place = self._supply.used[pool]
        if place >= len(state["codes"]):
            if state["short"] == "pool-exhausted":
                return None
            if state["short"] is not None:
                raise RenderAborted(state["short"], "", pool=pool)
            self._supply.needs.missing = True
        self._supply.needs.codes[pool] += 1
        if self._supply.preview:
            return state["codes"][0] if state["codes"] else PLACEHOLDER
        self._supply.used[pool] += 1
        self.drawn[pool] += 1
        return state["codes"][place] if place < len(state["codes"]) else PLACEHOLDER

    def _use(self, use: Use) -> str:
        self.uses.setdefault((use.key, use.occurrence), use)
        if len(self.uses) > self._supply.max_vouchers:
            raise LimitExceeded(f"A message takes at most {self._supply.max_vouchers} vouchers.")
        about = self._supply.about
        return use.code if about is None else Code(use.code, about.get(use.code, {}))


def containers(values: list[object]) -> set[int]:
    """Return the identities of all lists and mappings in these values, as deep as they go."""
    found: set[int] = set()
    waiting = values
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)) and id(value) not in found:
            found.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return found
