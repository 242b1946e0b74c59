"""Assignments: on the wire, and as the assigner passes them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StringConstraints, field_validator

from app.domain.assignments import identity
from app.domain.lifecycle.requests import AssignmentRequest, AssignmentStatus
from app.domain.persons.ids import CustomerId
from app.domain.vouchers.conditions import Conditions
from app.platform.errors import InvalidRequestError
from app.platform.ids import ordered_id
from app.schema.inventory import MAX_CODE_LENGTH
from app.schema.texts import CampaignId, Identifier, Input, clean_code

MAX_LEASE_SECONDS = 7 * 24 * 3600
MAX_VALID_FOR_SECONDS = 10 * 366 * 24 * 3600
MAX_BATCH = 10_000
MAX_LIVES = 100
"""Most different `valid_for_seconds` in a batch: each is looked for by itself."""


def _two_identities() -> InvalidRequestError:
    """Return the error for a key beside a message: a message is its own key, so that it never gets two codes."""
    message = "a request with a message_id is known again by that: send it without an idempotency key"
    return InvalidRequestError(f"message_id: {message}", [{"loc": ["body", "message_id"], "msg": message}])


class AssignmentCreate(Input):
    """Whom a code is for. All of it may be left out."""

    customer_id: CustomerId | None = Field(default=None, description="Customer who gets the code")
    campaign_id: CampaignId | None = Field(default=None, description="Campaign")
    message_id: Identifier | None = Field(
        default=None, description="Message; the same message, customer and pool get the same code"
    )
    test: StrictBool = Field(
        default=False, description="Whether this is a test send; it takes a code all the same"
    )
    lease_seconds: Annotated[int, Field(strict=True, ge=1, le=MAX_LEASE_SECONDS)] | None = Field(
        default=None, description="Reserve only; not confirmed within these seconds, the code goes back"
    )
    valid_for_seconds: Annotated[int, Field(strict=True, ge=1, le=MAX_VALID_FOR_SECONDS)] | None = Field(
        default=None,
        description="Only a code that does not expire within these seconds; where none is left, 409 with the reason"
        " `too_short_lived`",
    )

    code: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_CODE_LENGTH, pattern=r"^[^\x00]*$"),
            AfterValidator(clean_code),
        ]
        | None
    ) = Field(default=None, description="This code and no other, as a support desk gives it; not in a batch")

    def to_request(self, pool: str, idempotency_key: str | None, api_key_id: uuid.UUID) -> AssignmentRequest:
        """Return what is asked for, with the id that makes it the same when it comes again.

        Raises:
            InvalidRequestError: both a message and a key would make it the same.
        """
        if idempotency_key is not None:
            if self.message_id is not None:
                raise _two_identities()
            request_id = identity.of_key(api_key_id, pool, idempotency_key)
        elif self.message_id is not None:
            request_id = identity.of_message(self.message_id, self.customer_id, pool, 0)
        else:
            request_id = ordered_id()
        return AssignmentRequest(
            request_id,
            self.customer_id,
            self.campaign_id,
            self.message_id,
            test=self.test,
            lease_seconds=self.lease_seconds,
            valid_for_seconds=self.valid_for_seconds or 0,
        )


class BatchItem(AssignmentCreate):
    """One assignment of a batch."""

    code: None = Field(default=None, description="Not in a batch: ask for one code at a time")

    idempotency_key: Identifier | None = Field(default=None, description="As the header `Idempotency-Key`")


class BatchCreate(Input):
    """Many assignments in one request."""

    items: list[BatchItem] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        description="Up to 10,000, which ask for up to 100 different `valid_for_seconds`",
    )
    atomic: StrictBool = Field(
        default=False, description="All or none: 409 where the pool cannot serve them all"
    )

    @field_validator("items")
    @classmethod
    def _of_few_lives(cls, items: list[BatchItem]) -> list[BatchItem]:
        if len({item.valid_for_seconds for item in items} - {None}) > MAX_LIVES:
            raise ValueError(f"at most {MAX_LIVES} different valid_for_seconds in one batch")
        return items


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A row of the ledger, with the pool where a page goes on."""

    id: uuid.UUID
    pool: str
    code: str
    customer_id: str | None
    campaign_id: str | None
    message_id: str | None
    test: bool
    assigned_at: datetime
    status: str
    lease_until: datetime | None
    released_at: datetime | None
    expires_at: datetime | None
    attributes: dict[str, str] | None
    pool_id: int


class AssignmentOut(BaseModel):
    """A code, and to whom it went."""

    id: uuid.UUID = Field(description="Id of the assignment")
    pool: str = Field(description="Name of the pool")
    code: str = Field(description="The code")
    customer_id: str | None = Field(description="Customer who got it")
    campaign_id: str | None = Field(description="Campaign")
    message_id: str | None = Field(description="Message")
    test: bool = Field(description="Whether it was a test send")
    assigned_at: datetime = Field(description="When")
    status: AssignmentStatus = Field(
        description="`reserved`: to be confirmed · `assigned` · `redeemed`: used · `void`: the code was taken out ·"
        " `released` · `lapsed`: not confirmed in time"
    )
    lease_until: datetime | None = Field(
        description="Until when it may be confirmed; null: not only reserved"
    )
    released_at: datetime | None = Field(
        description="When the code was returned to the pool; null: it was not"
    )
    expires_at: datetime | None = Field(description="When the code expires; null: never")
    attributes: dict[str, str] | None = Field(
        description="What comes with the code, as a PIN; masked for a key that may only read"
    )


class BatchItemOut(BaseModel):
    """What became of one item of a batch."""

    index: int = Field(description="Place in the request, from 0")
    status: Literal["assigned", "reserved", "replayed", "exhausted", "customer_limit"] = Field(
        description="Result"
    )
    code: str | None = Field(description="The code")
    id: uuid.UUID | None = Field(description="Id of the assignment")
    lease_until: datetime | None = Field(
        description="Until when it may be confirmed; null: not only reserved"
    )
    expires_at: datetime | None = Field(description="When the code expires; null: never")
    attributes: dict[str, str] | None = Field(description="What comes with the code, as a PIN")


class BatchOut(BaseModel):
    """What became of a batch."""

    assigned: int = Field(description="How many codes were newly handed out")
    items: list[BatchItemOut] = Field(description="In the order of the request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(Conditions):
    """Which assignments are asked for; None: whatever it is."""

    pool: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    status: AssignmentStatus | None = None

    @property
    def is_indexed(self) -> bool:
        """Tell whether one index finds all that it lets pass, and nothing else."""
        beside = self.pool is not None and (self.customer_id is not None or self.campaign_id is not None)
        both = self.customer_id is not None and self.campaign_id is not None
        read = (
            self.message_id,
            self.status,
            self.test,
            self.import_id,
            self.code_prefix,
            self.code_contains,
            self.expires_before,
            self.expires_after,
        )
        return not beside and not both and all(value is None for value in read)
