"""Requests with an `Idempotency-Key`: the key stands for one request, and no other is answered under it."""

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rendering import queries
from app.domain.rendering.errors import MessageAbortedError
from app.domain.rendering.schemas import KeyedRequest, MessageTarget, Outcome
from app.platform.errors import IdempotencyKeyReusedError

_REQUEST = uuid.UUID("7f0a5b0e-3f56-5f0c-9a55-2f6f0f6a9d31")
Make = Callable[[Sequence[MessageTarget]], Awaitable[list[Outcome]]]


MADE = "made-"
"""Begins the keys that the service makes for requests that bring none and are answered line by line."""


def make_key() -> str:
    """Return a key that no other request has."""
    return f"{MADE}{uuid.uuid4()}"


def keyed_request(
    caller_key: uuid.UUID, route: str, key: str, body: object, *, is_first: bool = False
) -> KeyedRequest:
    """Return what a key of an API key stands for on a route, and what the request says."""
    id_ = uuid.uuid5(_REQUEST, orjson.dumps([str(caller_key), route, key]).decode())
    return KeyedRequest(
        id_, hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest(), is_first
    )


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
    if request is not None and request.id in stored and not request.is_first:
        await _note_repeat(connection, request, stored[request.id])
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


async def bind(connection: AsyncConnection, target: MessageTarget) -> None:
    """Have the key of a request, if it has one, stand for it once this transaction, which answers it, is committed.

    Raises:
        IdempotencyKeyReusedError: it stands for another one.
    """
    request = target.request
    if request is None:
        return
    stored = await queries.seen(connection, [request.id])
    if request.id not in stored:
        row = {"id": request.id, "customer_id": target.customer_id, "seen": {"digest": request.digest}}
        await queries.add_seen(connection, [row])
    elif stored[request.id]["digest"] != request.digest:
        raise _error()


async def _note_repeat(
    connection: AsyncConnection, request: KeyedRequest, stored: Mapping[str, object]
) -> None:
    """Note that a request came again: what was made for it is known to its caller, and not taken back any more.

    The row stays locked until the transaction ends, so that what is taken back at this moment is seen to be.
    """
    if "again" not in stored:
        await queries.change_seen(connection, request.id, {**stored, "again": True})


async def came_again(connection: AsyncConnection, request: KeyedRequest) -> bool:
    """Return whether a request came again; until the transaction ends, no repeat of it goes on."""
    return "again" in (await queries.seen(connection, [request.id], lock=True)).get(request.id, {})


def _made(outcome: Outcome) -> bool:
    return outcome.error is None or isinstance(outcome.error, MessageAbortedError)


def _error() -> IdempotencyKeyReusedError:
    return IdempotencyKeyReusedError("The same key came before with another request.")
