"""Whether anybody still waits for a message."""

from collections.abc import Sequence

from app.domain.rendering.schemas import MessageTarget, StillThere


async def gone(targets: Sequence[MessageTarget]) -> set[int]:
    """Return the messages that nobody waits for any more; each caller is asked once."""
    answers: dict[StillThere, bool] = {}
    gone = set()
    for index, target in enumerate(targets):
        ask = target.still_there
        if ask is None:
            continue
        if ask not in answers:
            answers[ask] = await ask()
        if not answers[ask]:
            gone.add(index)
    return gone
