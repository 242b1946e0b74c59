"""Every block of shell in README and docs is run, in order, as it stands; the reply that is shown is what comes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import KEY
from tests.service import Service

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```(sh|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if any(BLOCK.findall(page.read_text()))]
END = "----- end of block -----"


def blocks(page):
    """The shell of a page, block by block, each with the reply that is shown below it."""
    found = []
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "sh":
            found.append((text, None))
        elif found:
            found[-1] = (found[-1][0], text)
    return found


def run(page, folder, setting, replaced):
    """Run a page in one shell; what each of its blocks printed."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "vouchers").write_text(f'#!/bin/sh\nexec {sys.executable} -m app.cli "$@"\n')
    (folder / ".venv" / "bin" / "vouchers").chmod(0o755)
    script = "set -euo pipefail\n"
    for shell, _ in blocks(page):
        script += f"{shell}\necho; echo '{END}'\n"
    for old, new in replaced.items():
        script = script.replace(old, new)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VOUCHERS_HOME": str(folder / "home"), **setting}
    environment.pop("DATABASE_URL", None)
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        # The tour does not end its own server.
        with_server = os.getpgid(process.pid) if process.poll() is None else process.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(with_server, signal.SIGTERM)
    assert process.returncode == 0, output
    return output.split(END)[:-1]


def shows(shown, printed):
    """Whether a reply is as it is shown: white space does not count, and `…` stands for anything."""
    parts = [re.escape(re.sub(r"\s", "", part)) for part in shown.split("…")]
    return re.search(".*?".join(parts), re.sub(r"\s", "", printed)) is not None


@pytest.fixture(scope="module")
def service():
    with Service(workers=1, VOUCHERS_ALLOWED_HOSTS="") as running:
        yield running


@pytest.mark.docs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_shell_of_a_page_does_what_the_page_shows(page, service, tmp_path):
    setting = {"URL": service.url, "AUTH": f"Authorization: Bearer {KEY}"}
    for (shell, shown), printed in zip(blocks(page), run(page, tmp_path, setting, {}), strict=True):
        assert shown is None or shows(shown, printed), f"{shell}\nprinted\n{printed}\nand not\n{shown}"


@pytest.mark.docs
def test_the_tour_of_the_readme_does_what_it_shows(tmp_path, free_port):
    page = ROOT / "README.md"
    replaced = {
        "localhost:8000": f"localhost:{free_port}",
        "vouchers serve": f"vouchers serve --port {free_port}",
    }
    for (shell, shown), printed in zip(blocks(page), run(page, tmp_path, {}, replaced), strict=True):
        assert shown is None or shows(shown, printed), f"{shell}\nprinted\n{printed}\nand not\n{shown}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_shell_can_be_pasted_into_zsh(page):
    for shell, _ in blocks(page):
        assert not re.search(r"^[^'\"#]*\S\s+#\s", shell, re.MULTILINE), "a comment after a command"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 900
