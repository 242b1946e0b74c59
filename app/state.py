"""What one process of the service holds: nothing that matters, all of it can be made anew."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from app.assignments.assigner import Assigner
from app.auth.service import KeyRing
from app.rendering.gatherer import Gatherer
from app.rendering.renderers import Renderers
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class State:
    """Shared by the requests of a process, as `request.app.state.vouchers`."""

    settings: Settings
    engine: AsyncEngine
    keys: KeyRing
    assigner: Assigner
    renderers: Renderers
    gatherer: Gatherer
