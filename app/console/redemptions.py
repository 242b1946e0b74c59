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
    "already_redeemed": "The code had been used before.",
    "not_assigned": "The code was used while it was assigned to nobody.",
    "other_customer": "The code was used by another customer than it was assigned to.",
    "expired": "The code was used after it had expired.",
    "void": "The code was used although it is void.",
    "unknown_code": "No pool holds the code.",
    "not_a_string": "The mapped property is a number or a list. It must be a string.",
}


@router.get("")
async def page(
    visit: Annotated[Visit, shown_to(Scope.POOLS, Scope.EVENTS, Scope.READ)], connection: Connection
) -> Response:
    """Show what could not be matched."""
    query = visit.request.query_params
    issue = Outcome(query["issue"]) if query.get("issue") in set(Outcome) else None
    start = pagination.decode(query.get("cursor"), KEY)
    rows, _ = await service.list_redemptions(connection, RedemptionFilter(issue), start, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: (row.outcome, row.created_at, row.id))
    counts = await service.issue_counts(connection)
    return show(visit, "redemptions.html", issue=issue, counts=counts, reasons=REASONS, **listed)
