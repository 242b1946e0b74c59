"""Query parameters by which vouchers and assignments are found."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, StringConstraints

from app.domain.access.scopes import Caller, Scope
from app.domain.persons.ids import CustomerId
from app.schema.inventory import MAX_CODE_LENGTH
from app.schema.names import nfc
from app.schema.texts import CampaignId, Flag, Identifier
from app.schema.times import QueryTime
from app.web.guard import permit

LEAST_OF_A_CODE = 3
NO_NUL = r"^[^\x00]*$"

PoolName = Annotated[Identifier, AfterValidator(nfc)]
"""The name of a pool, kept in NFC, in whatever form it is asked for."""
Customer = Annotated[CustomerId | None, Query(description="Of this customer")]
Campaign = Annotated[CampaignId | None, Query(description="Only those in this campaign")]
Message = Annotated[Identifier | None, Query(description="In this message")]
Test = Annotated[Flag | None, Query(description="Only those of test sends (true) or of others (false)")]
ImportId = Annotated[UUID | None, Query(description="Only those that this import brought")]
ExpiresBefore = Annotated[QueryTime | None, Query(description="Expires before")]
ExpiresAfter = Annotated[QueryTime | None, Query(description="Expires then or later")]
CodePrefix = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=MAX_CODE_LENGTH, pattern=NO_NUL)] | None,
    Query(description="The code begins with this; needs the scope `pools`"),
]
CodeContains = Annotated[
    Annotated[str, StringConstraints(min_length=LEAST_OF_A_CODE, max_length=MAX_CODE_LENGTH, pattern=NO_NUL)]
    | None,
    Query(description="The code contains this, at least 3 characters; needs the scope `pools`"),
]


def permit_codes(caller: Caller, *asked: str | None) -> None:
    """Let only those ask for part of a code who see codes: else the answers would spell it out.

    Raises:
        ForbiddenError: the key lacks the scope, and something was asked.
    """
    if any(part is not None for part in asked):
        permit(caller, Scope.POOLS)
