"""`vouchers check`: project by project, each in a snapshot of its own."""

from app.cli.databases import all_projects
from app.domain.lifecycle.check import violations
from app.platform.database import ONLY_READS, transaction
from app.platform.engines import create_long_engine
from app.platform.projects import everywhere, of_project
from app.platform.settings import Settings

AGREE = "All counts agree with the rows, no code is assigned twice, every assignment is in the ledger."
"""What `vouchers check` says of books that are in order."""


async def violations_of_all(settings: Settings) -> list[str]:
    """Return the invariants that are broken, each with its project, how often, and an example."""
    engine = create_long_engine(settings)
    broken = []
    try:
        async with transaction(everywhere(engine)) as connection:
            found = await all_projects(connection)
        for project, name in found:
            async with transaction(of_project(engine, project)) as connection:
                await connection.execute(ONLY_READS)  # or merges and webhooks would wait for it
                broken += [f"{name}: {line}" for line in await violations(connection)]
    finally:
        await engine.dispose()
    return broken
