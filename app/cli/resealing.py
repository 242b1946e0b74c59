"""`vouchers rotate-secrets`: in every database of the service, and the URLs of the further ones last."""

import asyncio

from app.cli import opening
from app.domain.imports.sources.resealing import seal_anew
from app.domain.projects.databases import service as further
from app.platform.databases import unsealed
from app.platform.errors import DomainError
from app.platform.settings import Settings


def seal_all() -> tuple[int, int]:
    """Seal with the first key what was sealed with the others; return how much, and how much none of them opens."""
    with opening.database() as (settings, postgres):
        opening.bring_up(settings)
        return asyncio.run(_seal_all(opening.with_secret_key(settings, embedded=postgres is not None)))


async def _seal_all(settings: Settings) -> tuple[int, int]:
    sealed = lost = 0
    for row in await opening.transact(settings, further.list_all, None):
        try:
            place = unsealed(settings, row.url)
        except DomainError:
            lost += 1
            continue
        done = await opening.transact(place, lambda connection: seal_anew(connection, settings), None)
        sealed, lost = sealed + done[0], lost + done[1]
    urls = await opening.transact(settings, lambda connection: further.seal_anew(connection, settings), None)
    return sealed + urls, lost
