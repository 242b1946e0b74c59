"""The benchmarks start on a machine on which nothing is set; what they measure is not for a test."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = {path.stem: path.read_text() for path in Path(__file__).parent.parent.glob("benchmarks/*.py")}
BENCHMARKS = sorted(name for name, source in SOURCES.items() if 'if __name__ == "__main__":' in source)
OPTION = re.compile(r"--[a-z][a-z-]*")


@pytest.mark.docs
@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_starts_and_has_the_options_that_it_tells_of(name):
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    told = OPTION.findall(ast.get_docstring(ast.parse(SOURCES[name])))
    assert set(told) <= set(OPTION.findall(done.stdout.rpartition("\noptions:\n")[2]))
