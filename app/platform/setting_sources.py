"""Where settings come from beside plain variables: files that hold secrets; and which variables are none of ours."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from app.platform.errors import CommandError

PREFIX = "VOUCHERS_"
FILE = "_FILE"
SECRETS = (
    "database_url",
    "bootstrap_key",
    "direct_database_url",
    "read_database_url",
    "secret_key",
    "smtp_url",
)
"""Settings that may be given as the name of a file: what a process lists of its environment then holds no secret."""

DATABASES = ("DATABASE_URL", "VOUCHERS_DIRECT_DATABASE_URL", "VOUCHERS_READ_DATABASE_URL")
"""Variables that say where the database is."""

_OTHERS = re.compile(
    # Secrets of sources, by names that the operator chooses; what tests and shells use.
    r"VOUCHERS_(SOURCE_\w+|TEST_\w+|EXAMPLES|KEY|URL)"
    # What Kubernetes tells every container of services whose name begins with `vouchers`.
    r"|VOUCHERS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)


class SettingError(CommandError):
    """A setting cannot be used; the message names it, and never shows what it was set to."""


def variable_of(name: str, field: FieldInfo | None = None) -> str:
    """Return the variable of the environment that a setting is read from."""
    alias = field.validation_alias if field is not None else None
    return str(alias) if alias else f"{PREFIX}{name.upper()}"


def environment_without(*names: str) -> dict[str, str]:
    """Return the environment without some variables, nor those that name files in their place.

    It is for a process that is not to have what this one has.
    """
    return {name: value for name, value in os.environ.items() if name.removesuffix(FILE) not in names}


class SecretFiles(PydanticBaseSettingsSource):
    """Settings whose value stands in a file, named by `VOUCHERS_<FIELD>_FILE`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """Return what the file of a setting holds, without white space around it; None where no file is named."""
        name = variable_of(field_name, field)
        path = os.environ.get(name + FILE)
        if path is None or field_name not in SECRETS:
            return None, name, False
        if name in os.environ:
            raise SettingError(f"{name} and {name}{FILE} are both set; give one of them.")
        try:
            return Path(path).read_text().strip(), name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingError(f"{name}{FILE}: the file cannot be read: {reason}.") from None

    def __call__(self) -> dict[str, object]:
        """Return all settings that files hold."""
        found = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, name, _ = self.get_field_value(field, field_name)
            if value is not None:
                found[name if field.validation_alias else field_name] = value
        return found


def refuse_unknown(settings: type[BaseSettings], environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a variable that looks like a setting and is none: it would have no effect, and nobody would know.

    Raises:
        SettingError: there is one; it tells the name that comes nearest.
    """
    known = {variable_of(name, field) for name, field in settings.model_fields.items()}
    known |= {variable_of(name, settings.model_fields[name]) + FILE for name in SECRETS}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known and not _OTHERS.fullmatch(name):
            raise SettingError(f"{name}: there is no such setting; {_hint(name, known)}")


def _hint(name: str, known: Iterable[str]) -> str:
    short = {each.removeprefix(PREFIX): each for each in known}
    found = difflib.get_close_matches(name.removeprefix(PREFIX), short, 1, 0.6)
    return f"did you mean {short[found[0]]}?" if found else "docs/settings.md lists them."
