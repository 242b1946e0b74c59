"""API keys on the wire."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from app.domain.access.scopes import Scope
from app.platform.clock import clock
from app.schema.names import visible
from app.schema.texts import Input
from app.schema.times import Time

MAX_GRACE_SECONDS = 7 * 24 * 3600
DEFAULT_GRACE_SECONDS = 3600


def _ahead(time: datetime) -> datetime:
    if time.astimezone(UTC) <= clock.now():
        raise ValueError("this time has passed")
    return time


def _unique(scopes: list[Scope]) -> list[Scope]:
    return sorted(set(scopes))


KeyName = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(visible)]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(Scope)), AfterValidator(_unique)]


class ApiKeyCreate(Input):
    """A key to make."""

    name: KeyName = Field(description="What the key is for", examples=["campaign system"])
    scopes: Scopes = Field(description="What it may do", examples=[["assign"]])
    expires_at: Annotated[Time, AfterValidator(_ahead)] | None = Field(
        default=None, description="From when on it is refused; null: never"
    )
    requests_per_minute: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = Field(
        default=None, description="Most requests that one process takes from it in a minute; null: no bound"
    )


class ApiKeyRotate(Input):
    """How a key gets a new secret."""

    grace_seconds: int = Field(
        default=DEFAULT_GRACE_SECONDS,
        strict=True,
        ge=0,
        le=MAX_GRACE_SECONDS,
        description="For how many seconds the old secret stays valid; one from a rotation before that ends at once",
    )


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """A key as it is shown: without its secret."""

    id: uuid.UUID
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    requests_per_minute: int | None
    previous_until: datetime | None
    revoked_at: datetime | None
    generation: str
    """Another one once the secret is."""


class ApiKeyOut(BaseModel):
    """A key, without its secret."""

    id: uuid.UUID = Field(description="Id; it stays when the secret is rotated")
    name: str = Field(description="What the key is for")
    scopes: list[Scope] = Field(description="What it may do")
    created_at: datetime = Field(description="When it was made")
    expires_at: datetime | None = Field(description="When it expires; null: never")
    last_used_at: datetime | None = Field(description="When it was last used, to the minute; null: never")
    requests_per_minute: int | None = Field(
        description="Most requests that one process takes from it in a minute; null: no bound"
    )
    previous_until: datetime | None = Field(
        description="Until when the secret before the last rotation is good; null: there is none"
    )
    revoked_at: datetime | None = Field(description="When it was revoked; null: it stands")


class ApiKeyWithSecret(ApiKeyOut):
    """A key and its secret, which is shown this once."""

    secret: str = Field(description="The secret, stored nowhere and never shown again")
