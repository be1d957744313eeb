"""Migrate every user database, each on its own: one user's failure stops nobody else."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import cast

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime, parse_duration

from dsud import fleet, provisioning, rollout, schema
from dsud import models as registry
from dsud.connections import alias_of
from dsud.engines import engine
from dsud.foresight import Foresight
from dsud.management.fleet_command import SOME_FAILED, USAGE, Done, FleetCommand
from dsud.management.foretelling import Foretelling
from dsud.management.telling import Telling
from dsud.migrating import Migrator
from dsud.opening import as_they_are

#: Options of Django's ``migrate``, and what they do here.
OPTIONS = {
    "fake": "Mark migrations as run without running them.",
    "fake_initial": "Detect tables that exist already and fake their initial migrations.",
    "plan": "Show what would be done to databases in each state, and do nothing.",
    "check_unapplied": "Exit with 1 if migrations are left to apply, and do nothing.",
    "run_syncdb": "Create the tables of apps without migrations, as is always done here.",
    "prune": "Delete nonexistent migrations from the django_migrations table.",
}


def share(text: str) -> rollout.Share:
    """Read a number of databases, or a part of them as ``1%``."""
    return Fraction(text.removesuffix("%")) / 100 if text.endswith("%") else int(text)


def sample(text: str) -> int | None:
    """Read a number of databases, or ``all``."""
    return None if text == "all" else int(text)


def moment(text: str) -> datetime:
    """Read a moment, or how long ago it is as ``7d``, ``12h`` or ``30m``."""
    units = {"d": "days", "h": "hours", "m": "minutes"}
    if text[-1:] in units and text[:-1].isdecimal():
        return timezone.now() - timedelta(**{units[text[-1]]: int(text[:-1])})
    found = parse_datetime(text) or parse_datetime(f"{text}T00:00")
    if found is None or parse_duration(text) is not None:
        raise ValueError(text)
    return timezone.make_aware(found) if timezone.is_naive(found) else found


class Command(FleetCommand):
    """``migrate_user_dbs``: takes what ``migrate`` takes."""

    help = "Migrates user databases: what `migrate` does, for one, some or all users."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments of ``migrate``, and those of a rollout."""
        super().add_arguments(parser)
        parser.add_argument("app_label", nargs="?", help="App to migrate; default: all apps.")
        parser.add_argument(
            "migration_name", nargs="?", help="State to reach; 'zero' unapplies all migrations."
        )
        for dest, text in OPTIONS.items():
            flag = "--check" if dest == "check_unapplied" else f"--{dest.replace('_', '-')}"
            parser.add_argument(flag, action="store_true", dest=dest, help=text)
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_true",
            help="Accepted, because `migrate` has it; nothing is ever asked here.",
        )
        self._add_whom(parser)
        self._add_how(parser)

    def _add_whom(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--verify",
            action="store_true",
            help="Look into every file; default: skip what the registry says is current.",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            dest="everybody",
            help="Open every database, also one that is current, and renew the copies in it.",
        )
        parser.add_argument(
            "--older-than",
            type=moment,
            metavar="WHEN",
            help="Only databases that were last migrated before: 7d, 12h, 30m, or a date.",
        )
        parser.add_argument("--batch", type=int, metavar="N", help="At most N databases, for now.")

    def _add_how(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--rehearse",
            type=sample,
            default=0,
            metavar="N|all",
            help="Migrate copies of N databases, chosen at random, or of all; touch nothing.",
        )
        parser.add_argument(
            "--canary",
            type=share,
            default=0,
            metavar="N|N%",
            help="Migrate so many first, and the others only if none of these fails.",
        )
        parser.add_argument(
            "--max-failures",
            type=share,
            metavar="N|N%",
            help="Leave the others alone when more than this have failed.",
        )
        parser.add_argument(
            "--snapshots",
            choices=["auto", "always", "never"],
            default="auto",
            help="Copy databases first: always, or where there is no other way back (auto).",
        )
        parser.add_argument(
            "--undo", metavar="RUN", help="Bring databases back to the snapshots of a run."
        )

    def handle(self, *args: object, **options: object) -> None:
        """Migrate them and report."""
        target = [str(options[name]) for name in ("app_label", "migration_name") if options[name]]
        try:
            schema.check_target(*target, run_syncdb=bool(target and options["run_syncdb"]))
        except schema.UnknownMigration as error:
            raise CommandError(str(error), returncode=USAGE) from error
        if options["undo"]:
            self._undo(str(options["undo"]), options)
        elif options["plan"] or options["check_unapplied"]:
            self._foresee(target, options)
        elif options["prune"]:
            self._prune(target, options)
        else:
            if not target:
                rehearse()
            self._roll_out(target, options)

    # What changes nothing, and what forgets

    def _foresee(self, target: list[str], options: dict[str, object]) -> None:
        keys, current = self._whom(target, options)
        foresight = Foresight(
            *target, verify=bool(options["verify"]), workers=self.workers(options, keys)
        )
        found = foresight.of(keys)
        Foretelling(self, options, total=len(keys) + current).tell(found, foresight.failures)

    def _prune(self, target: list[str], options: dict[str, object]) -> None:
        keys = self.selected(options)
        if not target:
            message = "Migrations can be pruned only when an app is specified."
            raise CommandError(message, returncode=USAGE)
        prune = pruned_by(target, verbosity=int(str(options["verbosity"])))
        outcomes = fleet.for_each(prune, keys, workers=self.workers(options, keys))
        arguments = [*target, "--prune"]
        self.report(outcomes, options, Done("pruned", len(keys), "migrate_user_dbs", arguments))

    # Rollouts

    def _roll_out(self, target: list[str], options: dict[str, object]) -> None:
        keys, current = self._whom(target, options)
        run = rollout.new_run()
        on_copies = options["rehearse"] != 0
        migrator = Migrator(
            *target,
            run=run,
            snapshots=str(options["snapshots"]),  # type: ignore[arg-type]
            on_copies=on_copies,
            faked="all" if options["fake"] else "initial" if options["fake_initial"] else "nothing",
        )
        limits = rollout.Limits(options["canary"], options["max_failures"])  # type: ignore[arg-type]
        workers = self.workers(options, keys)
        outcomes = rollout.roll_out(keys, migrator, limits, workers=workers)
        done = Done("rehearsed" if on_copies else "migrated", len(keys), "migrate_user_dbs", target)
        Telling(self, options, done, run=run).tell(outcomes, current=current)

    def _whom(self, target: list[str], options: dict[str, object]) -> tuple[list[str], int]:
        """Return whose databases are to be migrated, and how many others are known to be current."""
        doubts = ("users", "verify", "everybody")
        current = 0
        if not (target or any(map(options.get, doubts)) or provisioning.is_location_lost()):
            keys = self._chosen(options, among=rollout.outdated())
            current = registry.count_current(schema.fingerprint())
        else:
            keys = chosen = self._chosen(options)
            if options["verify"] and not target:
                keys = list(rollout.verified(chosen))
                current = len(chosen) - len(keys)
        if (size := options["rehearse"]) not in (0, None):
            keys = random.sample(keys, min(int(str(size)), len(keys)))
        batch = options["batch"]
        return keys if batch is None else keys[: int(str(batch))], current

    def _chosen(
        self, options: dict[str, object], *, among: Sequence[str] | None = None
    ) -> list[str]:
        """Return whom ``--user``, ``--exclude`` and ``--older-than`` leave; of the unknown, all are old."""
        keys = self.selected(options, among=among)
        if (moment := cast("datetime | None", options["older_than"])) is None:
            return keys
        since = registry.keys_migrated_since(moment)
        return [key for key in keys if key not in since]

    def _undo(self, run: str, options: dict[str, object]) -> None:
        keys = self.selected(options, among=rollout.with_snapshot(run))
        if not keys:
            raise CommandError(f"No user database has a snapshot of {run!r}.", returncode=USAGE)
        outcomes = fleet.for_each(undone_by(run), keys, workers=self.workers(options, keys))
        arguments = ["--undo", run]
        self.report(
            outcomes, options, Done("brought back", len(keys), "migrate_user_dbs", arguments)
        )


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


def undone_by(run: str) -> Callable[[str], str]:
    """Return what brings one user's database back."""

    def undo(key: str) -> str:
        rollout.undo(key, run)
        return ""

    return undo


def pruned_by(target: Sequence[str], *, verbosity: int) -> Callable[[str], str]:
    """Return what has one user's database forget migrations that are no longer there."""

    def prune(key: str) -> str:
        provisioning.refuse_missing(key)
        with as_they_are(), engine().lock(key):
            return schema.migrate(alias_of(key), target[0], prune=True, verbosity=verbosity)

    return prune
