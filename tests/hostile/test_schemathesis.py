"""Requests made from the OpenAPI document, right and wrong: no fault, and nothing that the document does not say."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.factories import KEY
from tests.service import Service

pytestmark = pytest.mark.hostile
EXAMPLES = os.environ.get("VOUCHERS_EXAMPLES", "25")
LONGEST_SECONDS = 600
CONFIG = Path(__file__).parent / "schemathesis.toml"


def test_every_operation_answers_as_the_document_says():
    with Service(workers=2) as service, httpx.Client(base_url=service.url) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        codes = "code\n" + "".join(f"SAVE-{n}\n" for n in range(5000))
        files = {"file": ("codes.csv", codes)}
        client.post(
            "/v1/pools/spring_sale/imports", files=files, headers={"Prefer": "wait=30"}
        ).raise_for_status()
        command = [
            *(str(Path(sys.executable).parent / "schemathesis"), f"--config-file={CONFIG}"),
            *("run", f"{service.url}/openapi.json", f"--header=Authorization: Bearer {KEY}"),
            *(f"--max-examples={EXAMPLES}", "--seed=1", "--phases=examples,coverage,fuzzing"),
            *("--request-timeout=30", "--no-color"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS)
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
        assert service.run("check").returncode == 0
