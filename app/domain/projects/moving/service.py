"""The rules of moves: which may begin, go on, be undone; what becomes of those that nobody is at."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import psycopg
import structlog

from app.domain.projects.moving import checks, finishing, queries
from app.domain.projects.moving.ends import Source, Target, source_of, target_of
from app.domain.projects.moving.errors import MismatchError, MoveError
from app.domain.projects.moving.mover import Mover
from app.domain.projects.moving.queries import LEFT, PAUSED, SWITCHED, UNDOING, MoveRecord
from app.domain.projects.moving.tables import Connection
from app.domain.projects.service import LATE, settled_seconds
from app.platform.connections import LONG_SECONDS, connect_sync
from app.platform.databases import unsealed
from app.platform.errors import DomainError
from app.platform.projects import DEFAULT
from app.platform.settings import Settings

KEPT = timedelta(days=1)
LOCK_SECONDS = 5.0
"""Longest wait for a session of whoever was at the move and is gone."""
HUNG_SECONDS = 15.0
"""A pause that lasts so long is ended, whoever holds it."""
ABANDONED_SECONDS = 3600.0
"""A move at which nobody was for so long is undone: its slot keeps all of the source's log."""
ATTEND_SECONDS = 30.0
"""Longest statement of who looks after all moves: a database that hangs holds up none of the others for longer."""
Tell = Callable[[str], object]
IsOver = Callable[[], bool]
"""Tells whether to leave the rest to another time."""
log = structlog.get_logger()


def move(settings: Settings, name: str, database: str, keep: timedelta, tell: Tell) -> float:
    """Move a project, from wherever an earlier try was broken off; return how long it was paused, in seconds.

    Args:
        settings: of the control database.
        name: of the project.
        database: where it is to live.
        keep: how long its old rows are kept; it is an hour at the least.
        tell: is told of each step.

    Raises:
        MoveError: it cannot be moved; it is served as before, where the message does not say otherwise.
    """
    with _control(settings) as control:
        record = _begun(settings, control, name, database, keep)
        with _alone(control, record.project_id):
            record = queries.find(control, record.project_id) or record
            if record.step in {SWITCHED, LEFT}:
                _finish(settings, control, record)
                tell(f"It lives in {record.target} already.")
                return 0.0
            try:
                with _ends(settings, record) as (source, target):
                    mover = Mover(control, record, source, target, tell)
                    mover.run()
            except (MismatchError, MoveError, psycopg.Error) as error:
                _note(control, record, error)
                raise
        return mover.paused_seconds


def undo(settings: Settings, name: str, tell: Tell, *, without_target: bool = False) -> None:
    """Undo a project's move: it stays where it is, and nothing of the move is left.

    Args:
        settings: of the control database.
        name: of the project.
        tell: is told of each step.
        without_target: leave the target as it is: it will not come back.

    Raises:
        MoveError: there is none, or it is done; or a database cannot be reached, and it has to be undone again.
    """
    with _control(settings) as control:
        residence = queries.residence(control, name)
        record = None if residence is None else queries.find(control, residence.project_id)
        if record is None:
            raise MoveError(f"Project {name!r} is not being moved.")
        with _alone(control, record.project_id):
            record = queries.find(control, record.project_id)
            if record is None:
                return
            if record.step in {SWITCHED, LEFT}:
                raise MoveError(
                    f"Project {name!r} lives in {record.target!r} already."
                    f" To go back: vouchers project move {name} {record.source}"
                )
            _undo(settings, control, record, without_target=without_target)
    tell("Undone: the project stays where it was.")


def leave_source(settings: Settings, name: str, tell: Tell) -> None:
    """End the move of a project that was switched, without the database that it left: that will not come back.

    Args:
        settings: of the control database.
        name: of the project.
        tell: is told when it is done.

    Raises:
        MoveError: the project has left none, or that can be reached: then what is left there goes by itself.
    """
    with _control(settings) as control:
        residence = queries.residence(control, name)
        project = 0 if residence is None else residence.project_id
        with _alone(control, project):
            record = queries.find(control, project)
            if record is None or record.step not in {SWITCHED, LEFT}:
                raise MoveError(f"Project {name!r} has left no database.")
            if _answers(settings, record):
                raise MoveError(f"Database {record.source!r} is there: what is left in it goes by itself.")
            with _target(settings, record) as target:
                finishing.arrive(control, record, target)
                target.guard.remove(finishing.TRIGGER_SECONDS)
            queries.forget(control, project)
    tell(
        f"Done: the project lives in {record.target}; what it left in {record.source} is not looked after any more."
    )


def _answers(settings: Settings, record: MoveRecord) -> bool:
    """Return whether the database that a project left can be reached."""
    try:
        with _source(settings, record):
            return True
    except psycopg.OperationalError:
        return False


def attend(settings: Settings, is_over: IsOver = lambda: False, *, paused: bool | None = None) -> None:
    """Look after moves that nobody is at: lift pauses, finish what is switched, undo what was given up.

    Where a database cannot be reached, or a table's lock is not to be had, the next call goes on.

    Args:
        settings: of the control database.
        is_over: whether to leave the rest to another time.
        paused: whether only after those that are paused, or only after the others; None: after all.
    """
    with connect_sync(settings, seconds=ATTEND_SECONDS, autocommit=True) as control:
        for record in queries.all_moves(control):
            if paused not in {None, record.step == PAUSED}:
                continue
            try:
                attend_one(settings, control, record.project_id, is_over)
            except (MoveError, DomainError, psycopg.Error) as error:
                if control.closed:
                    raise
                log.warning(
                    "a move waits", project=record.project_id, step=record.step, error=str(error)[:200]
                )


def attend_one(
    settings: Settings, control: Connection, project: int, is_over: IsOver = lambda: False
) -> None:
    """Look after one move, if nobody is at it."""
    record = queries.find(control, project)
    if record is None:
        return
    if record.step == PAUSED and record.seconds > HUNG_SECONDS:
        queries.end_holder(control, project)
    if not queries.take(control, project):
        return
    try:
        record = queries.find(control, project)
        if record is not None:
            _attend(settings, control, record, is_over)
    finally:
        queries.leave(control, project)


def _attend(settings: Settings, control: Connection, record: MoveRecord, is_over: IsOver) -> None:
    if record.step == PAUSED:
        with _source(settings, record, ATTEND_SECONDS) as source:
            finishing.lift(control, record.project_id, source, None)
    elif record.step == SWITCHED:
        _finish(settings, control, record, ATTEND_SECONDS)
    elif record.step == LEFT:
        if record.seconds >= _kept_seconds(settings, record):
            with _source(settings, record, ATTEND_SECONDS) as source:
                finishing.clear(control, record, source, is_over)
    elif record.step == UNDOING or record.deleting or record.seconds > ABANDONED_SECONDS:
        _undo(settings, control, record, ATTEND_SECONDS)


def _kept_seconds(settings: Settings, record: MoveRecord) -> float:
    """Return how long old rows stay, and the guard with them: it tells whoever has not heard of the switch.

    Without it, what a request writes there that was let in before would be acknowledged, and never seen again.
    """
    if record.deleting:
        return settled_seconds(settings)
    return max(record.keep, LATE).total_seconds()


def _finish(
    settings: Settings, control: Connection, record: MoveRecord, seconds: float = LONG_SECONDS
) -> None:
    """Do what is left of a move that is switched: first at the target, for the source may be away for long."""
    with _target(settings, record, seconds) as target:
        finishing.arrive(control, record, target)
        with _source(settings, record, seconds) as source:
            finishing.finish(control, record, source, target)


def _undo(
    settings: Settings,
    control: Connection,
    record: MoveRecord,
    seconds: float = LONG_SECONDS,
    *,
    without_target: bool = False,
) -> None:
    """Undo a move: first at the source, where a slot would fill the disk and people wait."""
    project = record.project_id
    queries.step(control, project, UNDOING)
    with _source(settings, record, seconds) as source:
        finishing.undo_source(source, project)
    if not without_target:
        try:
            with _target(settings, record, seconds) as target:
                finishing.undo_target(target, project)
        except psycopg.OperationalError as error:
            raise MoveError(
                f"The project stays in {record.source!r}, and nothing of the move is left there. What was copied to"
                f" {record.target!r} goes when that can be reached: undo once more, or with --without-target if never."
            ) from error
    queries.forget(control, project)


def _begun(settings: Settings, control: Connection, name: str, database: str, keep: timedelta) -> MoveRecord:
    """Return the project's move, begun now if it is not yet.

    Raises:
        MoveError: it cannot begin.
    """
    residence = queries.residence(control, name)
    if residence is None or residence.deleting:
        raise MoveError(f"There is no project {name!r}.")
    if residence.project_id == DEFAULT:
        raise MoveError(f"Project {name!r} stays in the control database: keys and commands rely on it.")
    wanted = queries.database_named(control, database)
    if wanted is None:
        raise MoveError(f"There is no database {database!r}.")
    target_id, is_drained = wanted
    record = queries.find(control, residence.project_id)
    if record is not None and record.step == LEFT and target_id != record.target_id:
        _clear_now(settings, control, record)
        record = None
    if record is not None:
        if record.target_id != target_id or record.step == UNDOING:
            raise MoveError(
                f"Project {name!r} is on its way to {record.target!r}: go on, or undo it with --undo."
            )
        return record
    if residence.database_id == target_id:
        raise MoveError(f"Project {name!r} lives in {database!r}.")
    if is_drained:
        raise MoveError(f"Database {database!r} is drained: it takes no projects.")
    queries.begin(control, residence.project_id, residence.database_id, target_id, keep)
    begun = queries.find(control, residence.project_id)
    assert begun is not None  # noqa: S101  (it was just stored)
    try:
        with _ends(settings, begun) as (source, target):
            checks.check(source.connection, target.connection)
    except (MoveError, DomainError, psycopg.Error):
        queries.forget(control, residence.project_id)
        raise
    return begun


def _clear_now(settings: Settings, control: Connection, record: MoveRecord) -> None:
    """Delete the rows that an earlier move left, for the project moves on; first let requests end that did not hear."""
    time.sleep(max(0.0, settled_seconds(settings) - record.seconds))
    with (
        _alone(control, record.project_id),
        _source(settings, record) as source,
    ):
        finishing.clear(control, record, source)


@contextmanager
def _control(settings: Settings) -> Iterator[Connection]:
    with connect_sync(settings, autocommit=True) as control:
        yield control


@contextmanager
def _alone(control: Connection, project: int) -> Iterator[None]:
    """Let nobody else be at a project's move.

    Raises:
        MoveError: somebody is.
    """
    end = time.monotonic() + LOCK_SECONDS
    while not queries.take(control, project):
        if time.monotonic() > end:
            raise MoveError("Another process is at the move of this project.")
        time.sleep(0.2)
    try:
        yield
    finally:
        if not control.closed:
            queries.leave(control, project)


def _source(
    settings: Settings, record: MoveRecord, seconds: float = LONG_SECONDS
) -> AbstractContextManager[Source]:
    return source_of(unsealed(settings, record.source_url), record.project_id, seconds)


def _target(
    settings: Settings, record: MoveRecord, seconds: float = LONG_SECONDS
) -> AbstractContextManager[Target]:
    return target_of(unsealed(settings, record.target_url), record.project_id, seconds)


@contextmanager
def _ends(settings: Settings, record: MoveRecord) -> Iterator[tuple[Source, Target]]:
    with (
        _source(settings, record) as source,
        _target(settings, record) as target,
    ):
        yield source, target


def _note(control: Connection, record: MoveRecord, error: Exception) -> None:
    """Store why a move did not go on, where it can be stored."""
    if control.closed:
        return
    now = queries.find(control, record.project_id)
    if now is not None:
        queries.step(control, record.project_id, now.step, str(error).splitlines()[0][:500])
