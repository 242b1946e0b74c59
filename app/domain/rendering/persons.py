"""Messages to customers who have several ids, because they were merged."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.persons import service as persons
from app.domain.rendering.schemas import MessageTarget, Outcome

Make = Callable[[Sequence[MessageTarget]], Awaitable[list[Outcome]]]


async def of_persons(connection: AsyncConnection, targets: Sequence[MessageTarget]) -> list[MessageTarget]:
    """Return the messages, in their order, to the persons for whom their customers' ids stand.

    Raises:
        MergingError: one of the customers is being merged.
    """
    found = await persons.resolve(connection, (target.customer_id for target in targets))
    if not found:
        return list(targets)
    resolved = []
    for target in targets:
        asked = target.customer_id
        if asked is not None and asked in found:
            target = replace(target, customer_id=found[asked].id, names=found[asked].names(asked))  # noqa: PLW2901
        resolved.append(target)
    return resolved


async def in_turns(targets: Sequence[MessageTarget], make: Make) -> list[Outcome]:
    """Make messages; one that comes again, be it under another id of its customer, finds what it was given at first."""
    turns: list[list[int]] = []
    times: dict[tuple[str, str | None], int] = {}
    for index, target in enumerate(targets):
        message = (target.message_id, target.customer_id)
        turn = times[message] = times.get(message, -1) + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(index)
    outcomes: dict[int, Outcome] = {}
    for turn_ in turns:
        made = await make([targets[index] for index in turn_])
        outcomes |= dict(zip(turn_, made, strict=True))
    return [outcomes[index] for index in range(len(targets))]
