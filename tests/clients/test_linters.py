"""The linters of the field have nothing to say about the document."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node on this machine"),
]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linters")
    (folder / "package.json").write_text('{"private": true}')
    packages = ["@redocly/cli@2", "@stoplight/spectral-cli@6"]
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *packages]
    subprocess.run(command, cwd=folder, check=True)
    return folder


def run(*command, cwd):
    environment = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_spectral_finds_nothing(document, tools):
    shutil.copy(HERE / "spectral.yaml", tools)
    done = run(
        "npx", "spectral", "lint", "--ruleset=spectral.yaml", "--fail-severity=hint", str(document), cwd=tools
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_redocly_finds_nothing(document, tools):
    shutil.copy(HERE / "redocly.yaml", tools)
    done = run(
        "npx", "redocly", "lint", "--config=redocly.yaml", "--max-problems=1000", str(document), cwd=tools
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower().replace("deprecation warning", "")
