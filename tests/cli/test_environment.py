"""What commands start for another database is not led to the one of the environment, however that is given."""

import subprocess

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from app.cli import demo, opening
from app.platform.sealing import fernet

GIVEN = (
    "DATABASE_URL_FILE",
    "VOUCHERS_DIRECT_DATABASE_URL",
    "VOUCHERS_DIRECT_DATABASE_URL_FILE",
    "VOUCHERS_READ_DATABASE_URL",
    "VOUCHERS_BOOTSTRAP_KEY_FILE",
)


@pytest.fixture(autouse=True)
def _given(settings, monkeypatch):
    for name in GIVEN:
        monkeypatch.setenv(name, "/run/secrets/of_the_shop")


def test_the_demo_has_a_database_and_a_key_of_its_own(tmp_path):
    assert not {"DATABASE_URL", "VOUCHERS_BOOTSTRAP_KEY", *GIVEN} & demo._environment(tmp_path).keys()


def test_a_further_database_is_migrated_and_not_the_control_database(settings, monkeypatch):
    ran = []

    def run(command, *, env, **_):
        ran.append(env)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(opening, "is_behind", lambda _: True)
    monkeypatch.setattr(opening.subprocess, "run", run)
    keyed = settings.model_copy(update={"secret_key": SecretStr(Fernet.generate_key().decode())})
    assert opening._bring_up_one(keyed, fernet(keyed).encrypt(settings.database_url.encode())) is None
    (environment,) = ran
    assert environment["DATABASE_URL"].endswith(settings.database_url.partition("://")[2])
    assert not {each for each in GIVEN if "DATABASE" in each} & environment.keys()
