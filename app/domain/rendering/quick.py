"""Messages that take one new code each: made with one statement instead of a transaction.

They are rendered with codes that were only looked at, and sent where the statement that takes these finds each still
available and its message new. Whatever is otherwise, as far as is known before or found out then, is made in a
transaction (`service.py`): what was rendered here is thrown away, and nothing was taken for it.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.assignments import identity
from app.domain.assignments.candidates import Candidates
from app.domain.customers import service as customers
from app.domain.lifecycle.requests import AssignmentRequest
from app.domain.rendering import service
from app.domain.rendering.confined.protocol import Answer, Item, PoolSupply, Result
from app.domain.rendering.demand import DEMANDS
from app.domain.rendering.message_vouchers import TEST
from app.domain.rendering.presence import gone
from app.domain.rendering.renderers import RendererDiedError, Renderers
from app.domain.rendering.rounds import ABOUT, about_of, item_of
from app.domain.rendering.schemas import MessageTarget, Mode, Outcome, RenderSpec
from app.platform.database import transaction
from app.platform.driver_pool import ProjectConnections
from app.platform.errors import DomainError
from app.platform.metrics import RENDERS
from app.platform.projects import project_of


class QuickMessages:
    """The way of one project in one process."""

    def __init__(self, engine: AsyncEngine, driver_pool: ProjectConnections, renderers: Renderers) -> None:
        self._engine = engine
        self._candidates = Candidates(driver_pool)
        self._renderers = renderers

    async def make(self, spec: RenderSpec, targets: Sequence[MessageTarget]) -> dict[int, Outcome]:
        """Return the messages that could be made this way, by their places; they are committed."""
        pool = _pool_of(project_of(self._engine), spec)
        plain = [index for index, target in enumerate(targets) if target.request is None]
        if pool is None or not plain:
            return {}
        codes = await self._candidates.of(pool, len(plain))
        if not codes:
            return {}
        results = await self._render(spec, pool, [targets[index] for index in plain], codes)
        left = await gone(targets)
        whole = [
            (index, result)
            for index, result in zip(plain, results, strict=False)
            if index not in left and _is_plain(result, pool)
        ]
        requests = [_request(spec, targets[index], pool) for index, _ in whole]
        used = [result["uses"][0][2] for _, result in whole]
        given = await self._candidates.take(pool, requests, used) if whole else {}
        made: dict[int, Outcome] = {}
        for (index, result), request, code in zip(whole, requests, used, strict=True):
            if request.id in given:
                shown: dict[str, object] = {"pool": pool, "code": code, "occurrence": 0}
                if (attributes := given[request.id]) is not None:
                    shown["attributes"] = attributes
                made[index] = service.made(spec, targets[index], result, [shown], [request.id])
        RENDERS.labels(spec.mode, "rendered").inc(len(made))
        return made

    async def _render(
        self, spec: RenderSpec, pool: str, targets: Sequence[MessageTarget], codes: Sequence[str]
    ) -> list[Result]:
        """Render as though the messages were new; none where what they need is more than one code each."""
        items = await self._items(spec, targets)
        try:
            answer = await self._renderers.render(
                {
                    **about_of(spec),
                    "pools": {pool: _supply(codes)},
                    "seen_known": True,
                    "items": items,
                }
            )
        except (DomainError, RendererDiedError):  # the other way finds out which message it was
            return []
        return answer["results"] if _is_enough(answer, pool) else []

    async def _items(self, spec: RenderSpec, targets: Sequence[MessageTarget]) -> list[Item]:
        items = [item_of(target, is_new=target.is_new) for target in targets]
        if "customer" in spec.source:
            ids = [target.customer_id for target in targets if target.customer_id is not None]
            stored: dict[str, dict[str, object]] = {}
            if ids:
                async with transaction(self._engine) as connection:
                    stored = await customers.properties_of(connection, ids)
            for item, target in zip(items, targets, strict=True):
                item["customer"] = {**stored.get(target.customer_id or "", {}), **target.customer}
        return items


def _pool_of(project: int, spec: RenderSpec) -> str | None:
    """Return the pool of which a message of this template took one code the last time, and needed nothing else."""
    if spec.mode is Mode.PREVIEW or any(name in spec.source for name in ABOUT):
        return None
    return DEMANDS.one_code(project, spec.source)


def _supply(codes: Sequence[str]) -> PoolSupply:
    return {
        "codes": codes,
        "valid_for": 0,
        "short": None,
        "looked_up": 0,
        "counts": None,
        "similar": None,
        "limits": None,
    }


def _is_enough(answer: Answer, pool: str) -> bool:
    """Return whether nothing was asked for but what was supplied, and nothing of what a message saw before."""
    if "results" not in answer:
        return False
    needs = answer["needs"]
    return not needs["seen"] and needs["occurrences"].keys() <= {pool} and not needs.get("valid_for")


def _is_plain(result: Result, pool: str) -> bool:
    """Return whether a message shows one new code of the pool, and has nothing else to be kept."""
    uses = result.get("uses", ())
    if len(uses) != 1 or "seen" in result:
        return False
    of, key, _, occurrence, fresh = uses[0]
    return of == key == pool and occurrence == 0 and fresh


def _request(spec: RenderSpec, target: MessageTarget, pool: str) -> AssignmentRequest:
    is_test = spec.mode is Mode.TEST
    id_ = identity.of_message(target.message_id, target.customer_id, TEST + pool if is_test else pool, 0)
    return AssignmentRequest(id_, target.customer_id, spec.campaign_id, target.message_id, 0, test=is_test)
