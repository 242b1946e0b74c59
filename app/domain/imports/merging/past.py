"""What a row says of its code: to whom it was given before, elsewhere, or when it will come."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

import orjson
from pydantic import TypeAdapter, ValidationError

from app.domain.imports.reader import dates, words
from app.domain.imports.reader.marks import BROKEN, LOST, UNSAVED
from app.domain.imports.reader.unmarked import Marks, code_of, is_destroyed
from app.domain.persons.ids import CustomerId
from app.platform.clock import clock
from app.platform.settings import get_settings
from app.schema.texts import CampaignId, clean_code

_GIVEN = uuid.UUID("5b0c1c66-3d0e-5c5f-a7b1-0d9b1f0a7c41")
_customer, _campaign = TypeAdapter[str](CustomerId), TypeAdapter[str](CampaignId)
_DAY = timedelta(days=1)


class RowError(Exception):
    """A row does not become a voucher: the reason of its reject, and the value."""

    def __init__(self, reason: str, value: str) -> None:
        super().__init__(reason)
        self.reason, self.value = reason, value


@dataclass(frozen=True, slots=True)
class Past:
    """The columns that tell of the past of codes, and when they come."""

    customer: int | None = None
    campaign: int | None = None
    assigned: int | None = None
    redeemed: int | None = None
    valid_from: int | None = None
    zone: tzinfo = UTC
    date_format: str | None = None
    now: datetime = field(default_factory=clock.now)
    """What is later has not happened yet."""
    marks: Marks = Marks.ANY
    """What may stand around ids."""

    def of(self, code: str, row: Sequence[str]) -> str | None:
        """Return what a row tells, as COPY takes it; None where the code was neither given nor used, nor comes later.

        A code is given where its customer or the time is told. Where no time is, it is that of its use, or now. The id
        of its assignment follows from code, customer and time: the same row again is the same assignment.

        Raises:
            RowError: a cell holds no id or time, or things have not happened yet, or not in this order.
        """
        customer = self._id(row, self.customer, "customer_id", _customer)
        assigned, _ = self._time(row, self.assigned, "assigned_at")
        redeemed, day_alone = self._time(row, self.redeemed, "redeemed_at")
        if customer is None and assigned is None:
            later = self._later(row) if redeemed is None else None
            nobody = (r"\N",) * 4
            return None if redeemed is later is None else "\t".join((*nobody, _at(redeemed), _at(later)))
        campaign = self._id(row, self.campaign, "campaign_id", _campaign)
        at = assigned or redeemed or self.now
        if redeemed is not None and redeemed < at:
            tolerance = timedelta(seconds=get_settings().clock_tolerance_seconds)
            if at - redeemed > tolerance and not (day_alone and at - redeemed < _DAY):
                raise RowError("invalid_redeemed_at", row[self.redeemed or 0])
            redeemed = at
        told = orjson.dumps([code, customer, assigned and assigned.astimezone(UTC).isoformat()]).decode()
        cells = (str(uuid.uuid5(_GIVEN, told)), _copied(customer), _copied(campaign), at.isoformat())
        return "\t".join((*cells, _at(redeemed), r"\N"))

    def _later(self, row: Sequence[str]) -> datetime | None:
        """Return when the code comes; None where it may come at once."""
        cell = _cell(row, self.valid_from)
        try:
            found = dates.moment(cell, self.zone, self.date_format, end_of_day=False) if cell else self.now
        except ValueError:
            raise RowError("invalid_valid_from", cell) from None
        return found if found > self.now else None

    def _id(self, row: Sequence[str], column: int | None, name: str, checked: TypeAdapter[str]) -> str | None:
        cell = _cell(row, column)
        id_ = code_of(cell, self.marks)
        try:
            if cell.startswith((LOST, BROKEN, UNSAVED)) or is_destroyed(id_, self.marks):
                raise RowError(f"invalid_{name}", cell)
            return checked.validate_python(id_) if id_ else None
        except ValidationError:
            raise RowError(f"invalid_{name}", cell) from None

    def _time(self, row: Sequence[str], column: int | None, name: str) -> tuple[datetime | None, bool]:
        """Return a time, and whether it is a day alone, which begins then."""
        cell = _cell(row, column)
        if not cell:
            return None, False
        try:
            day_alone = dates.is_day_alone(cell, self.date_format)
            found = dates.moment(cell, self.zone, self.date_format, end_of_day=False)
        except ValueError:
            raise RowError(f"invalid_{name}", cell) from None
        if found > self.now + timedelta(seconds=get_settings().clock_tolerance_seconds):
            raise RowError(f"invalid_{name}", cell)
        return min(found, self.now), day_alone


def _cell(row: Sequence[str], column: int | None) -> str:
    """Return what a cell tells; nothing where it says by a word that there is nothing, such as NULL."""
    cell = clean_code(row[column]) if column is not None and column < len(row) else ""
    return "" if words.is_placeholder(cell) else cell


def _at(time: datetime | None) -> str:
    return r"\N" if time is None else time.isoformat()


_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copied(value: str | None) -> str:
    return r"\N" if value is None else value.translate(_ESCAPED)
