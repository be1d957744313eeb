"""What the commands for many user databases share: whom, how to report, how to exit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dsud import fleet
from dsud.exceptions import DSUDError, FleetFailed

#: Exit codes: 0 done, 1 some failed, 2 wrong usage.
SOME_FAILED = 1
USAGE = 2


class FleetCommand(BaseCommand):
    """A command for one, some or all user databases."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--user``, ``--exclude`` and ``--json``."""
        parser.add_argument(
            "--user",
            action="append",
            default=[],
            dest="users",
            metavar="USER",
            help="Username or key; may be given several times. Default: every user database.",
        )
        parser.add_argument(
            "--exclude",
            action="append",
            default=[],
            metavar="USER",
            help="Username or key of a user to leave out; may be given several times.",
        )
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="Print one JSON document."
        )

    def selected(
        self, options: dict[str, object], *, among: Iterable[str] | None = None
    ) -> list[str]:
        """Return the keys that ``--user`` names, or all ``among`` those given, less ``--exclude``."""
        try:
            return fleet.select(
                users=strings(options["users"]), exclude=strings(options["exclude"]), among=among
            )
        except DSUDError as error:
            raise CommandError(str(error), returncode=USAGE) from error

    def write_json(self, document: object) -> None:
        """Print a document for machines."""
        self.stdout.write(json.dumps(document, indent=2, default=str))

    def report(self, outcomes: Sequence[fleet.Outcome[str]], *, done: str, as_json: bool) -> None:
        """Say what came of each database; exit with 1, naming each failure, when there was one."""
        if as_json:
            self.write_json([_document(outcome) for outcome in outcomes])
        else:
            for outcome in outcomes:
                self._write_outcome(outcome)
            count = sum(outcome.error is None for outcome in outcomes)
            self.stdout.write(f"{count} of {len(outcomes)} user databases {done}.")
        try:
            fleet.raise_failures(outcomes)
        except FleetFailed as error:
            raise CommandError(str(error), returncode=SOME_FAILED) from error

    def _write_outcome(self, outcome: fleet.Outcome[str]) -> None:
        if outcome.result:
            self.stdout.write(self.style.MIGRATE_HEADING(f"User {outcome.user_key}:"))
            self.stdout.write(outcome.result)


def strings(option: object) -> list[str]:
    """Return the values of an option that may be given several times."""
    return [str(value) for value in cast("list[object]", option)]


def _document(outcome: fleet.Outcome[str]) -> dict[str, object]:
    return {
        "user": outcome.user_key,
        "ok": outcome.error is None,
        "output": outcome.result or "",
        "error": None if outcome.error is None else str(outcome.error),
        "seconds": round(outcome.seconds, 4),
    }
