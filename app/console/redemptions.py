"""The uses of codes that could not be matched, by reason."""

import uuid
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import TypeAdapter

from app.console.pages import PAGE, show
from app.console.session import Visit, shown_to
from app.domain.access.scopes import Scope
from app.domain.redemptions import service
from app.domain.redemptions.schemas import Outcome, RedemptionFilter
from app.web import pagination
from app.web.dependencies import Connection

router = APIRouter(prefix="/redemptions")
KEY = TypeAdapter(tuple[Outcome, datetime, uuid.UUID])
REASONS = {
    Outcome.ALREADY_REDEEMED: "The code had been used before.",
    Outcome.NOT_ASSIGNED: "The code was used while it was assigned to nobody.",
    Outcome.OTHER_CUSTOMER: "The code was used by another customer than it was assigned to.",
    Outcome.EXPIRED: "The code was used after it had expired.",
    Outcome.VOID: "The code was used although it is void.",
    Outcome.UNKNOWN_CODE: "No pool holds the code.",
    Outcome.NOT_A_STRING: "The mapped property is a number or a list. It must be a string.",
    Outcome.NOT_REDEEMED: "An order was cancelled, and its customer had no use of the code to take back.",
    Outcome.TOO_MANY: "The mapped property holds more than 100 codes. This one and those after it were not read.",
}


@router.get("")
async def page(
    visit: Annotated[Visit, shown_to(Scope.POOLS, Scope.EVENTS, Scope.READ)], connection: Connection
) -> Response:
    """Show what could not be matched."""
    query = visit.request.query_params
    issue = next((reason for reason in REASONS if reason == query.get("issue")), None)
    start = pagination.decode(query.get("cursor"), KEY)
    rows, _ = await service.list_redemptions(connection, RedemptionFilter(issue), start, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: (row.outcome, row.created_at, row.id))
    counts = await service.issue_counts(connection)
    return show(visit, "redemptions.html", issue=issue, counts=counts, reasons=REASONS, **listed)
