"""`vouchers api-key`."""

import sys
import uuid
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.cli.opening import FIRST
from app.cli.projects import Of, asked
from app.domain.access.keys import service as auth
from app.domain.access.keys.schemas import DEFAULT_GRACE_SECONDS, MAX_GRACE_SECONDS, ApiKeyRecord
from app.domain.access.scopes import Scope
from app.domain.projects import service as projects
from app.platform.clock import clock
from app.platform.errors import CommandError
from app.schema.names import nfc, visible

api_key = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")


@api_key.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be given several times.")],
    project: Of = FIRST,
    expires_at: Annotated[
        str | None, typer.Option(help="From when on it is refused, as 2027-01-31T12:00:00Z.")
    ] = None,
) -> None:
    """Make a key. Its secret is shown once and stored nowhere."""
    until = moment(expires_at) if expires_at is not None else None
    try:
        wanted = visible(name)
    except ValueError as error:
        raise CommandError(f"The key needs another name: {error}.") from error

    async def create(connection: AsyncConnection) -> str:
        async with projects.inside(connection, nfc(project)) as of:
            return (await auth.issue(connection, None, of.id, wanted, scope, expires_at=until))[1]

    print(asked(create))


@api_key.command("rotate")
def rotate_key(
    key_id: Annotated[uuid.UUID, typer.Argument(metavar="ID", help="Id of the key, as in the list.")],
    grace_seconds: Annotated[
        int, typer.Option(min=0, max=MAX_GRACE_SECONDS, help="How long the old secret is good too.")
    ] = DEFAULT_GRACE_SECONDS,
    project: Of = FIRST,
) -> None:
    """Give a key a new secret, which is shown once; its id and scopes stay."""

    async def rotate(connection: AsyncConnection) -> str:
        async with projects.inside(connection, nfc(project)) as of:
            return (await auth.rotate(connection, None, of.id, key_id, grace_seconds))[1]

    print(asked(rotate))


@api_key.command("list")
def list_keys(
    project: Annotated[
        str, typer.Option("--project", metavar="PROJECT", help="The project whose keys are listed.")
    ] = FIRST,
) -> None:
    """List the keys of a project."""

    async def page(connection: AsyncConnection) -> list[ApiKeyRecord]:
        of = await projects.get(connection, nfc(project))
        return await auth.list_page(connection, of.id, None, None)

    for row in asked(page):
        state = "active"
        if row.revoked_at:
            state = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}"
        elif row.expires_at:
            state = f"until {row.expires_at:%Y-%m-%d %H:%M}"
        print(f"{row.id}  {row.created_at:%Y-%m-%d %H:%M}  {','.join(row.scopes):20}  {row.name}  {state}")


@api_key.command("revoke")
def revoke_key(
    key_id: Annotated[uuid.UUID, typer.Argument(metavar="ID", help="Id of the key, as in the list.")],
    project: Of = FIRST,
) -> None:
    """Revoke a key: it stops working within seconds."""

    async def revoke(connection: AsyncConnection) -> bool:
        async with projects.inside(connection, nfc(project)) as of:
            return await auth.revoke(connection, None, of.id, key_id)

    if not asked(revoke):
        print(f"There is no active key {key_id}.", file=sys.stderr)
        raise typer.Exit(1)


def moment(text: str) -> datetime:
    """Return a time from the command line; without a zone it is in UTC.

    Raises:
        CommandError: it is none, or has passed.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is no time; write it as 2027-01-31T12:00:00Z.") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    if found <= clock.now():
        raise CommandError(f"{text} has passed.")
    return found
