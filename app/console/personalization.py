"""*Personalization*: the Jinja for a pool, a template with its preview, and a test message."""

from typing import Annotated

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from app.console.pages import model as checked
from app.console.pages import show
from app.console.session import Assigner, AssignerForm, Visit
from app.domain.assignments.errors import PoolExhaustedError
from app.domain.pools import service as pools
from app.domain.rendering.batcher import RenderBatcher
from app.domain.rendering.schemas import Channel, MessageTarget, Mode, RenderRequest, RenderSpec, parts_of
from app.platform.database import transaction
from app.platform.errors import DomainError
from app.web.dependencies import Engine, held_for_project
from app.web.snippets import literal

router = APIRouter(prefix="/personalization")
ACTIONS = {
    "assign": "Assign available code",
    "assign_uncached": "Assign a new code at each place",
    "count_available": "Count available codes",
    "count_total": "Count total codes",
}


@router.get("")
async def page(visit: Assigner, engine: Engine) -> Response:
    """Show the wizard and the template."""
    return await _page(visit, engine)


@router.post("")
async def render(
    visit: AssignerForm, engine: Engine, batcher: Annotated[RenderBatcher, held_for_project(RenderBatcher)]
) -> Response:
    """Preview a template, which takes no code, or make a test message, which takes what it asks for."""
    mode = Mode.TEST if visit.text("go") == "test" else Mode.PREVIEW
    try:
        wanted = checked(
            RenderRequest,
            {
                **_text(visit),
                "channel": visit.text("channel"),
                "customer_id": visit.given("customer_id"),
            },
        )
        spec = RenderSpec(parts_of(wanted.template, wanted.channel, wanted.parts), wanted.channel, mode)
        target = MessageTarget(wanted.customer_id, visit.sent_as(), is_new=False)
        outcome = await batcher.render(spec, target)
        hidden = wanted.channel is Channel.WEBLAYER and isinstance(outcome.error, PoolExhaustedError)
        if outcome.error is not None and not hidden:
            raise outcome.error
    except DomainError as error:
        answer = await _page(visit, engine, error=error)
        if visit.text("live"):  # what is half typed is no error
            answer.status_code = 200
        return answer
    result = {
        "rendered": outcome.rendered,
        "parts": outcome.parts,
        "displayed": not hidden,
        "message_id": target.message_id,
        "vouchers": outcome.vouchers,
        "undefined": outcome.undefined,
    }
    return await _page(visit, engine, result=result, mode=mode)


def _text(visit: Visit) -> dict[str, object]:
    """Return what was typed: one template, or a subject and a plain text beside it, which is the HTML then."""
    beside = {name: text for name in ("subject", "text") if (text := visit.given(name)) is not None}
    if not beside:
        return {"template": visit.text("template")}
    return {"parts": beside | {"html": visit.text("template")}}


async def _page(
    visit: Visit, engine: AsyncEngine, error: DomainError | None = None, **about: object
) -> Response:
    async with transaction(engine) as connection:
        names = [pool.name for pool in await pools.search(connection, "", None, 200)]
    jinja = _jinja(visit) if visit.given("pool") else None
    return show(
        visit,
        "personalization.html",
        "",
        ("pool", "action", "fallback", "default"),
        pools=names,
        actions=ACTIONS,
        channels=list(Channel),
        jinja=jinja,
        error=error,
        **about,
    )


def _jinja(visit: Visit) -> str:
    """Return the expression that was chosen, ready to copy."""
    action = visit.text("action")
    voucher = f"vouchers[{literal(visit.text('pool'))}]"
    if action.startswith("count_") and action in ACTIONS:
        return f"{{{{ {voucher}.{action}() }}}}"
    arguments = ["cached=false"] if action == "assign_uncached" else []
    if fallback := visit.given("fallback"):
        arguments.append(f"fallback=[{literal(fallback)}]")
    if default := visit.given("default"):
        arguments.append(f"default={literal(default)}")
    return f"{{{{ {voucher}.assign_available({', '.join(arguments)}) }}}}"
