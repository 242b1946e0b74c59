"""Backups by PostgreSQL's own programs, which come with the embedded one: made whole or not at all, and put back so."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from psycopg.conninfo import make_conninfo

from app.platform.errors import CommandError
from app.platform.postgres.programs import run, run_into
from app.platform.postgres.server import find_programs

SILENCE_SECONDS = 3600.0
"""A backup that has not grown for so long hangs. One that grows may take as long as it likes."""
RESTORE_SECONDS = 86_400.0
"""Longest time to put a backup back: nothing tells how far that is."""
_UNKNOWN = b"SET transaction_timeout = 0;\n"
SUFFIX = ".dump"
_FORM = "vouchers-%Y%m%dT%H%M%SZ" + SUFFIX


class BackupError(CommandError):
    """A backup cannot be made or put back; the message says why."""


def back_up(parameters: Mapping[str, str], file: Path, check: Callable[[], None] = lambda: None) -> None:
    """Write all of a database to a file, which appears once it is whole; readable by its owner only.

    Args:
        parameters: of a connection, as libpq names them.
        file: where to; what is there already is replaced.
        check: is called each second; what it raises ends the backup.

    Raises:
        BackupError: it cannot be made; nothing is left of it.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")

    def progress() -> int:
        check()
        return unfinished.stat().st_size

    try:
        unfinished.touch(mode=0o600)
        anywhere = {**parameters, "target_session_attrs": "any"}  # it may well come from a standby
        # The owner sees the rows of all projects by a policy, unless it is a superuser, whom policies do not bind.
        what = ("--format=custom", "--no-owner", "--no-acl", "--enable-row-security")
        _run(
            "pg_dump",
            anywhere,
            *what,
            f"--file={unfinished}",
            seconds=SILENCE_SECONDS,
            progress=progress,
        )
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(file)
    except OSError as error:
        raise BackupError(f"The backup cannot be written to {file}: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def put_back(parameters: Mapping[str, str], file: Path) -> None:
    """Fill an empty database from a backup: all of it, or nothing; but for policies, which name roles.

    The server may be an older one than the program: psql runs what pg_restore writes, but for what that does not know.

    Raises:
        BackupError: it cannot be read, or does not fit.
    """
    target, secret = _target(parameters)
    restore = ("pg_restore", "--no-owner", "--no-acl", "--no-policies", "--file=-", str(file))
    fill = ("psql", target, "--no-password", "--no-psqlrc", "--quiet")
    whole = ("--single-transaction", "--set=ON_ERROR_STOP=1", "--file=-")
    try:
        code, said = run_into(
            _command(*restore),
            _command(*fill, *whole),
            RESTORE_SECONDS,
            hand_on=_without_timeout,
            environment=secret,
        )
    except subprocess.TimeoutExpired as error:
        raise BackupError(f"pg_restore did not end within {RESTORE_SECONDS:g} s, and was ended.") from error
    if code != 0:
        raise BackupError(_fault(said))


def _without_timeout(script: IO[bytes], into: IO[bytes]) -> None:
    """Hand a script on without the setting, near its beginning, that servers before PostgreSQL 17 do not know."""
    for line in script:
        if line == _UNKNOWN:
            break
        into.write(line)
    shutil.copyfileobj(script, into)


def made(folder: Path, now: datetime) -> dict[datetime, Path]:
    """Return the backups that were made by the clock, by when they were begun; the one that was made first, first.

    Those of a time that is to come were made before the others, by a clock that was ahead.
    """
    files = {_begun(file): file for file in folder.glob("vouchers-*Z" + SUFFIX)}
    moments = sorted((moment for moment in files if moment is not None), key=lambda at: (at <= now, at))
    return {moment: files[moment] for moment in moments}


def _begun(file: Path) -> datetime | None:
    try:
        return datetime.strptime(file.name, _FORM).replace(tzinfo=UTC)
    except ValueError:  # somebody has called it so
        return None


def name_of(moment: datetime) -> str:
    """Return the name of a backup that is made by the clock."""
    return moment.astimezone(UTC).strftime(_FORM)


def _run(
    program: str,
    parameters: Mapping[str, str],
    *arguments: str,
    seconds: float,
    progress: Callable[[], int] = lambda: 0,
) -> None:
    target, secret = _target(parameters)
    command = _command(program, target, "--no-password", *arguments)
    try:
        code, said = run(command, seconds, environment=secret, progress=progress)
    except subprocess.TimeoutExpired as error:
        raise BackupError(f"{program} did not get on for {seconds:g} s, and was ended.") from error
    if code != 0:
        raise BackupError(f"{program}: {_fault(said)}")


def _target(parameters: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the argument that names a database, and what the environment tells besides."""
    given = {name: value for name, value in parameters.items() if name not in {"password", "options"}}
    secret = {}
    if "password" in parameters:
        secret["PGPASSWORD"] = parameters["password"]  # never among the arguments, which everybody sees
    return f"--dbname={make_conninfo('', **given)}", secret


def _command(program: str, *arguments: str) -> list[str]:
    return [str(find_programs() / program), *arguments]


def _fault(said: str) -> str:
    """Return the line that tells what was wrong."""
    return next((line for line in said.splitlines() if "error" in line.lower()), said)
