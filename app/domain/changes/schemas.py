"""Changes of many vouchers on the wire."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Self, TypedDict

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from app.domain.lifecycle.many import Action
from app.domain.persons.ids import CustomerId
from app.schema.base import VoucherStatus
from app.schema.inventory import MAX_CODE_LENGTH
from app.schema.names import nfc
from app.schema.texts import NO_FLAG, CampaignId, Flag, Identifier, Input, Note, clean_code
from app.schema.times import Time

MAX_CODES = 10_000
MAX_CUSTOMERS = 1000
MAX_MOVED = 2**31 - 1

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Code = Annotated[
    str,
    AfterValidator(clean_code),
    StringConstraints(min_length=1, max_length=MAX_CODE_LENGTH, pattern=r"^[^\x00]*$"),
]


class BulkFilter(Input):
    """Which vouchers. All that is said must be true of one; who has a code is the assignment that stands."""

    pool: Annotated[Identifier, AfterValidator(nfc)] | None = Field(
        default=None, description="Only those of this pool"
    )
    campaign_id: CampaignId | None = Field(default=None, description="Only those given in this campaign")
    import_id: uuid.UUID | None = Field(default=None, description="Only those that this import brought")
    status: VoucherStatus | None = Field(default=None, description="Only those in this state")
    test: StrictBool | None = Field(
        default=None, description="Only those of test sends (true) or of others (false)"
    )
    customer_ids: Annotated[list[CustomerId], Field(min_length=1, max_length=MAX_CUSTOMERS)] | None = Field(
        default=None, description="Given to one of these customers; up to 1,000"
    )
    codes: Annotated[list[Code], Field(min_length=1, max_length=MAX_CODES)] | None = Field(
        default=None, description="These codes, up to 10,000; send more as a file"
    )

    @property
    def is_bound(self) -> bool:
        """Tell whether it says more than a state: nobody changes all there is by a slip."""
        return any(
            value is not None
            for value in (self.pool, self.campaign_id, self.import_id, self.customer_ids, self.codes)
        )


class _Change(Input):
    action: Action = Field(
        description="`void`: take out · `release`: make available again what was given and not used ·"
        " `reinstate`: take a void back · `set_expiry`: move `expires_at` ·"
        " `move`: to another pool, of what is available"
    )
    expires_at: Time | None = Field(
        default=None,
        description="For `set_expiry`: the new expiry; null: none. A later one revives what expired",
    )
    to: Annotated[Identifier, AfterValidator(nfc)] | None = Field(
        default=None, description="For `move`: the pool to which the codes move"
    )
    count: Annotated[int, Field(ge=1, le=MAX_MOVED), NO_FLAG] | None = Field(
        default=None, description="For `move`: at most so many; all, if left out"
    )
    reason: Note | None = Field(
        default=None,
        description="Why; kept in the history of each code and in the audit. Name no person in it",
    )

    @model_validator(mode="after")
    def _has_its_expiry(self) -> Self:
        given = "expires_at" in self.model_fields_set
        if self.action == "set_expiry" and not given:
            raise ValueError("set_expiry needs expires_at: a time, or null for none")
        if self.action != "set_expiry" and self.expires_at is not None:
            raise ValueError(f"{self.action} takes no expires_at")
        if self.action == "move" and self.to is None:
            raise ValueError("move needs to: the pool to which the codes move")
        if self.action != "move" and (self.to is not None or self.count is not None):
            raise ValueError(f"{self.action} takes neither to nor count")
        return self


UNBOUND = (
    "a filter names at least one of pool, campaign_id, import_id, customer_ids and codes:"
    " without them it would be every voucher there is"
)


class BulkChangeCreate(_Change):
    """A change of many vouchers."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "action": "void",
                    "filter": {"campaign_id": "spring", "status": "assigned"},
                    "reason": "sent to the wrong list",
                    "dry_run": True,
                }
            ]
        }
    )

    filter: BulkFilter = Field(description="Which vouchers")
    dry_run: StrictBool = Field(default=False, description="Report what would be changed, and change nothing")

    @model_validator(mode="after")
    def _is_bound(self) -> Self:
        if not self.filter.is_bound:
            raise ValueError(UNBOUND)
        return self


def _parsed(value: object) -> object:
    """Return what a field of a form says in JSON."""
    if not isinstance(value, str):
        return value
    try:
        parsed: object = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from error
    return parsed


def _none(value: object) -> object:
    """Return None for the word that says so in a form."""
    return None if value == "null" else value


class BulkChangeForm(_Change):
    """What stands beside a file of codes."""

    expires_at: Annotated[Time | None, BeforeValidator(_none)] = Field(
        default=None, description="For `set_expiry`: the new expiry; `null`: none"
    )
    filter: Annotated[BulkFilter, BeforeValidator(_parsed)] = Field(
        default_factory=BulkFilter,
        description="Further conditions on the codes, as JSON without `codes`",
    )
    dry_run: Flag = Field(default=False, description="Report what would be changed, and change nothing")
    column: str | None = Field(
        default=None, max_length=255, description="Column of the codes, by name or 0-based index"
    )

    @model_validator(mode="after")
    def _codes_are_in_the_file(self) -> Self:
        if self.filter.codes is not None:
            raise ValueError("the codes are those of the file: leave `codes` out of the filter")
        return self


class PoolMove(Input):
    """Which unused codes of a pool move to another one."""

    to: Annotated[Identifier, AfterValidator(nfc)] = Field(description="The other pool, which must be there")
    count: Annotated[int, Field(strict=True, ge=1, le=MAX_MOVED)] | None = Field(
        default=None, description="At most so many; all, if left out"
    )
    import_id: uuid.UUID | None = Field(default=None, description="Only those that this import brought")
    codes: Annotated[list[Code], Field(min_length=1, max_length=MAX_CODES)] | None = Field(
        default=None, description="Only these, up to 10,000"
    )
    reason: Note | None = Field(
        default=None, description="Kept in the history of each code and in the audit; name no person in it"
    )
    dry_run: StrictBool = Field(default=False, description="Report how many would move, and move none")

    def of(self, pool: str) -> BulkChangeCreate:
        """Return the change of many vouchers that it is."""
        chosen = BulkFilter(pool=pool, import_id=self.import_id, codes=self.codes)
        return BulkChangeCreate(
            action="move",
            filter=chosen,
            to=self.to,
            count=self.count,
            reason=self.reason,
            dry_run=self.dry_run,
        )


class StoredFilter(TypedDict, total=False):
    """A filter as it is kept: of codes and customers only how many there were."""

    codes: int | None
    pool: str
    import_id: str
    campaign_id: str
    status: str
    test: bool
    customer_ids: int


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """A change of many vouchers, and how far it is."""

    id: uuid.UUID
    fingerprint: bytes
    action: Action
    filter: StoredFilter
    pool_id: int | None
    customer_ids: list[str] | None
    expires_at: datetime | None
    to_pool_id: int | None
    to_pool: str | None
    most: int | None
    reason: str | None
    dry_run: bool
    key_id: uuid.UUID | None
    key_name: str | None
    status: Status
    total: int | None
    position: int
    changed: int
    skipped: dict[str, int]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def to(self) -> str | None:
        """The pool to which the vouchers move."""
        return self.to_pool

    @property
    def count(self) -> int | None:
        """How many move at the most."""
        return self.most

    @property
    def done(self) -> int:
        """How many vouchers are dealt with."""
        return self.position

    @property
    def skipped_by(self) -> dict[str, int]:
        """How many were left as they were, by reason."""
        return self.skipped

    @property
    def progress(self) -> float:
        """How much of it is done, from 0 to 1."""
        if self.status == "succeeded":
            return 1.0
        return self.position / self.total if self.total else 0.0


class BulkChangeOut(BaseModel):
    """A change of many vouchers, and how far it is."""

    id: uuid.UUID = Field(description="Id")
    action: Action = Field(description="What is done")
    filter: dict[str, object] = Field(
        description="To which vouchers; of codes and customers only how many there were"
    )
    expires_at: datetime | None = Field(description="The new expiry")
    to: str | None = Field(description="The pool to which codes move")
    count: int | None = Field(description="How many move at the most; null: all")
    reason: str | None = Field(description="Why")
    dry_run: bool = Field(description="Whether nothing is changed")
    status: Status = Field(description="Status")
    total: int | None = Field(description="Vouchers that the filter met; null until they are listed")
    done: int = Field(description="Number of vouchers dealt with: `changed` and all of `skipped_by`")
    changed: int = Field(description="Changed; in a dry run, what would be")
    skipped_by: dict[str, int] = Field(
        description="Left as they were, by reason: `redeemed` · `used`: a use of it is known, whatever came of that ·"
        " `already`: nothing to change · `void` · `not_found`: no pool holds the code · `no_match`: not, or no"
        " longer, what the filter says · `not_available`, `held`: only what is free moves · `no_pool`: the pool to"
        " which they were to move is gone",
        examples=[{"redeemed": 3, "already": 1}],
    )
    progress: float = Field(description="From 0 to 1")
    error: str | None = Field(description="Why it failed")
    created_at: datetime = Field(description="When it was asked for")
    started_at: datetime | None = Field(description="When it began")
    finished_at: datetime | None = Field(description="When it ended")
