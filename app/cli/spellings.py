"""`vouchers merge-spellings`: customers whose ids are read otherwise by now."""

import asyncio

from app.domain.tracking import merge
from app.platform.engines import create_job_engine
from app.platform.settings import Settings


def run(settings: Settings, *, dry_run: bool) -> None:
    """Merge each customer whose stored id is read otherwise into the one that it is read as, and print them."""
    asyncio.run(_run(settings, dry_run=dry_run))


async def _run(settings: Settings, *, dry_run: bool) -> None:
    engine = create_job_engine(settings)
    try:
        found = await merge.spellings(engine)
        if not dry_run:
            for id_, read_as in found:
                await merge.merge(engine, None, read_as, id_)
    finally:
        await engine.dispose()
    print(f"{len(found):,} ids {'would be' if dry_run else 'are'} merged into those that they are read as")
