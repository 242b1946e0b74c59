"""Who did what."""

from fastapi import APIRouter, Response
from pydantic import TypeAdapter

from app.console.pages import PAGE, show
from app.console.session import Admin
from app.domain.access.audit import service
from app.domain.access.audit.schemas import Filter
from app.domain.access.scopes import Scope
from app.schema.names import nfc
from app.web import pagination
from app.web.reading import ReadConnection

router = APIRouter(prefix="/audit")
KEY = TypeAdapter(int)


@router.get("")
async def page(visit: Admin, connection: ReadConnection) -> Response:
    """Show the audit, newest first."""
    start = pagination.decode(visit.request.query_params.get("cursor"), KEY)
    of_service = visit.caller.may(Scope.OPERATOR)
    wanted = Filter(visit.given("action"), nfc(visit.text("pool").strip()) or None, of_service=of_service)
    rows = await service.list_page(connection, wanted, start, PAGE + 1)
    listed = pagination.page(rows, PAGE, lambda row: row.id)
    return show(visit, "audit.html", "", ("action", "pool"), **listed)
