"""A command that is told to stop, or whose terminal is closed, stops what it has started."""

import os
import signal
import subprocess
import sys

import pytest

COMMAND = """
import signal, sys
from app.cli.opening import database

number = signal.Signals[sys.argv[1]]
if sys.argv[2:]:
    signal.signal(number, signal.SIG_IGN)
with database():
    try:
        signal.raise_signal(number)
        sys.stdout.write("goes on")
    finally:
        sys.stdout.write(" cleans up")
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        pytest.param(["SIGTERM"], 143, " cleans up", marks=pytest.mark.long),
        (["SIGHUP"], 129, " cleans up"),
        pytest.param(["SIGHUP", "under nohup"], 0, "goes on cleans up", marks=pytest.mark.long),
    ],
)
def test_a_command_leaves_nothing_behind(words, code, said, database_url):
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # however the tests were started
    )
    assert (ended.returncode, ended.stdout) == (code, said), ended.stderr
