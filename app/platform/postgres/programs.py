"""Runs PostgreSQL's own programs, which come with the embedded one, and ends those that hang."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import IO

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
        env=_around(environment),
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


def run_into(
    source: Sequence[str],
    target: Sequence[str],
    seconds: float,
    *,
    hand_on: Callable[[IO[bytes], IO[bytes]], None],
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run two programs, of which one reads what the other writes; return an exit code and what they said.

    The code is 0 where both ended well. The one that reads is told that this was all once the other one has ended
    well; else it is interrupted.

    Args:
        source: the program that writes, and its arguments.
        target: the program that reads, and its arguments.
        seconds: how long they may take.
        hand_on: gives the one what the other has written.
        environment: what both are told besides.

    Raises:
        subprocess.TimeoutExpired: they hung, and were ended.
    """
    over = threading.Event()
    with tempfile.TemporaryFile() as said:
        with ExitStack() as stack:

            def begin(command: Sequence[str], stdin: int, stdout: int) -> "subprocess.Popen[bytes]":
                process = subprocess.Popen(  # noqa: S603  (as above)
                    command, env=_around(environment), stdin=stdin, stdout=stdout, stderr=said
                )
                stack.callback(_end, process)
                return process

            writes = begin(source, subprocess.DEVNULL, subprocess.PIPE)
            reads = begin(target, subprocess.PIPE, subprocess.DEVNULL)

            def give_up() -> None:
                over.set()
                writes.kill()
                reads.kill()

            timer = threading.Timer(seconds, give_up)
            stack.callback(timer.cancel)
            timer.start()
            assert writes.stdout is not None and reads.stdin is not None  # noqa: S101, PT018  (narrows the types)
            with suppress(BrokenPipeError):  # the one that reads has ended, and says why
                hand_on(writes.stdout, reads.stdin)
                if writes.wait() == 0:
                    reads.stdin.close()
                    reads.wait()
        if over.is_set():
            raise subprocess.TimeoutExpired(source, seconds)
        said.seek(0)
        return reads.returncode or writes.returncode, said.read().decode(errors="replace").strip()


def _around(environment: Mapping[str, str] | None) -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", **(environment or {})}


def _end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """Interrupt a program, and kill one that goes on; the disk may hold up even that, and is not waited for."""
    for number in (signal.SIGINT, signal.SIGKILL):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING_SECONDS)
            break
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # what was not handed on yet
                pipe.close()
