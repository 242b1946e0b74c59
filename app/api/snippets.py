"""`/v1/pools/{pool}/snippets`."""

from fastapi import APIRouter, Request

from app.domain.access.scopes import Scope
from app.domain.pools import service as pools
from app.domain.pools.errors import PoolNotFoundError
from app.domain.rendering.schemas import (
    Snippets,
)
from app.web.dependencies import Connection, Settings
from app.web.guard import requires
from app.web.parameters import PoolPath
from app.web.problems import problems
from app.web.snippets import snippets

router = APIRouter(prefix="/v1", tags=["rendering"])


@router.get(
    "/pools/{pool}/snippets",
    response_model=Snippets,
    responses=problems(PoolNotFoundError),
    dependencies=[requires(Scope.POOLS, Scope.READ, Scope.ASSIGN)],
)
async def get_pool_snippets(
    pool: PoolPath, request: Request, connection: Connection, settings: Settings
) -> object:
    """Return lines for this pool, ready to paste into a template or a shell."""
    await pools.id_of(connection, pool)
    return snippets(settings.public_url or str(request.base_url), pool)
