"""API keys: made, listed, revoked. The pages of projects have those of each project likewise."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.console.once import once
from app.console.pages import PAGE, check_sure, end_of_day, see, seen_version, show, whole, wrong
from app.console.pages import model as checked
from app.console.session import Admin, AdminForm, Visit
from app.domain.access.keys import service
from app.domain.access.keys.schemas import ApiKeyCreate, ApiKeyRecord, ApiKeyRotate
from app.domain.access.scopes import Scope
from app.platform.clock import clock
from app.platform.database import transaction
from app.platform.errors import DomainError
from app.web import pagination
from app.web.dependencies import ControlEngine

router = APIRouter(prefix="/keys")
BASE = "/console/keys"
KEY = TypeAdapter(tuple[datetime, uuid.UUID])
OFFERED = [scope for scope in Scope if scope is not Scope.OPERATOR]


@router.get("")
async def page(visit: Admin, engine: ControlEngine) -> Response:
    """Show the keys."""
    return await _page(visit, engine)


@router.post("")
async def create(visit: AdminForm, engine: ControlEngine) -> Response:
    """Make a key, and show its secret once."""
    try:
        wanted = typed_key(visit, OFFERED)
        async with transaction(engine) as connection:
            secret = await issued(connection, visit, visit.caller.project_id, wanted)
    except DomainError as error:
        return await _page(visit, engine, error=error)
    return await _page(visit, engine, secret=secret)


@router.post("/{key_id}/revoke")
async def revoke(key_id: uuid.UUID, visit: AdminForm, engine: ControlEngine) -> Response:
    """Revoke a key."""
    try:
        check_sure(visit, f"sure-{key_id}")
    except DomainError as error:
        return await _page(visit, engine, error=error)
    async with transaction(engine) as connection:
        await service.revoke(connection, visit.caller, visit.caller.project_id, key_id)
    return see("/keys", "key-revoked")


@router.post("/{key_id}/rotate")
async def rotate(key_id: uuid.UUID, visit: AdminForm, engine: ControlEngine) -> Response:
    """Give a key a new secret, and show it once; the old one is good for some hours more."""
    try:
        grace = typed_grace(visit, key_id)
        async with transaction(engine) as connection:
            secret = await rotated(connection, visit, visit.caller.project_id, key_id, grace)
    except DomainError as error:
        return await _page(visit, engine, error=error)
    return await _page(visit, engine, secret=secret)


def typed_key(visit: Visit, offered: Sequence[Scope]) -> ApiKeyCreate:
    """Return the key that a form asks for.

    Raises:
        InvalidRequestError: it does not say what it must.
    """
    scopes = [scope for scope in offered if visit.text(f"scope_{scope}")]
    if not scopes:
        raise wrong("scopes", "Choose at least one scope.")
    ends = end_of_day(visit.given("expires_at"))
    return checked(ApiKeyCreate, {"name": visit.text("name"), "scopes": scopes, "expires_at": ends})


def typed_grace(visit: Visit, key_id: uuid.UUID) -> int:
    """Return for how many seconds the old secret is to be good too.

    Raises:
        InvalidRequestError: the form does not say it, or its box is not ticked.
    """
    check_sure(visit, f"sure-rotate-{key_id}")
    hours = whole(visit.text("grace_hours"))
    grace = hours * 3600 if isinstance(hours, int) else -1
    return checked(ApiKeyRotate, {"grace_seconds": grace}).grace_seconds


async def issued(connection: AsyncConnection, visit: Visit, project_id: int, wanted: ApiKeyCreate) -> str:
    """Make a key of a project; return its secret."""
    return await once(
        connection,
        visit,
        lambda: service.issue(
            connection, visit.caller, project_id, wanted.name, wanted.scopes, expires_at=wanted.expires_at
        ),
        lambda key_and_secret: key_and_secret[1],
    )


async def rotated(
    connection: AsyncConnection, visit: Visit, project_id: int, key_id: uuid.UUID, grace: int
) -> str:
    """Give a key of a project a new secret, where it still is as the form has it; return the secret."""
    return await once(
        connection,
        visit,
        lambda: service.rotate(connection, visit.caller, project_id, key_id, grace, seen_version(visit)),
        lambda key_and_secret: key_and_secret[1],
    )


async def listed(connection: AsyncConnection, visit: Visit, project_id: int) -> dict[str, object]:
    """Return what a page of the list of a project's keys shows, the newest first."""
    start = pagination.decode(visit.request.query_params.get("cursor"), KEY)
    rows = await service.list_page(connection, project_id, start, PAGE + 1, newest_first=True)
    found = pagination.page(rows, PAGE, lambda key: (key.created_at, key.id))
    keys = found["items"]
    return {
        "keys": keys,
        "next_cursor": found["next_cursor"],
        "states": {key.id: _state(key) for key in keys},
        "versions": {key.id: service.version_of(key) for key in keys},
    }


def _state(key: ApiKeyRecord) -> str:
    """Return whether a key is good, in a word; what is not is never good again."""
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.expires_at is None or key.expires_at > clock.now() else "expired"


async def _page(
    visit: Visit, engine: AsyncEngine, error: DomainError | None = None, **about: object
) -> Response:
    async with transaction(engine) as connection:
        about |= await listed(connection, visit, visit.caller.project_id)
    return show(visit, "keys.html", BASE, base=BASE, offered=OFFERED, error=error, **about)
