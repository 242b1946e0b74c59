"""The names that a message gives to its templates, besides vouchers and aggregates.

After Bloomreach's *Personalization using Jinja*. A name that no part reads is left out.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from app.domain.rendering.confined.protocol import Item, Job

FIXED = ("campaign", "project", "scenario", "action", "banner", "experiment", "tag")
"""What these may hold is known, so that the rest is a mistake."""
LENIENT = ("customer", "event", "context", "webhook", "params")
_FROM_CONTEXT = ("event", "webhook", "params", "project", "scenario", "action", "banner", "experiment", "tag")
MAX_SEARCHED = 100


class Variables:
    """Of a job; `names` are those that its templates read."""

    def __init__(self, job: Job, names: AbstractSet[str]) -> None:
        self._campaign_id = job["campaign_id"]
        self._channel = job["channel"]
        self._context = job["context"]
        self._names = names
        self._shared = self._of_context(self._context)

    def of(self, item: Item) -> dict[str, object]:
        """Return what one message sees."""
        names, own = self._names, item.get("context")
        context = {**self._context, **own} if own else self._context
        seen = self._of_context(context) if own else self._shared.copy()
        customer_id = item["customer_id"]
        if "customer" in names:
            customer = item.get("customer") or {}
            if customer_id is not None:
                customer["id"] = customer_id
            seen["customer"] = customer
        if "customer_ids" in names:
            seen["customer_ids"] = {**_mapping(context.get("customer_ids")), "registered": customer_id}
        if "campaign" in names:
            seen["campaign"] = {
                **_mapping(context.get("campaign")),
                "id": self._campaign_id,
                "channel": self._channel,
                "message_id": item["message"],
            }
        return seen

    def _of_context(self, context: dict[str, object]) -> dict[str, object]:
        seen: dict[str, object] = {
            name: _mapping(context.get(name)) for name in _FROM_CONTEXT if name in self._names
        }
        if "context" in self._names:
            seen["context"] = context
        return seen


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def path_of(roots: Mapping[str, Mapping[str, object]], owner: object) -> str:
    """Return where a mapping stands in the data, with a dot; empty where it is not found."""
    waiting = [(f"{name}.", value) for name, value in roots.items()]
    for path, value in waiting:
        if value is owner:
            return path
        if len(waiting) < MAX_SEARCHED:
            waiting += [(f"{path}{key}.", inner) for key, inner in value.items() if isinstance(inner, dict)]
    return ""
