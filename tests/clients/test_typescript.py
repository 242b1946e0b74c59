"""A TypeScript client made from the document does the main job, checked by `tsc --strict`.

The tools come from npm; where there is no Node the test is skipped, and CI is not such a place.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.factories import KEY

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node on this machine"),
]
PACKAGES = ["openapi-typescript@7", "openapi-fetch@0.13", "typescript@5", "@types/node@20"]
PROGRAM = Path(__file__).parent / "main_job.ts"


def run(*command, cwd, **environment):
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_client_in_typescript_does_the_main_job_and_knows_its_errors(service, document, tmp_path):
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    run("npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES, cwd=tmp_path)
    run(
        "npx",
        "openapi-typescript",
        str(document),
        "-o",
        "api.ts",
        "--default-non-nullable=false",
        cwd=tmp_path,
    )
    shutil.copy(PROGRAM, tmp_path / "main_job.ts")
    options = ["--strict", "--module", "nodenext", "--target", "es2022", "--skipLibCheck", "--outDir", "out"]
    run("npx", "tsc", *options, "main_job.ts", cwd=tmp_path)
    said = run("node", "out/main_job.js", cwd=tmp_path, SERVICE_URL=service.url, SERVICE_KEY=KEY)
    assert said.strip().endswith("the main job is done")
