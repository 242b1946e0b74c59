"""Settings: what is misspelt or cannot be used is refused, and a secret may stand in a file."""

import sys

import pytest
from cryptography.fernet import Fernet

from app.cli.main import main
from app.platform.setting_sources import SECRETS, SettingError, refuse_unknown
from app.platform.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def fresh():
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("VOUCHERS_DATABASE_CONECTIONS", "did you mean VOUCHERS_DATABASE_CONNECTIONS?"),
        ("VOUCHERS_SECRET_KEY_FILES", "did you mean VOUCHERS_SECRET_KEY_FILE?"),
        ("VOUCHERS_LOG_LEVEL_FILE", "did you mean VOUCHERS_LOG_LEVEL?"),
        ("VOUCHERS_DATABASE_URL", "did you mean DATABASE_URL?"),
        ("VOUCHERS_X", "docs/settings.md lists them."),
    ],
)
def test_a_setting_that_there_is_not_is_refused_with_the_nearest_name(monkeypatch, given, said):
    monkeypatch.setenv(given, "hidden-value")
    with pytest.raises(SettingError) as caught:
        get_settings()
    assert str(caught.value) == f"{given}: there is no such setting; {said}"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("VOUCHERS_LOG_LEVEL", "loud", "'WARNING', 'ERROR'"),
        ("VOUCHERS_STATEMENT_SECONDS", "inf", "finite"),
        ("VOUCHERS_STOP_SECONDS", "inf", "finite"),
        ("VOUCHERS_READ_DATABASE_URL", "mysql://u:hidden@host.test/d", "cannot be read as a URL"),
        (
            "VOUCHERS_READ_DATABASE_URL",
            "postgresql://u:hidden@/d?host=a,b,c&port=1,2",
            "cannot be read as a URL",
        ),
        ("VOUCHERS_DIRECT_DATABASE_URL", "hidden", "cannot be read as a URL"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_in_a_line(monkeypatch, capsys, name, value, said):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@127.0.0.1:1/d")
    monkeypatch.setenv("VOUCHERS_STARTUP_SECONDS", "0")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["vouchers", "check"])
    with pytest.raises(SystemExit):
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vouchers: {name}: ")
    assert said in line
    assert "hidden" not in line


def test_a_level_of_the_log_is_read_in_small_letters_too(monkeypatch):
    monkeypatch.setenv("VOUCHERS_LOG_LEVEL", "info")
    assert get_settings().log_level == "INFO"


@pytest.mark.parametrize(
    "name",
    [
        "VOUCHERS_SOURCE_SHOP",
        "VOUCHERS_SOURCE_SHOP_HOSTS",
        "VOUCHERS_TEST_AXE",
        "VOUCHERS_KEY",
        # a Kubernetes service by the name of `vouchers`, `vouchers-web`
        "VOUCHERS_SERVICE_HOST",
        "VOUCHERS_SERVICE_PORT_HTTP",
        "VOUCHERS_PORT",
        "VOUCHERS_PORT_8000_TCP_ADDR",
        "VOUCHERS_WEB_PORT_80_TCP",
        "VOUCHERS_WEB_SERVICE_PORT",
    ],
)
def test_what_is_set_for_others_is_let_alone(name):
    refuse_unknown(Settings, {name: "x"})


def test_every_secret_may_stand_in_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv("VOUCHERS_SECRET_KEY", raising=False)
    values = {
        "database_url": "postgresql://u:p@host.test/d",
        "bootstrap_key": "k" * 40,
        "direct_database_url": "postgresql://u:p@direct.test/d",
        "read_database_url": "postgresql://u:p@standby.test/d",
        "secret_key": Fernet.generate_key().decode(),
        "smtp_url": "smtp://u:p@mail.test",
    }
    assert set(values) == set(SECRETS)
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
        variable = "DATABASE_URL" if name == "database_url" else f"VOUCHERS_{name.upper()}"
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / name))
    settings = get_settings()
    read = {name: getattr(settings, name) for name in values}
    assert {name: getattr(v, "get_secret_value", lambda v=v: v)() for name, v in read.items()} == values


def test_every_setting_that_is_hidden_is_a_secret():
    hidden = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert hidden | {"database_url"} == set(SECRETS)


def test_a_file_that_cannot_be_read_and_a_secret_given_twice_are_told(monkeypatch, tmp_path):
    monkeypatch.setenv("VOUCHERS_SMTP_URL_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingError, match="VOUCHERS_SMTP_URL_FILE: the file cannot be read: No such file"):
        get_settings()
    monkeypatch.setenv("VOUCHERS_SMTP_URL", "smtp://u:hidden@mail.test")
    with pytest.raises(SettingError, match="are both set") as caught:
        get_settings()
    assert "hidden" not in str(caught.value)
