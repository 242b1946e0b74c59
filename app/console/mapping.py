"""*Project settings → Mapping → Vouchers*: where the shop says that a code was used."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.console.pages import model as checked
from app.console.pages import see, show
from app.console.session import ManagerForm, Visit, shown_to
from app.domain.access.scopes import Scope
from app.domain.customers import service as customers
from app.domain.redemptions import service
from app.domain.redemptions.schemas import Effect, MappedEvent, Mappings, Normalise
from app.platform.database import transaction
from app.platform.errors import DomainError
from app.web.dependencies import Connection, Engine

router = APIRouter(prefix="/mapping")
EFFECTS = ((Effect.REDEEM, "The code was used"), (Effect.CANCEL, "A use was cancelled or refunded"))
SPELLINGS = (
    ("", "As it stands"),
    (Normalise.UPPER, "In upper case"),
    (Normalise.LOWER, "In lower case"),
)


@router.get("")
async def page(
    visit: Annotated[Visit, shown_to(Scope.POOLS, Scope.EVENTS, Scope.READ)], connection: Connection
) -> Response:
    """Show the mapping."""
    return await _page(visit, connection)


@router.post("")
async def add(visit: ManagerForm, engine: Engine) -> Response:
    """Map one more property."""
    try:
        async with transaction(engine) as connection:
            seen = visit.text("seen").partition("\n")
            new = {
                "event_type": visit.text("event_type") or seen[0],
                "property": visit.text("property") or seen[2],
                "effect": visit.given("effect") or Effect.REDEEM,
                "normalise": visit.given("normalise"),
            }
            there = _kept(await service.mapping_to_edit(connection))
            # What is there already stays in its place, and is what was typed now.
            mapped = [new if _same(each, new) else each for each in there]
            wanted = checked(Mappings, {"mappings": mapped if new in mapped else [*mapped, new]})
            await service.set_mapping(connection, visit.caller, wanted.mappings)
    except DomainError as error:
        async with transaction(engine) as connection:
            return await _page(visit, connection, error)
    return see("/mapping", "mapping-changed")


@router.post("/remove")
async def remove(visit: ManagerForm, engine: Engine) -> Response:
    """Map a property no more."""
    gone = {"event_type": visit.text("event_type"), "property": visit.text("property")}
    async with transaction(engine) as connection:
        there = _kept(await service.mapping_to_edit(connection))
        left = [each for each in there if not _same(each, gone)]
        wanted = checked(Mappings, {"mappings": left})
        await service.set_mapping(connection, visit.caller, wanted.mappings)
    return see("/mapping", "mapping-changed")


@router.post("/replay")
async def replay(_: ManagerForm, engine: Engine) -> Response:
    """Apply the mapping to the events that are there."""
    await service.replay(engine)
    return see("/mapping", "replayed")


def _kept(rows: Iterable[MappedEvent]) -> list[dict[str, object]]:
    return [asdict(row) for row in rows]


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return all(one[name] == other[name] for name in ("event_type", "property"))


async def _page(visit: Visit, connection: AsyncConnection, error: DomainError | None = None) -> Response:
    # Example values may be codes, and properties are for those who may see events.
    seen = await customers.seen_properties(connection) if visit.caller.may(Scope.EVENTS) else {}
    return show(
        visit,
        "mapping.html",
        error=error,
        mappings=_kept(await service.mapping(connection)),
        seen=seen,
        issues=await service.issue_counts(connection),
        effects=EFFECTS,
        spellings=SPELLINGS,
    )
