"""Run any management command as one, some or all users."""

from __future__ import annotations

import argparse
import io

from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dsud import fleet
from dsud.connections import alias_of
from dsud.management.fleet_command import USAGE, FleetCommand, strings


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
        command = find_command(name)
        arguments = strings(options["arguments"])
        takes_database = has_database_option(command, arguments)

        def run(key: str) -> str:
            # Given here and not on the command line, where Django allows listed aliases only.
            where = {"database": alias_of(key)} if takes_database else {}
            output = io.StringIO()
            try:
                call_command(command, *arguments, stdout=output, **where)
            except SystemExit as left:
                if left.code not in (None, 0):
                    raise CommandError(f"{name} exited with {left.code}.") from left
            return output.getvalue()

        outcomes = fleet.for_each(run, self.selected(options))
        self.report(outcomes, done="done", as_json=bool(options["as_json"]))


def find_command(name: str) -> BaseCommand:
    """Return a management command by its name."""
    app = get_commands().get(name)
    if app is None:
        raise CommandError(f"There is no management command {name!r}.", returncode=USAGE)
    return app if isinstance(app, BaseCommand) else load_command_class(app, name)


def has_database_option(command: BaseCommand, arguments: list[str]) -> bool:
    """Tell whether the command has ``--database``, as most of Django's own have."""
    parser = command.create_parser("manage.py", "run_on_user_dbs")
    try:
        return "database" in vars(parser.parse_args(arguments))
    except CommandError as error:
        raise CommandError(str(error), returncode=USAGE) from error
