"""Bodies that trackers send, and the commands in them."""

import json
from collections.abc import Sequence

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from app.domain.tracking.commands import Command
from app.domain.tracking.trackers import MAX_COMMANDS, CommandId, TrackedCustomer, TrackedEvent
from app.platform.clock import clock
from app.platform.errors import InvalidRequestError

COMMAND_ID: TypeAdapter[str | int] = TypeAdapter(CommandId)


async def body_of_request(request: Request) -> object:
    """Return the body as JSON, whatever type it says it is of.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise wrong("Invalid JSON") from error


def wrong(said: str) -> InvalidRequestError:
    """Return the error for what is wrong with a body."""
    return InvalidRequestError(said, [{"loc": ["body"], "msg": said}])


def commands_in(body: object) -> Sequence[object]:
    """Return the commands of a batch, each of which is yet to be judged.

    Raises:
        InvalidRequestError: there are none, or too many.
    """
    commands = body.get("commands") if isinstance(body, dict) else None
    if not isinstance(commands, list) or not 1 <= len(commands) <= MAX_COMMANDS:
        raise wrong(f"commands: a list of 1 to {MAX_COMMANDS} commands is needed")
    return commands


def judged(command: object, result: dict[str, object]) -> Command | None:
    """Return what is to be carried out for a command of a batch; its result is told what is known already.

    Raises:
        InvalidRequestError: it is none.
    """
    if not isinstance(command, dict):
        raise wrong("a command is an object")
    id_ = command.get("command_id")
    if id_ is not None:
        try:
            result["command_id"] = COMMAND_ID.validate_python(id_)
        except ValidationError:
            raise wrong("command_id: a text of 1 to 255 characters is needed") from None
    if command.get("name") == "system/time":
        result["time"] = clock.timestamp()
        return None
    return command_of(command.get("name"), command.get("data"), None if id_ is None else str(id_))


def command_of(name: object, data: object, command_id: str | None = None) -> Command:
    """Return a command to carry out.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        if name == "customers":
            customer = TrackedCustomer.model_validate(data)
            return Command(
                customer.customer_ids,
                dict(customer.properties or {}),
                None,
                customer.update_timestamp,
                command_id,
            )
        if name == "customers/events":
            event = TrackedEvent.model_validate(data)
            return Command(
                event.customer_ids,
                dict(event.properties or {}),
                event.event_type,
                event.timestamp,
                command_id,
            )
    except ValidationError as error:
        found = InvalidRequestError.from_errors(error.errors(include_url=False))
        said = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in found.errors
        ]
        raise InvalidRequestError(found.detail, [{"loc": ["body"], "msg": each} for each in said]) from error
    raise wrong("name: 'customers', 'customers/events' or 'system/time' is needed")
