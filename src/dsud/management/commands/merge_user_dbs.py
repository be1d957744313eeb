"""Merge user databases into one ordinary database: the way back."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from dsud.adoption.joined import Joined, joined_tables
from dsud.adoption.merge import Merge
from dsud.adoption.ordinary import counts, create_tables, refuse_missing_tables
from dsud.connections import alias_of
from dsud.context import use_user
from dsud.management.adoption_command import AdoptionCommand, failures_named, usage_errors
from dsud.management.fleet_command import USAGE, strings
from dsud.router import has_user_models


class Command(AdoptionCommand):
    """``merge_user_dbs --dry-run``, ``merge_user_dbs --create-tables``."""

    help = "Merges user databases into one ordinary database; they stay as they are."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what says where to, and whose a row is there."""
        super().add_arguments(parser)
        parser.add_argument(
            "app_label",
            nargs="*",
            help="Apps whose rows are merged; default: all with user models.",
        )
        parser.add_argument(
            "--no-owner",
            action="append",
            default=[],
            dest="unowned",
            metavar="MODEL",
            help="A model whose rows nothing will tell apart by user after the merge.",
        )
        parser.add_argument(
            "--database",
            default=DEFAULT_DB_ALIAS,
            help="The alias in DATABASES of the database to merge into; default: default.",
        )
        parser.add_argument(
            "--create-tables", action="store_true", help="Make the tables that are not there."
        )

    def handle(self, *args: object, **options: object) -> None:
        """Merge, or count."""
        alias = str(options["database"])
        if alias not in list(connections):
            raise CommandError(f"DATABASES has no {alias!r}.", returncode=USAGE)
        labels = strings(options["app_label"])
        if unknown := [label for label in labels if not has_user_models(label)]:
            raise CommandError(
                f"{', '.join(unknown)}: no such app has user models.", returncode=USAGE
            )
        with usage_errors():
            tables = joined_tables(
                given=self.given_paths(options),
                copied=strings(options["copied"]),
                unowned=strings(options["unowned"]),
                labels=labels,
            )
        keys = self.selected(options)
        if options["dry_run"]:
            self.show_counts(tables, keys, as_json=bool(options["as_json"]))
            return
        with failures_named():
            if options["create_tables"]:
                create_tables(tables, alias)
            refuse_missing_tables(tables, alias)
            merge = Merge(tables, alias)
        self.run(keys, merge.merge, done=f"merged into {alias}", options=options)

    def show_counts(self, tables: list[Joined], keys: list[str], *, as_json: bool) -> None:
        """Print how many rows of each model there are."""
        rows = {table.label: 0 for table in tables}
        with failures_named():
            for key in keys:
                with use_user(key):
                    for label, count in counts(tables, alias_of(key)):
                        rows[label] += count
        if as_json:
            paths = {table.label: table.path and str(table.path) for table in tables}
            self.write_json(
                {
                    "users": keys,
                    "tables": [
                        {"model": label, "owner": paths[label], "rows": count}
                        for label, count in rows.items()
                    ],
                }
            )
            return
        self.write_grid(
            f"Rows of {len(keys)} users",
            ("model", "owner", "rows"),
            [(table.label, str(table.path or ""), str(rows[table.label])) for table in tables],
        )
