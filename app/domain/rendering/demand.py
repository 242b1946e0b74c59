"""What templates asked for the last time: a hint, so that a known template is rendered once and not twice."""

import hashlib
import math
from collections import OrderedDict
from typing import Any

from app.domain.rendering.message_vouchers import MessageVouchers

_KEPT = 1000
NOTHING: dict[str, Any] = {"codes": {}, "occurrences": {}, "counts": [], "aggregates": [], "seen": False}


class Demands:
    """By template. Losing one costs one more rendering."""

    def __init__(self) -> None:
        self._by_template: OrderedDict[bytes, dict[str, Any]] = OrderedDict()

    def each(self, template: str) -> dict[str, float] | None:
        """Return how many codes of each pool a message takes; None where that is not known."""
        demand = self._by_template.get(_digest(template))
        return None if demand is None else demand["each"]

    async def predict(self, template: str, vouchers: MessageVouchers, messages: int) -> dict[str, Any]:
        """Return what so many messages will probably need, less what they were given before."""
        demand = self._by_template.get(_digest(template))
        if demand is None:
            return NOTHING
        await vouchers.fetch(NOTHING | {"occurrences": demand["occurrences"]})
        codes = {
            pool: max(0, math.ceil(each * messages) - vouchers.given_of(pool))
            for pool, each in demand["each"].items()
        }
        return demand | {"codes": codes}

    def record(self, template: str, needs: dict[str, Any], messages: int) -> None:
        """Note what so many messages needed."""
        key = _digest(template)
        before = self._by_template.pop(key, {"each": {}})["each"]
        each = {pool: max(n / messages, before.get(pool, 0)) for pool, n in needs["codes"].items()}
        self._by_template[key] = needs | {"each": before | each}
        if len(self._by_template) > _KEPT:
            self._by_template.popitem(last=False)


def _digest(template: str) -> bytes:
    return hashlib.sha256(template.encode(errors="surrogatepass")).digest()


DEMANDS = Demands()
