"""`Idempotency-Key`: the same request again is answered as the first time, and done once.

Where a key becomes the id of what is made (an assignment, a message), that alone does it. For everything else there is
`Keyed`: the reply is kept for a day in the act's own transaction (`app/domain/access/replies`).
"""

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import orjson
from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from typing_extensions import TypedDict

from app.domain.access.replies import service
from app.domain.access.scopes import Caller
from app.platform.database import transaction
from app.platform.errors import DomainError
from app.platform.settings import Settings as AllSettings
from app.schema.texts import Identifier
from app.web.dependencies import Connection, ControlConnection, Settings
from app.web.guard import caller_of

NAME = "Idempotency-Key"
ALIKE = "The same request with the same key is done once, and answered alike"
"""What the document says of the header where another request with the key is refused."""
Key = Annotated[Identifier | None, Header(alias=NAME, description=ALIKE)]
REPLAYED = "Idempotency-Replayed"
Made = TypeVar("Made")


class Sent(TypedDict):
    """The reply that was sent the first time."""

    status: int
    headers: dict[str, str]
    body: str


_SENT = TypeAdapter(Sent)


def _replayed(kept: service.Reply) -> Response:
    reply = _SENT.validate_python(kept)
    return Response(reply["body"], reply["status"], reply["headers"] | {REPLAYED: "true"})


def derived(caller_id: uuid.UUID, key: str, *place: object) -> str:
    """Return a name that the same keyed request of the same caller gives to the same thing in it."""
    return str(uuid.uuid5(caller_id, orjson.dumps([key, *place]).decode()))


class KeyedRequest:
    """Does what a request asks for once, in a transaction that its route opens; a dependency."""

    def __init__(self, request: Request, response: Response, settings: Settings, key: Key = None) -> None:
        self._request = request
        self._response = response
        self._settings = settings
        self._key = key

    async def once_in(
        self, connection: AsyncConnection, act: Callable[[], Awaitable[Made]]
    ) -> Made | Response:
        """Return what `act` does, or the reply of the first time where the request was answered before.

        Raises:
            IdempotencyKeyReusedError: the key came before with another request.
        """
        if self._key is None:
            return await act()
        caller, same = caller_of(self._request), await self._same()
        taken, kept = await service.take(connection, self._settings, caller, self._key, same)
        if kept is not None:
            return _replayed(kept)
        sent = self._sent(await act())
        await service.keep(connection, self._settings, taken, sent)
        return Response(sent["body"], sent["status"], sent["headers"])

    async def before(self, engine: AsyncEngine) -> Response | None:
        """Return the reply of the first time; None where the request was not answered before.

        For routes that judge a request before they have the transaction in which they do it.

        Args:
            engine: of the database in which the reply is kept.

        Raises:
            IdempotencyKeyReusedError: the key came before with another request.
        """
        if self._key is None:
            return None
        caller, same = caller_of(self._request), await self._same()
        async with transaction(engine) as connection:
            kept = await service.answered(connection, self._settings, caller, self._key, same)
        return None if kept is None else _replayed(kept)

    async def once_done(
        self,
        engine: AsyncEngine,
        act: Callable[[], Awaitable[Made]],
        of_body: Callable[[], Awaitable[str]] | None = None,
    ) -> Made | Response:
        """Return what `act` does in transactions of its own, or the reply of the first time.

        For acts that change nothing when they are done again: the key is taken before, and the reply kept once they
        are done. What was broken off goes on with the same key, and of two alike at once both are done.

        Args:
            engine: of the service's database.
            act: does it.
            of_body: tells the body from others, where the route has read it.

        Raises:
            IdempotencyKeyReusedError: the key came before with another request.
        """
        key, settings = self._key, self._settings
        if key is None:
            return await act()
        caller, same = (
            caller_of(self._request),
            await self._same(None if of_body is None else await of_body()),
        )
        async with transaction(engine) as connection:
            taken, kept = await service.take(connection, settings, caller, key, same)
        if kept is not None:
            return _replayed(kept)
        try:
            sent = self._sent(await act())
        except DomainError:
            async with transaction(engine) as connection:
                await service.give_back(connection, taken)
            raise
        async with transaction(engine) as connection:
            await service.keep(connection, settings, taken, sent)
        return Response(sent["body"], sent["status"], sent["headers"])

    async def _same(self, of_body: str | None = None) -> list[object]:
        """Return what makes a request the same."""
        request = self._request
        body = of_body or hashlib.sha256(await request.body()).hexdigest()
        return [request.method, request.url.path, body]

    def _sent(self, made: object) -> Sent:
        route = self._request.scope["route"]
        assert isinstance(route, APIRoute)  # noqa: S101  (narrows the type)
        model: TypeAdapter[object] = TypeAdapter(route.response_model)
        text = model.dump_json(model.validate_python(made, from_attributes=True), by_alias=True).decode()
        headers = {**self._response.headers, "content-type": "application/json"}
        return {"status": route.status_code or 200, "headers": headers, "body": text}


class Keyed(KeyedRequest):
    """Does what a request asks for once; a dependency of routes that have a transaction."""

    def __init__(
        self,
        request: Request,
        response: Response,
        connection: Connection,
        settings: Settings,
        key: Key = None,
    ) -> None:
        super().__init__(request, response, settings, key)
        self._connection = connection

    async def once(self, act: Callable[[], Awaitable[Made]]) -> Made | Response:
        """Return what `act` does, or the reply of the first time, as `once_in` of the request's transaction."""
        return await self.once_in(self._connection, act)


class KeyedAtControl(Keyed):
    """Does what a request asks for once; a dependency of routes whose transaction is in the control database."""

    def __init__(
        self,
        request: Request,
        response: Response,
        connection: ControlConnection,
        settings: Settings,
        key: Key = None,
    ) -> None:
        super().__init__(request, response, connection, settings, key)


async def id_once(
    connection: AsyncConnection,
    settings: AllSettings,
    caller: Caller,
    key: str | None,
    same: Sequence[object],
    act: Callable[[], Awaitable[uuid.UUID]],
) -> tuple[uuid.UUID, bool]:
    """Return the id of what `act` makes, or made when the same request came before; and whether that was so.

    Args:
        connection: of the transaction that makes it.
        settings: of this process.
        caller: who sent the request.
        key: its `Idempotency-Key`.
        same: what makes a request the same.
        act: makes the thing.

    Raises:
        IdempotencyKeyReusedError: the key came before with another request.
    """
    if key is None:
        return await act(), False
    taken, kept = await service.take(connection, settings, caller, key, same)
    if kept is not None:
        return uuid.UUID(str(kept["id"])), True
    made = await act()
    await service.keep(connection, settings, taken, {"id": str(made)})
    return made, False


Once = Annotated[Keyed, Depends()]
OnceAtControl = Annotated[KeyedAtControl, Depends()]
OnceIn = Annotated[KeyedRequest, Depends()]
