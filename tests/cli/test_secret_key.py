"""The key that seals: one for all, wherever it comes from, and never printed."""

import os
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from app.cli.opening import with_secret_key
from app.domain.imports.sources.resealing import seal_anew
from app.platform import secret_key
from app.platform.database import transaction
from app.platform.errors import CommandError
from app.platform.sealing import fernet
from app.platform.settings import Settings, get_settings


@pytest.fixture
def outside(database_url, tmp_path, monkeypatch):
    """Settings of machines that share a database, and have no key of their own."""
    monkeypatch.delenv("VOUCHERS_SECRET_KEY")
    url = database_url.replace("://vouchers@", "://vouchers:secret@")

    def settings(machine="a", **more):
        return Settings(DATABASE_URL=more.pop("url", url), home=tmp_path / machine, **more)

    return settings


def test_machines_that_share_a_database_seal_with_one_key(outside):
    assert secret_key.ensure(outside("a"), embedded=False) == secret_key.ensure(outside("b"), embedded=False)
    assert not outside("a").home.exists()


async def test_the_key_in_the_database_is_wrapped(outside, engine):
    key = secret_key.ensure(outside(), embedded=False)
    async with transaction(engine) as connection:
        wrapped = (await connection.execute(text("SELECT wrapped FROM sealing_key"))).scalar_one()
    assert key.encode() not in bytes(wrapped)


async def test_what_does_not_open_the_key_is_told_and_what_helps(outside, engine):
    secret_key.ensure(outside(), embedded=False)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE sealing_key SET salt = 'another'"))
    with pytest.raises(CommandError, match="VOUCHERS_SECRET_KEY"):
        secret_key.ensure(outside(), embedded=False)
    given = Fernet.generate_key().decode()
    assert secret_key.ensure(outside(secret_key=given), embedded=False) == given


def test_a_key_of_an_earlier_release_is_kept(outside):
    home = outside().home
    home.mkdir()
    (home / "secret.key").write_bytes(before := Fernet.generate_key())
    assert secret_key.ensure(outside(), embedded=False) == before.decode()


def test_a_key_that_stands_in_a_file_is_read_there_by_each_process_that_begins(monkeypatch, tmp_path):
    first, second = (Fernet.generate_key().decode() for _ in range(2))
    file = tmp_path / "key"
    file.write_text(first)
    monkeypatch.delenv("VOUCHERS_SECRET_KEY")
    monkeypatch.setenv("VOUCHERS_SECRET_KEY_FILE", str(file))
    begins = get_settings.__wrapped__
    assert with_secret_key(begins(), embedded=True).secret_key.get_secret_value() == first
    file.write_text(f"{second},{first}")
    assert begins().secret_key.get_secret_value() == f"{second},{first}"


async def test_secrets_are_sealed_anew_with_the_first_key(engine):
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    async with transaction(engine) as connection:
        await connection.execute(
            text("""INSERT INTO import_schedule (pool, source, sealed, options, cron, timezone)
                    VALUES ('p', '{}', :sealed, '{}', '0 3 * * *', 'UTC')"""),
            {"sealed": Fernet(old).encrypt(b"source")},
        )
        assert await seal_anew(connection, Settings(secret_key=f"{new},{old}")) == (1, 0)
        sealed = (await connection.execute(text("SELECT sealed FROM import_schedule"))).scalar_one()
        assert fernet(Settings(secret_key=new)).decrypt(bytes(sealed)) == b"source"
        assert await seal_anew(connection, Settings(secret_key=old)) == (0, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("VOUCHERS_BOOTSTRAP_KEY", "short-and-secret"), ("VOUCHERS_SECRET_KEY", "no-fernet-key-but-secret")],
)
def test_a_bad_secret_is_refused_without_printing_it(tmp_path, name, value):
    environment = os.environ | {"VOUCHERS_HOME": str(tmp_path), name: value}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert name in done.stderr
    assert value not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
