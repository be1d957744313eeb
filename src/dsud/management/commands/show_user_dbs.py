"""Show user databases as the registry knows them, and the runs over them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import IO, cast

from django.core.management.base import CommandParser
from django.template.defaultfilters import filesizeformat
from django.utils.timezone import is_aware, localtime
from rich.console import Console
from rich.table import Table

from dsud import fleet
from dsud.management import listing
from dsud.management.fleet_command import Done, FleetCommand, positive
from dsud.models import UserDatabase

#: Rows of a table for people, unless they ask for more.
SCREENFUL = 100


class Command(FleetCommand):
    """``show_user_dbs``: what operators see of user databases."""

    help = "Shows user databases: state, schema, size, last use and the last error."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to show, how to sort it, and where to look."""
        super().add_arguments(parser)
        add = parser.add_argument
        add("--state", choices=listing.STATES, help="Only those in this state.")
        add("--outdated", action="store_true", help="Only those whose schema is not the code's.")
        add("--failed", action="store_true", help="Only those with an error.")
        add("--larger-than", type=listing.size, metavar="SIZE", help="As in 500KB, 20MB or 1GB.")
        add("--unused-since", type=listing.moment, metavar="WHEN", help="A date, or days: 90d.")
        add("--sort", choices=listing.ORDERS, help="Default: in the order they were registered.")
        add("--reverse", action="store_true", help="Sort the other way round.")
        add("--limit", type=positive, metavar="N", help="Show so many at most.")
        add("--verify", action="store_true", help="Open every file first, and mend the registry.")
        add("--runs", action="store_true", help="Show the runs of commands in their place.")

    def handle(self, *args: object, **options: object) -> None:
        """Print a table, or JSON."""
        if options["runs"]:
            limit = cast("int", options["limit"] or listing.RUNS)
            self._show(listing.runs(limit + 1), {**options, "limit": limit})
            return
        keys = self.selected(options) if options["users"] else None
        if options["verify"]:
            self._verify(self.selected(options) if options["exclude"] else keys, options)
        left_out = self.selected({"users": options["exclude"], "exclude": []}, among=())
        found = listing.find(options, keys=keys, left_out=left_out)
        self._show(listing.describe(found, keys=keys), options)
        if not options["as_json"]:
            self.stdout.write(listing.totals(found))

    def _verify(self, keys: list[str] | None, options: dict[str, object]) -> None:
        total = UserDatabase.objects.count() if keys is None else len(keys)
        workers = self.workers(options, keys or ["", ""])
        outcomes = fleet.verify(keys, workers=workers)
        self.follow(outcomes, options, Done("verified", total, "show_user_dbs", ["--verify"]))

    def _show(self, rows: Iterable[dict[str, object]], options: dict[str, object]) -> None:
        limit = cast("int | None", options["limit"])
        if options["as_json"]:
            self.stream_json(listing.first(rows, limit))
            return
        shown, more = listing.cut(rows, limit or SCREENFUL)
        if shown:
            self._print_table(shown)
        elif options["runs"]:
            self.stdout.write("There were no runs.")
        if more:
            self.stdout.write("There are more; show them with --limit, or with --json.")

    def _print_table(self, rows: list[dict[str, object]]) -> None:
        table = Table()
        names = [name for name in rows[0] if name not in listing.ONLY_IN_JSON]
        for name in names:
            # Never shortened, because operators look for whole keys.
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(_cell(name, row[name]) for name in names))
        Console(file=cast("IO[str]", self.stdout), no_color=self.style.ERROR("") == "").print(table)


def _cell(name: str, value: object) -> str:
    if value is None or value == "":
        return ""
    if name == "size":
        return str(filesizeformat(str(value)))
    if isinstance(value, datetime):
        return f"{localtime(value) if is_aware(value) else value:%Y-%m-%d %H:%M}"
    return str(value)
