"""Requests with an `Idempotency-Key`: the key stands for one request, and no other is answered under it."""

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rendering import queries
from app.domain.rendering.errors import MessageAbortedError
from app.domain.rendering.schemas import KeyedRequest, MessageTarget, Outcome
from app.platform.errors import IdempotencyKeyReusedError

_REQUEST = uuid.UUID("7f0a5b0e-3f56-5f0c-9a55-2f6f0f6a9d31")
Make = Callable[[Sequence[MessageTarget]], Awaitable[list[Outcome]]]


def keyed_request(caller_key: uuid.UUID, route: str, key: str, body: object) -> KeyedRequest:
    """Return what a key of an API key stands for on a route, and what the request says."""
    id_ = uuid.uuid5(_REQUEST, orjson.dumps([str(caller_key), route, key]).decode())
    return KeyedRequest(id_, hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest())


async def run(
    connection: AsyncConnection, targets: Sequence[MessageTarget], request: KeyedRequest | None, make: Make
) -> list[Outcome]:
    """Make the messages whose requests are what their keys stand for, and note the keys that are new.

    The key of a request that made no message stands for nothing yet.

    Raises:
        IdempotencyKeyReusedError: `request`, which all of them are of, is another than the key stands for.
    """
    requests: dict[uuid.UUID, KeyedRequest] = {}
    for each in (request, *(target.request for target in targets)):
        if each is not None:
            requests.setdefault(each.id, each)
    if not requests:
        return await make(targets)
    stored = await queries.seen(connection, list(requests))
    digests = {id_: stored[id_]["digest"] if id_ in stored else each.digest for id_, each in requests.items()}
    if request is not None and digests[request.id] != request.digest:
        raise _error()
    is_reused = [
        each.request is not None and digests[each.request.id] != each.request.digest for each in targets
    ]
    fit = [target for target, reused in zip(targets, is_reused, strict=True) if not reused]
    made = iter(await make(fit) if fit else ())
    outcomes = [
        Outcome(target, error=_error()) if reused else next(made)
        for target, reused in zip(targets, is_reused, strict=True)
    ]
    new = {
        outcome.target.request.id: outcome.target
        for outcome in outcomes
        if outcome.target.request and _made(outcome)
    }
    rows = [
        {"id": id_, "customer_id": target.customer_id, "seen": {"digest": requests[id_].digest}}
        for id_, target in new.items()
        if id_ not in stored
    ]
    if request is not None and request.id not in stored and any(map(_made, outcomes)):
        rows.append({"id": request.id, "customer_id": None, "seen": {"digest": request.digest}})
    if rows:
        await queries.add_seen(connection, rows)
    return outcomes


def _made(outcome: Outcome) -> bool:
    return outcome.error is None or isinstance(outcome.error, MessageAbortedError)


def _error() -> IdempotencyKeyReusedError:
    return IdempotencyKeyReusedError("The same key came before with another request.")
