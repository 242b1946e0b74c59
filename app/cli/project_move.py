"""`vouchers project move`."""

from datetime import timedelta
from typing import Annotated

import typer

from app.cli import opening
from app.domain.projects.moving import service
from app.platform.errors import CommandError, DomainError
from app.schema.names import nfc


def move_project(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the project.")],
    database: Annotated[
        str, typer.Argument(metavar="DATABASE", help="Where it is to live; `main` is the first.")
    ] = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Undo a move that is not done yet: the project stays where it is.")
    ] = False,
    keep: Annotated[
        float,
        typer.Option(
            min=0, help="Hours for which the old rows are kept where it lived before; one at the least."
        ),
    ] = 24,
    without_target: Annotated[
        bool,
        typer.Option(
            "--without-target", help="With --undo: the other database will not come back; leave it."
        ),
    ] = False,
    without_source: Annotated[
        bool,
        typer.Option(
            "--without-source",
            help="It has moved, and the database that it left will not come back: end the move without that.",
        ),
    ] = False,
) -> None:
    """Move a project to another database while it is served; started again, it goes on where it was broken off."""
    if sum((bool(database), undo, without_source)) != 1:
        raise CommandError("Give the database to move to, or --undo, or --without-source.")
    with opening.database() as (settings, postgres):
        opening.bring_up(settings)
        keyed = opening.with_secret_key(settings, embedded=postgres is not None)
        try:
            if undo:
                service.undo(keyed, nfc(name), _tell, without_target=without_target)
                return
            if without_source:
                service.leave_source(keyed, nfc(name), _tell)
                return
            seconds = service.move(keyed, nfc(name), nfc(database), timedelta(hours=keep), _tell)
        except DomainError as error:
            raise CommandError(error.detail) from error
    print(f"Done: {name} lives in {database}. Its writes were refused for {seconds:.2f} s.")


def _tell(said: str) -> None:
    print(said, flush=True)
