"""What operators are told of migrations that are still ahead: the plan of each state, whom, and how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.core.management.base import CommandError

from dsud.exceptions import FleetFailed
from dsud.foresight import Foreseen
from dsud.management.fleet_command import SOME_FAILED, FleetCommand

#: Keys of databases that are named, of however many.
NAMED = 10


class Foretelling:
    """Tells what ``--plan`` and ``--check`` have found."""

    def __init__(self, command: FleetCommand, options: dict[str, object], *, total: int) -> None:
        self._command = command
        self._as_json = bool(options["as_json"])
        self._shows_plans = bool(options["plan"])
        self._is_check = bool(options["check_unapplied"])
        self._total = total

    def tell(
        self, found: Mapping[Foreseen, Sequence[str]], failures: dict[str, BaseException]
    ) -> None:
        """Tell what is ahead of whom.

        Exit with 1 when databases cannot be looked at, and for ``--check`` when any has something ahead.
        """
        ahead = {each: keys for each, keys in found.items() if each.migrations}
        if self._as_json:
            self._command.stream_json(
                {"users": list(keys), "migrations": list(each.migrations), "plan": each.plan}
                for each, keys in ahead.items()
            )
        elif self._shows_plans:
            for each, keys in ahead.items():
                self._show(each, keys)
        left = [key for keys in ahead.values() for key in keys]
        self._end(left, failures)

    def _show(self, foreseen: Foreseen, keys: Sequence[str]) -> None:
        write, style = self._command.stdout.write, self._command.style
        write(style.MIGRATE_HEADING(f"{len(keys)} user databases: {named(keys)}"))
        write(foreseen.plan)

    def _end(self, left: Sequence[str], failures: dict[str, BaseException]) -> None:
        summary = f"{len(left)} of {self._total} user databases have migrations left to apply"
        parts = []
        if left and self._is_check:
            parts.append(f"{summary}: {named(left)}. Run `manage.py migrate_user_dbs`.")
        elif not self._as_json:
            self._command.stdout.write(f"{summary}.")
        if failures:
            failed = str(FleetFailed(failures))
            parts.append(failed.replace("all others are done", "all others were looked at"))
        if parts:
            raise CommandError("\n".join(parts), returncode=SOME_FAILED)


def named(keys: Sequence[str]) -> str:
    """Name the first of many."""
    more = len(keys) - NAMED
    return ", ".join(keys[:NAMED]) + (f" and {more} others" if more > 0 else "")
