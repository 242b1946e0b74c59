"""What a message says: rows of the ledger and of the changes as events, in one order.

It is made a thousand at a time beside assigns that run at full speed, so times and ids are left to the writer of JSON.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict

from app.domain.webhooks.queries import Place
from app.platform.clock import clock
from app.platform.records import AnyRow


class Event(TypedDict):
    """Something that happened, as a webhook tells it."""

    id: str
    type: str
    timestamp: datetime
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events in order, and where a webhook is once it was told of them."""

    events: list[Event]
    end: Place

    @property
    def first_at(self) -> datetime | None:
        """When the first of them happened."""
        return self.events[0]["timestamp"] if self.events else None

    @property
    def last_at(self) -> datetime | None:
        """When the last of them happened."""
        return self.events[-1]["timestamp"] if self.events else None


def merged(given: Sequence[AnyRow], changed: Sequence[AnyRow], after: Place, most: int) -> Batch:
    """Return the first `most` of both by time; at one time what was handed out comes first."""
    rows = [(row.at, 0, row) for row in given] + [(row.at, 1, row) for row in changed]
    if changed:
        rows.sort(key=lambda each: each[:2])
    del rows[most:]
    end = after
    last_given = next((row for _, rank, row in reversed(rows) if rank == 0), None)
    last_change = next((row for _, rank, row in reversed(rows) if rank == 1), None)
    if last_given is not None:
        end = replace(end, ledger_at=last_given.at, ledger_id=last_given.id)
    if last_change is not None:
        end = replace(end, change_at=last_change.at, change_id=last_change.id)
    return Batch([_changed(row) if rank else _given(row) for _, rank, row in rows], end)


def _given(row: AnyRow | Sequence[Any]) -> Event:  # type: ignore[explicit-any]  # a row, by place
    id_, at, type_, pool, code, assignment_id, customer_id, campaign_id, message_id, test, expires_at = row
    return {
        "id": f"assignment-{id_}",
        "type": type_,
        "timestamp": at,
        "data": {
            "pool": pool,
            "code": code,
            "assignment_id": assignment_id,
            "customer_id": customer_id,
            "campaign_id": campaign_id,
            "message_id": message_id,
            "test": test,
            "expires_at": expires_at,
        },
    }


def _changed(row: AnyRow) -> Event:
    *_, after, used_at, lapsed, about = row
    if about is not None:
        further = {name: value for name, value in about.items() if name != "type"}
        return {
            "id": f"change-{row.id}",
            "type": row.type,
            "timestamp": row.at,
            "data": {"pool": row.pool, **further},
        }
    event = _given(row[:-4])
    event["id"] = f"change-{row.id}"
    event["data"]["test"] = bool(row.test)
    if row.type == "voucher.redeemed":
        event["data"]["redeemed_at"] = used_at
    if row.type == "voucher.reinstated":
        event["data"]["status"] = str(after)
    if row.type == "voucher.released":
        event["data"]["lapsed"] = bool(lapsed)
    return event


def message(type_: str, events: Iterable[Event]) -> dict[str, object]:
    """Return what is sent."""
    return {"type": type_, "timestamp": clock.now(), "data": {"events": list(events)}}
