"""Write the pages that follow from the code: `python docs/generate.py`. A test holds them against it.

Settings, commands and problems are described once, where they are defined; these pages are made of that.
"""

import ast
import inspect
from pathlib import Path
from typing import Any

import typer.main
from pydantic_core import PydanticUndefined

from app.api.problem_pages import kinds
from app.cli.main import cli
from app.platform import settings
from app.platform.setting_sources import SECRETS, variable_of
from app.server import application

FOLDER = Path(__file__).parent
NOTE = "\n*Made from the code by `python docs/generate.py`.*\n"


def pages() -> dict[str, str]:
    """Return each page's name and text."""
    return {"settings.md": settings_page(), "commands.md": commands_page(), "problems.md": problems_page()}


def settings_page() -> str:
    """Return the page of settings: name, default and meaning of each."""
    described = _docstrings(settings.Settings)
    secrets = [variable_of(name, settings.Settings.model_fields[name]) for name in SECRETS]
    rows = []
    for name, field in settings.Settings.model_fields.items():
        variable = str(field.validation_alias or f"VOUCHERS_{name.upper()}")
        default = field.default
        if default is PydanticUndefined or name == "home":
            shown = "the user's data folder" if name == "home" else "computed"
        else:
            shown = "" if default in {None, ()} else f"`{default}`"
        rows.append(f"| `{variable}` | {shown} | {described.get(name, '')} |")
    return (
        "# Settings\n\nAll are variables of the environment, read when a process starts. A secret may also stand"
        " in a file, which the same name with `_FILE` names"
        f" ({', '.join(f'`{name}_FILE`' for name in secrets)})."
        " A variable `VOUCHERS_…` that is not listed here is refused, but for `VOUCHERS_SOURCE_…`.\n\n"
        "| variable | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n" + NOTE
    )


def commands_page() -> str:
    """Return the page of commands: usage, arguments and options of each."""
    parts = ["# Commands\n"]
    _describe(typer.main.get_command(cli), "vouchers", parts)
    return "\n".join(parts) + NOTE


def problems_page() -> str:
    """Return the page of problems: when each comes, and what to do about it."""
    assert application.ROUTERS  # noqa: S101  (importing the application makes every error known)
    rows = [
        f"| `{kind.name}` | {kind.status} | {kind.meaning} | {kind.remedy} |" for kind in kinds().values()
    ]
    return (
        "# Problems\n\nEvery error is a problem document (RFC 9457) of the type `application/problem+json`; its `type`"
        " is `/problems/NAME`, a page of the service that says the same as this one.\n\n"
        "| name | status | when it comes | what to do |\n|---|---|---|---|\n" + "\n".join(rows) + "\n" + NOTE
    )


def _docstrings(model: type[Any]) -> dict[str, str]:
    """Return the text below each field of a class."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101  (narrows the type)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _describe(command: Any, path: str, parts: list[str]) -> None:
    if hasattr(command, "commands"):
        for name in sorted(command.commands):
            _describe(command.commands[name], f"{path} {name}", parts)
        return
    usage = " ".join(command.collect_usage_pieces(command.make_context(path, [], resilient_parsing=True)))
    parts.append(f"## {path}\n\n{command.help or ''}\n\n```\n{path} {usage}\n```\n")
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "option" and "--help" not in parameter.opts:
            names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
            default = parameter.default
            shown = f"`{default}`" if default not in {None, False, ()} and not callable(default) else ""
            rows.append(f"| {names} | {shown} | {parameter.help or ''} |")
    if rows:
        parts.append("| option | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n")


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
