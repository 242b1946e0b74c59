"""What a message says: rows of the ledger and of the changes as events, in one order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.domain.webhooks.queries import Place
from app.platform.database import AnyRow


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events in order, and where a webhook is once it was told of them."""

    events: list[dict[str, object]]
    end: Place

    @property
    def first_at(self) -> datetime | None:
        """When the first of them happened."""
        return datetime.fromisoformat(str(self.events[0]["timestamp"])) if self.events else None

    @property
    def last_at(self) -> datetime | None:
        """When the last of them happened."""
        return datetime.fromisoformat(str(self.events[-1]["timestamp"])) if self.events else None


def merged(given: Sequence[AnyRow], changed: Sequence[AnyRow], after: Place, most: int) -> Batch:
    """Return the first `most` of both by time; at one time what was handed out comes first."""
    rows = sorted(
        [*((row.at, 0, row) for row in given), *((row.at, 1, row) for row in changed)],
        key=lambda each: each[:2],
    )[:most]
    end = after
    for _, rank, row in rows:
        end = (
            replace(end, change_at=row.at, change_id=row.id)
            if rank
            else replace(end, ledger_at=row.at, ledger_id=row.id)
        )
    return Batch([_event(row, change=bool(rank)) for _, rank, row in rows], end)


def _event(row: AnyRow, *, change: bool) -> dict[str, object]:
    return {
        "id": f"change-{row.id}" if change else f"assignment-{row.id}",
        "type": row.type,
        "timestamp": _time(row.at),
        "data": _about(row) if change and row.about is not None else _voucher(row, change=change),
    }


def _about(row: AnyRow) -> dict[str, object]:
    return {"pool": row.pool, **{name: value for name, value in row.about.items() if name != "type"}}


def _voucher(row: AnyRow, *, change: bool) -> dict[str, object]:
    data = {
        "pool": row.pool,
        "code": row.code,
        "assignment_id": row.assignment_id and str(row.assignment_id),
        "customer_id": row.customer_id,
        "campaign_id": row.campaign_id,
        "message_id": row.message_id,
        "test": bool(row.test),
        "expires_at": _time(row.expires_at),
    }
    if change and row.type == "voucher.redeemed":
        data["redeemed_at"] = _time(row.used_at)
    if change and row.type == "voucher.released":
        data["lapsed"] = bool(row.lapsed)
    return data


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def message(type_: str, events: Iterable[dict[str, object]]) -> dict[str, object]:
    """Return what is sent."""
    return {"type": type_, "timestamp": _time(datetime.now(UTC)), "data": {"events": list(events)}}
