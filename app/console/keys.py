"""API keys: made, listed, revoked."""

import uuid

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from app.console.pages import model as checked
from app.console.pages import see, seen_version, show, wrong
from app.console.session import Admin, AdminForm, Visit
from app.domain.access.keys import service
from app.domain.access.keys.schemas import ApiKeyCreate, ApiKeyRotate
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
        scopes = [scope for scope in OFFERED if visit.text(f"scope_{scope}")]
        if not scopes:
            raise wrong("scopes", "Choose at least one scope.")
        ends = _end_of_day(visit.given("expires_at"))
        wanted = checked(ApiKeyCreate, {"name": visit.text("name"), "scopes": scopes, "expires_at": ends})
        async with transaction(engine) as connection:
            _, secret = await service.issue(
                connection, visit.caller, wanted.name, wanted.scopes, expires_at=wanted.expires_at
            )
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


@router.post("/{key_id}/rotate")
async def rotate(key_id: uuid.UUID, visit: AdminForm, engine: Engine) -> Response:
    """Give a key a new secret, and show it once; the old one is good for some hours more."""
    try:
        if visit.text("sure") != "yes":
            raise wrong(f"sure-rotate-{key_id}", "Tick the box to confirm.")
        hours = visit.text("grace_hours")
        grace = int(hours) * 3600 if hours.isascii() and hours.isdecimal() else -1
        wanted = checked(ApiKeyRotate, {"grace_seconds": grace})
        async with transaction(engine) as connection:
            _, secret = await service.rotate(
                connection, visit.caller, key_id, wanted.grace_seconds, seen_version(visit)
            )
    except DomainError as error:
        return await _page(visit, engine, error=error)
    return await _page(visit, engine, secret=secret)


def _end_of_day(text: str | None) -> str | None:
    """Return the end of a day in UTC, where only the day was typed."""
    return f"{text}T23:59:59Z" if text is not None and len(text) == len("2027-01-31") else text


async def _page(
    visit: Visit, engine: AsyncEngine, error: DomainError | None = None, **about: object
) -> Response:
    async with transaction(engine) as connection:
        keys = await service.list_page(connection, None, MOST)
    versions = {key.id: service.version_of(key) for key in keys}
    return show(visit, "keys.html", keys=keys, versions=versions, offered=OFFERED, error=error, **about)
