"""The locks hold what pyproject.toml asks for, and nothing is installed that was not locked with its hashes."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, str]:
    """The versions of a lock; each stands there with at least one hash."""
    found = {}
    for entry in (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split(" --hash=")
        assert hashes, f"{entry!r} has no hash"
        package, version = requirement.partition(";")[0].strip().split("==")
        found[canonicalize_name(package)] = version
    return found


def wanted(*extras: str) -> Iterator[Requirement]:
    """What the project asks for, with these extras; one that names the project stands for its own extras."""
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    for text in texts:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            yield from wanted(*requirement.extras)
        else:
            yield requirement


@pytest.mark.parametrize(("name", "extras"), [("service", ()), ("dev", ("dev",))])
def test_a_lock_holds_what_the_project_asks_for(name, extras):
    versions = locked(name)
    for requirement in wanted(*extras):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not locked; run `make lock`"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement}: {version} is locked"
        )


def test_the_service_has_the_versions_that_were_tested():
    assert locked("service").items() <= locked("dev").items()
    assert locked("build").items() <= locked("dev").items()


def test_no_lock_names_a_host():
    for lock in (ROOT / "requirements").glob("*.txt"):
        assert not re.search(r"https?://|index-url|find-links", lock.read_text())
