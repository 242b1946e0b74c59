"""Projects on the wire."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from app.schema.names import MAX_NAME, nfc, plain
from app.schema.texts import Input

ProjectName = Annotated[
    str,
    AfterValidator(plain("project")),
    Field(
        description="1 to 100 characters, no white space, no `/`, not `.` or `..`; kept in NFC",
        examples=["shop_cz"],
        json_schema_extra={"minLength": 1, "maxLength": MAX_NAME, "pattern": r"^(?!\.{1,2}$)[^\s/]+$"},
    ),
]


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """A project."""

    id: int
    name: str
    created_at: datetime
    deleting_since: datetime | None
    database_id: int
    """Where it lives."""
    database: str
    """The name of that."""


class ProjectCreate(Input):
    """A project to make."""

    name: ProjectName
    database: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(nfc)] | None = Field(
        default=None,
        description="Name of the database that it is to live in; null: the one with most room",
        examples=["main"],
    )


class ProjectUpdate(Input):
    """What may be changed of a project."""

    name: ProjectName


class ProjectOut(BaseModel):
    """A project: pools, customers, events, mapping and keys of its own."""

    name: str = Field(description="Unique name")
    created_at: datetime = Field(description="When it was made")
    deleting_since: datetime | None = Field(
        description="Since when it is being deleted, and its keys are refused; null: it stands"
    )
    database: str = Field(description="Name of the database that it lives in", examples=["main"])
