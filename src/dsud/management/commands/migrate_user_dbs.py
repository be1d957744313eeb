"""Migrate every user database, each on its own: one user's failure stops nobody else."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.management.base import CommandError, CommandParser

from dsud import fleet, provisioning, schema
from dsud.connections import alias_of
from dsud.engines import engine
from dsud.exceptions import UserDatabaseError
from dsud.management.fleet_command import FleetCommand

#: Options of Django's ``migrate`` that are passed on as they are.
PASSED_ON = {
    "fake": "Mark migrations as run without running them.",
    "fake_initial": "Detect tables that exist already and fake their initial migrations.",
    "plan": "Show what would be done, and do nothing.",
    "check_unapplied": "Exit with 1 if migrations are left to apply, and do nothing.",
    "run_syncdb": "Create the tables of apps without migrations.",
}


class Behind(UserDatabaseError):
    """Raised by ``--check`` for a database with migrations left to apply."""


class Command(FleetCommand):
    """``migrate_user_dbs``: takes what ``migrate`` takes."""

    help = "Migrates user databases: what `migrate` does, for one, some or all users."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments of ``migrate``."""
        super().add_arguments(parser)
        parser.add_argument("app_label", nargs="?", help="App to migrate; default: all apps.")
        parser.add_argument(
            "migration_name", nargs="?", help="State to reach; 'zero' unapplies all migrations."
        )
        for dest, text in PASSED_ON.items():
            flag = "--check" if dest == "check_unapplied" else f"--{dest.replace('_', '-')}"
            parser.add_argument(flag, action="store_true", dest=dest, help=text)

    def handle(self, *args: object, **options: object) -> None:
        """Migrate them and report."""
        keys = self.selected(options)
        target = [options[name] for name in ("app_label", "migration_name") if options[name]]
        passed_on = {name: options[name] for name in PASSED_ON}
        if not (options["plan"] or options["check_unapplied"]):
            provisioning.prepare()  # Lest the next sign-up has to wait for it.
        outcomes = fleet.for_each(lambda key: migrate_one(key, target, passed_on), keys)
        done = "looked at" if options["plan"] or options["check_unapplied"] else "migrated"
        self.report(outcomes, done=done, as_json=bool(options["as_json"]))


def migrate_one(key: str, target: list[object], options: Mapping[str, object]) -> str:
    """Migrate one user's database, as its user, and record its schema."""
    alias = alias_of(key)
    only_looks = options["plan"] or options["check_unapplied"]
    try:
        with engine().lock(key):
            output = schema.migrate(alias, *map(str, target), **options, verbosity=1)
            if not only_looks:
                provisioning.register(key, current=schema.is_current(alias))
    except SystemExit as left:  # What `migrate --check` does when something is left to apply.
        raise Behind(key, f"The database of user {key!r} has migrations left to apply.") from left
    except CommandError:
        raise
    except Exception as error:
        if not only_looks:
            provisioning.record_failure(key, error)
        raise
    return output if only_looks or target else ""
