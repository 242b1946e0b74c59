"""How a command ends that is told to, so that what it has started is stopped."""

import signal


def leave_cleanly() -> None:
    """End the command by SystemExit where it is told to stop (SIGTERM) or its terminal is closed (SIGHUP)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, _leave)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
