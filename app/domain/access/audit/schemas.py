"""The audit on the wire, and what is asked of it."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, Field

OF_SERVICE = "service."
"""What actions upon the service as a whole begin with: which projects there are is shown to operators alone."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted; None wants all."""

    action: str | None = None
    pool: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    of_service: bool = False
    """Whether also what was done to the service as a whole."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Something that a key did."""

    id: int
    at: datetime
    key_id: uuid.UUID | None
    key_name: str
    action: str
    pool: str | None
    details: dict[str, object]


class AuditEntryOut(BaseModel):
    """Something that a key did."""

    id: int = Field(description="Id; later entries have greater ones")
    at: datetime = Field(description="When")
    key_id: uuid.UUID | None = Field(description="The key; null for the command line and the service itself")
    key_name: str = Field(description="Name of the key at that time")
    action: str = Field(description="What was done", examples=["pool.deleted"])
    pool: str | None = Field(description="Name of the pool that it was done to")
    details: dict[str, object] = Field(description="More about it; never a code")
