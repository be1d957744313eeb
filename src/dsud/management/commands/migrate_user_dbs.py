"""Migrate every user database, each on its own: one user's failure stops nobody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.core.management.base import CommandError, CommandParser

from dsud import fleet, mirrors, provisioning, schema
from dsud import models as registry
from dsud.connections import alias_of
from dsud.engines import engine
from dsud.exceptions import UserDatabaseError
from dsud.management.fleet_command import SOME_FAILED, USAGE, FleetCommand

#: Options of Django's ``migrate`` that are passed on as they are.
PASSED_ON = {
    "fake": "Mark migrations as run without running them.",
    "fake_initial": "Detect tables that exist already and fake their initial migrations.",
    "plan": "Show what would be done, and do nothing.",
    "check_unapplied": "Exit with 1 if migrations are left to apply, and do nothing.",
    "run_syncdb": "Create the tables of apps without migrations.",
    "prune": "Delete nonexistent migrations from the django_migrations table.",
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
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_true",
            help="Accepted, because `migrate` has it; nothing is ever asked here.",
        )

    def handle(self, *args: object, **options: object) -> None:
        """Migrate them and report."""
        keys = self.selected(options)
        target = [str(options[name]) for name in ("app_label", "migration_name") if options[name]]
        try:
            schema.check_target(*target)
        except schema.UnknownMigration as error:
            raise CommandError(str(error), returncode=USAGE) from error
        only_looks = bool(options["plan"] or options["check_unapplied"])
        if not target and not any(options[name] for name in PASSED_ON):
            rehearse()
        passed_on = {name: options[name] for name in (*PASSED_ON, "verbosity")}
        migrate = migrated_by(target, passed_on, only_looks=only_looks)
        outcomes = fleet.for_each(migrate, keys)
        done = "looked at" if only_looks else "migrated"
        self.report(outcomes, done=done, as_json=bool(options["as_json"]))


def rehearse() -> None:
    """Build the template, lest the next sign-up waits for it or a broken migration meets users."""
    if provisioning.is_location_lost():
        return  # Where nothing may be made; each database will say so.
    try:
        provisioning.prepare()
    except Exception as error:
        raise CommandError(
            f"The migrations fail on an empty database: {type(error).__name__}: {error}\n"
            "No user database was touched. Mend the migrations and run it again.",
            returncode=SOME_FAILED,
        ) from error


def migrated_by(
    target: list[str], options: Mapping[str, object], *, only_looks: bool
) -> Callable[[str], str]:
    """Return what migrates one user's database, as its user, and records what came of it."""

    def migrate(key: str) -> str:
        try:
            provisioning.refuse_missing(key)
            with engine().lock(key):
                output = schema.migrate(alias_of(key), *target, **options)
                current = schema.is_current(alias_of(key))
                if current and not only_looks:
                    mirrors.renew(key)
        except SystemExit as left:  # What `migrate --check` does when something is left to apply.
            message = f"The database of user {key!r} has migrations left to apply."
            raise Behind(key, message) from left
        except Exception as error:
            if not only_looks:
                registry.record_failure(key, error)
            raise
        if not only_looks:
            provisioning.register(key, current=current)
        return output if only_looks or target else ""

    return migrate
