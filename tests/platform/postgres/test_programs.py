"""A program of PostgreSQL's that hangs is ended, whatever it was at."""

import subprocess
import sys
import time
from shutil import copyfileobj

import pytest

from app.platform.postgres import programs

HANGS = "import time; print('begun', flush=True); time.sleep(600)"
PASSES_OVER_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);" + HANGS
CANNOT_HEAR = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"


def test_what_ends_by_itself_tells_how_and_what_it_said():
    assert programs.run(["sh", "-c", "echo one; echo two >&2; exit 3"], 60) == (3, "one\ntwo")
    assert programs.run(["sh", "-c", "echo $SECRET"], 60, environment={"SECRET": "word"}) == (0, "word")


@pytest.mark.parametrize("code", [HANGS, PASSES_OVER_INTERRUPTS, CANNOT_HEAR])
def test_what_hangs_is_ended(code, monkeypatch):
    monkeypatch.setattr(programs, "_ENDING_SECONDS", 0.5)
    begun = []
    real = subprocess.Popen

    def begin(*arguments, **named):
        begun.append(real(*arguments, **named))
        return begun[0]

    monkeypatch.setattr(subprocess, "Popen", begin)
    with pytest.raises(subprocess.TimeoutExpired):
        programs.run([sys.executable, "-c", code], 1)
    assert begun[0].wait(20) != 0


def test_what_gets_on_may_take_as_long_as_it_likes(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_ENDING_SECONDS", 0.5)
    grows = tmp_path / "grows"
    grows.touch()
    code = "for n in 1 2 3 4; do sleep 0.2; echo $n >> $0; done; sleep 600"
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        programs.run(["sh", "-c", code, str(grows)], 0.5, progress=lambda: grows.stat().st_size)
    assert grows.read_text() == "1\n2\n3\n4\n"
    assert time.monotonic() - began > 1


def sh(code, *arguments):
    return ["sh", "-c", code, *map(str, arguments)]


def test_of_two_programs_one_reads_all_that_the_other_writes(tmp_path):
    read, all_of_it = tmp_path / "read", "cat > $0; echo that was all >> $0"
    there = programs.run_into(sh("echo one; echo two >&2"), sh(all_of_it, read), 60, hand_on=copyfileobj)
    assert (there, read.read_text()) == ((0, "two"), "one\nthat was all\n")


def test_a_program_is_not_told_the_end_of_what_was_broken_off(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_ENDING_SECONDS", 0.1)
    read, at_the_end = tmp_path / "read", "cat > /dev/null; echo that was all > $0"
    code, said = programs.run_into(
        sh("echo one; echo broken >&2; exit 3"), sh(at_the_end, read), 60, hand_on=copyfileobj
    )
    assert code != 0
    assert "broken" in said
    assert not read.exists()


def test_a_program_that_reads_no_more_ends_the_one_that_writes():
    ended = programs.run_into(["yes"], sh("read line; echo $line >&2; exit 4"), 60, hand_on=copyfileobj)
    assert ended == (4, "y")


def test_two_programs_that_hang_are_ended():
    with pytest.raises(subprocess.TimeoutExpired):
        programs.run_into(["sleep", "600"], ["sleep", "600"], 0.1, hand_on=copyfileobj)
