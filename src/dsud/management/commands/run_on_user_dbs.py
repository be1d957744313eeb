"""Run any management command as one, some or all users."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from typing import cast

from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from dsud import fleet
from dsud.connections import alias_of
from dsud.management.fleet_command import USAGE, Done, FleetCommand, strings
from dsud.opening import as_they_are

#: Commands that are no work on a database, and what to do instead.
REFUSED = {
    "dbshell": "It would open one shell after the other. Open the file of one user with sqlite3.",
    "runserver": "It serves everybody.",
    "shell": "Write `with use_user(...)` in one shell.",
    "test": "Tests make databases of their own.",
    "testserver": "Tests make databases of their own.",
}


class Command(FleetCommand):
    """``run_on_user_dbs [--user alice] COMMAND [ARGUMENTS ...]``."""

    help = "Runs a management command once for each user database, as its user."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command and its arguments, which come last."""
        super().add_arguments(parser)
        parser.add_argument("command_name", metavar="COMMAND", help="A management command.")
        parser.add_argument("arguments", nargs=argparse.REMAINDER, help="What the command takes.")

    def handle(self, *args: object, **options: object) -> None:
        """Run it for each user and report."""
        name = str(options["command_name"])
        arguments = strings(options["arguments"])
        run = runner(name, arguments)
        keys = self.selected(options)
        outcomes = fleet.for_each(run, keys, workers=self.workers(options, keys))
        self.report(
            outcomes, options, Done("done", len(keys), "run_on_user_dbs", [name, *arguments])
        )


def runner(name: str, arguments: list[str]) -> Callable[[str], str]:
    """Return what runs a command for one user and returns what it prints.

    Raises ``CommandError`` when it cannot be run for users, or not with these arguments.
    """
    where = database_options(find_command(name), arguments)

    def run(key: str) -> str:
        # Given here and not on the command line, where Django allows listed aliases only.
        databases = {dest: fill(alias_of(key)) for dest, fill in where.items()}
        # Not StringIO, because some commands write bytes, as to a terminal.
        output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        command = find_command(name)  # One for each, because they remember where they print.
        try:
            with as_they_are():  # Because it may be the one that mends them.
                call_command(command, *arguments, stdout=output, stderr=output, **databases)
        except SystemExit as left:
            if left.code not in (None, 0):
                said = _written(output).strip()
                raise CommandError(
                    f"{name} exited with {left.code}." + (f" It said: {said}" if said else "")
                ) from left
        return _written(output)

    return run


def _written(output: io.TextIOWrapper) -> str:
    return cast("io.BytesIO", output.buffer).getvalue().decode(errors="replace")


def find_command(name: str) -> BaseCommand:
    """Return a management command by its name."""
    if name in REFUSED:
        raise CommandError(f"{name} is not run for users. {REFUSED[name]}", returncode=USAGE)
    app = get_commands().get(name)
    if app is None:
        raise CommandError(f"There is no management command {name!r}.", returncode=USAGE)
    return app if isinstance(app, BaseCommand) else load_command_class(app, name)


def database_options(
    command: BaseCommand, arguments: list[str]
) -> dict[str, Callable[[str], object]]:
    """Return the options by which a command is told its database, and how each takes an alias."""
    parser = command.create_parser("manage.py", "run_on_user_dbs")
    try:
        parser.parse_args(arguments)
    except CommandError as error:
        raise CommandError(str(error), returncode=USAGE) from error
    found = {action.dest: action for action in _of_databases(parser)}
    options = {option for action in found.values() for option in action.option_strings}
    if given := options.intersection(argument.split("=")[0] for argument in arguments):
        raise CommandError(
            f"{', '.join(sorted(given))} is left out here: the command gets each user's database.",
            returncode=USAGE,
        )
    return {dest: _filled(action) for dest, action in found.items()}


def _of_databases(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options, whatever they are called, whose value is an alias of ``DATABASES``."""
    aliases = set(connections)
    for action in parser._actions:
        is_choice = action.choices is not None and set(action.choices) == aliases
        if is_choice or action.default == DEFAULT_DB_ALIAS or action.dest == "database":
            yield action


def _filled(action: argparse.Action) -> Callable[[str], object]:
    """Return how an option takes an alias: as it is, or as the only one of several."""
    takes_many = isinstance(action, argparse._AppendAction) or action.nargs in ("*", "+")
    return (lambda alias: [alias]) if takes_many else (lambda alias: alias)
