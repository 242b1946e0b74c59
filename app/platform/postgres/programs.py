"""Runs PostgreSQL's own programs, which come with the embedded one, and ends those that hang."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

_ENDING_SECONDS = 10.0
"""What a program may take to take back what it began, and the system to end one that was killed."""
_LOOK_SECONDS = 1.0
"""Longest time between two looks at how far a program is."""


def run(
    command: Sequence[str],
    seconds: float,
    *,
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
    progress: Callable[[], int] = lambda: 0,
) -> tuple[int, str]:
    """Run a program without the service's secrets; return its exit code, and what it said.

    What interrupts us interrupts the program too: then initdb and pg_ctl take back what they began.

    Args:
        command: the program and its arguments.
        seconds: how long it may go without progress.
        environment: what it is told besides.
        folder: where it is run, if not here.
        progress: tells how far it is, each second; what it raises ends the program. By default nothing is progress but
            its end.

    Raises:
        subprocess.TimeoutExpired: it hung, and was ended.
    """
    process = subprocess.Popen(  # noqa: S603  (no shell; the programs are the wheel's)
        command,
        cwd=folder,
        env={"PATH": os.defpath, "LC_ALL": "C", **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        now, since = progress(), time.monotonic()
        while True:
            try:
                said, _ = process.communicate(timeout=min(seconds, _LOOK_SECONDS))
            except subprocess.TimeoutExpired:
                before, now = now, progress()
                if now != before:
                    since = time.monotonic()
                elif time.monotonic() - since >= seconds:
                    raise
            else:
                return process.returncode, said.strip()
    except BaseException:
        _end(process)
        raise


def _end(process: "subprocess.Popen[str]") -> None:
    """Interrupt a program, and kill one that goes on; the disk may hold up even that, and is not waited for."""
    for number in (signal.SIGINT, signal.SIGKILL):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING_SECONDS)
            break
    if process.stdout is not None:
        process.stdout.close()
