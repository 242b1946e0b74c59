"""What templates asked for the last time: a hint, so that a known template is rendered once and not twice."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.rendering.confined.protocol import NeedsAsJson
from app.domain.rendering.message_vouchers import MessageVouchers

_KEPT = 1000
_Key = tuple[int, bytes]
NOTHING: NeedsAsJson = {"codes": {}, "occurrences": {}, "counts": [], "aggregates": [], "seen": False}


@dataclass(frozen=True, slots=True)
class Demand:
    """What the messages of a template needed the last time, and how many codes of each pool one of them takes."""

    needs: NeedsAsJson
    each: Mapping[str, float]


class Demands:
    """By project and template. Losing one costs one more rendering."""

    def __init__(self) -> None:
        self._by_template: OrderedDict[_Key, Demand] = OrderedDict()

    def each(self, project: int, template: str) -> Mapping[str, float] | None:
        """Return how many codes of each pool a message takes; None where that is not known."""
        demand = self._by_template.get(_key(project, template))
        return None if demand is None else demand.each

    def one_code(self, project: int, template: str) -> str | None:
        """Return the pool of which each message takes one code, where that is all that it needs."""
        demand = self._by_template.get(_key(project, template))
        if demand is None or list(demand.each.values()) != [1.0]:
            return None
        needs = demand.needs
        if needs["counts"] or needs["aggregates"] or needs.get("valid_for"):
            return None
        return next(iter(demand.each))

    async def predict(
        self, project: int, template: str, vouchers: MessageVouchers, messages: int
    ) -> NeedsAsJson:
        """Return what so many messages will probably need, less what they were given before."""
        demand = self._by_template.get(_key(project, template))
        if demand is None:
            return NOTHING
        await vouchers.fetch({**NOTHING, "occurrences": demand.needs["occurrences"]})
        codes = {
            pool: max(0, math.ceil(each * messages) - vouchers.given_of(pool))
            for pool, each in demand.each.items()
        }
        return {**demand.needs, "codes": codes}

    def record(self, project: int, template: str, needs: NeedsAsJson, messages: int) -> None:
        """Note what so many messages needed."""
        key = _key(project, template)
        known = self._by_template.pop(key, None)
        before = {} if known is None else known.each
        each = {pool: max(n / messages, before.get(pool, 0)) for pool, n in needs["codes"].items()}
        self._by_template[key] = Demand(needs, {**before, **each})
        if len(self._by_template) > _KEPT:
            self._by_template.popitem(last=False)


def _key(project: int, template: str) -> _Key:
    return project, hashlib.sha256(template.encode(errors="surrogatepass")).digest()


DEMANDS = Demands()
