"""The benchmarks start on a machine on which nothing is set; what they measure is not for a test."""

import os
import subprocess
import sys

import pytest


@pytest.mark.docs
@pytest.mark.parametrize(
    "name",
    [
        "assign",
        "beside",
        "bulk",
        "changes",
        "databases",
        "finding",
        "growth",
        "imports",
        "large",
        "logged",
        "projects_many",
        "render",
        "sizes",
        "trackers",
        "webhooks",
        "wire",
    ],
)
def test_it_starts(name):
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--rounds" in done.stdout
