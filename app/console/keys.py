"""API keys: made, listed, revoked."""

import uuid

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from app.console.pages import see, show, wrong
from app.console.session import Admin, AdminForm, Visit
from app.domain.access.keys import service
from app.domain.access.scopes import Scope
from app.platform.database import transaction
from app.platform.errors import DomainError
from app.web.dependencies import Engine

router = APIRouter(prefix="/keys")
MOST = 1000
"""Most keys that are shown."""

OFFERED = [scope for scope in Scope if scope.value != "operator"]


@router.get("")
async def page(visit: Admin, engine: Engine) -> Response:
    """Show the keys."""
    return await _page(visit, engine)


@router.post("")
async def create(visit: AdminForm, engine: Engine) -> Response:
    """Make a key, and show its secret once."""
    try:
        name = visit.given("name")
        if name is None or len(name) > 100 or "\x00" in name:  # noqa: PLR2004
            raise wrong("name", "A name has 1 to 100 characters.")
        scopes = [scope for scope in OFFERED if visit.text(f"scope_{scope}")]
        if not scopes:
            raise wrong("scopes", "Choose at least one scope.")
        async with transaction(engine) as connection:
            _, secret = await service.issue(connection, visit.caller, name, scopes)
    except DomainError as error:
        return await _page(visit, engine, error=error)
    return await _page(visit, engine, secret=secret)


@router.post("/{key_id}/revoke")
async def revoke(key_id: uuid.UUID, visit: AdminForm, engine: Engine) -> Response:
    """Revoke a key."""
    if visit.text("sure") != "yes":
        return await _page(visit, engine, error=wrong(f"sure-{key_id}", "Tick the box to confirm."))
    async with transaction(engine) as connection:
        await service.revoke(connection, key_id, visit.caller)
    return see("/keys", "key-revoked")


async def _page(
    visit: Visit, engine: AsyncEngine, error: DomainError | None = None, **about: object
) -> Response:
    async with transaction(engine) as connection:
        keys = await service.list_page(connection, None, MOST)
    return show(visit, "keys.html", keys=keys, offered=OFFERED, error=error, **about)
