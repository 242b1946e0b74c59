"""The command line says what it is and what each word of it means."""

import typer.main
from typer.testing import CliRunner

from app.cli.main import cli


def commands(command):
    for child in getattr(command, "commands", {}).values():
        yield from commands(child)
    if not hasattr(command, "commands"):
        yield command


def test_every_command_option_and_argument_is_explained():
    for command in commands(typer.main.get_command(cli)):
        assert command.help, command.name
        for parameter in command.params:
            assert parameter.help, f"{command.name} {parameter.name}"


def test_the_version_is_told_and_shells_can_complete():
    said = CliRunner().invoke(cli, ["--version"])
    assert (said.exit_code, said.stdout.split()[0]) == (0, "vouchers")
    assert "--install-completion" in CliRunner().invoke(cli, ["--help"]).stdout
