"""Move the rows of a site with one database into user databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from django.core.management.base import CommandError, CommandParser

from dsud.adoption.files import adopt_file, find_files
from dsud.adoption.media import source_storage
from dsud.adoption.plan import Plan, Table, crossing_links, make_plan, refuse_crossing_links
from dsud.adoption.removal import Removal
from dsud.adoption.split import carrier_for, splitting
from dsud.management.adoption_command import AdoptionCommand, failures_named, usage_errors
from dsud.management.fleet_command import SOME_FAILED, strings

#: How many primary keys of rows that stay are shown; ``--json`` has them all.
SHOWN = 20


class Command(AdoptionCommand):
    """``split_to_user_dbs --dry-run``, ``split_to_user_dbs``, ``split_to_user_dbs --delete-source``."""

    help = "Moves the rows of user models from `default` into the databases of their owners."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add where files are, and how far to go."""
        super().add_arguments(parser)
        parser.add_argument(
            "--files-from",
            metavar="STORAGE",
            help="The alias in STORAGES under which files are now; default: MEDIA_ROOT.",
        )
        parser.add_argument(
            "--delete-source",
            action="store_true",
            help="Delete from `default` what an earlier run has moved, verified again.",
        )
        parser.add_argument(
            "--adopt-files",
            metavar="DIRECTORY",
            help="Take over the files of django-sqlite-user-db 0.1 in its USER_DB_DIR instead.",
        )

    def handle(self, *args: object, **options: object) -> None:
        """Plan, and move or delete."""
        if options["adopt_files"] is not None:
            self.adopt(Path(str(options["adopt_files"])), options)
            return
        with usage_errors():
            storage = source_storage(cast("str | None", options["files_from"]))
            given, copied = self.given_paths(options), strings(options["copied"])
            plan = make_plan(given=given, copied=copied)
        keys = [key for key in self.selected(options, among=plan.owners) if key in plan.owners]
        if options["dry_run"]:
            self.show_plan(plan, keys, as_json=bool(options["as_json"]))
            return
        if options["delete_source"]:
            with failures_named(), carrier_for(plan) as carrier:
                removal = Removal(plan, carrier)
                removal.refuse_unless_moved(keys)
                self.run(keys, removal.delete, done="cleared from default", options=options)
            return
        with failures_named(), splitting(plan, files_from=storage) as split:
            refuse_crossing_links(plan, keys)
            if not options["as_json"]:
                self.write_plan(plan, keys)
            self.run(keys, split.move, done="filled", options=options)

    def adopt(self, directory: Path, options: dict[str, object]) -> None:
        """Make user databases of the files of a directory, which stay as they are."""
        with usage_errors():
            found = find_files(directory)
        only_looks = bool(options["dry_run"])
        if not options["as_json"]:
            for path in found.left:
                self.stdout.write(f"{path.name} is named after nobody and is left where it is.")

        def take_over(key: str) -> tuple[str, int]:
            adopted = adopt_file(key, found.files[key], only_looks=only_looks)
            before = "to be taken over" if only_looks else "taken over before"
            return "taken over" if adopted.now else before, sum(adopted.contents.kept.values())

        keys = [key for key in self.selected(options, among=found.files) if key in found.files]
        self.run(keys, take_over, done="looked at" if only_looks else "filled", options=options)

    def show_plan(self, plan: Plan, keys: list[str], *, as_json: bool) -> None:
        """Print what a split would do; exit with 1 for keys that would lead out of a database."""
        links = [link for key, link in crossing_links(plan) if key in keys]
        if as_json:
            self.write_json(document_of(plan, keys, links))
        else:
            self.write_plan(plan, keys)
        if links:
            names = "\n".join(f"  {link}" for link in links)
            raise CommandError(
                f"{len(links)} keys would lead out of their user's database:\n{names}",
                returncode=SOME_FAILED,
            )

    def write_plan(self, plan: Plan, keys: list[str]) -> None:
        """Print the tables with their counts, and what stays in ``default``."""
        rows = [
            (
                table.label,
                str(table.path),
                str(table.rows),
                str(len(table.loose) + sum(map(len, table.orphans.values()))),
            )
            for table in plan.tables
        ]
        self.write_grid(f"Rows of {len(keys)} users", ("model", "owner", "rows", "stay"), rows)
        for line in lines_of_rows_that_stay(plan):
            self.stdout.write(line)


def lines_of_rows_that_stay(plan: Plan) -> Iterator[str]:
    """Yield a line for each table with rows that nobody gets."""
    for table in plan.tables:
        if table.loose:
            yield f"{table.label}: rows of nobody stay in `default`: {_shown(table.loose)}"
        for owner, keys in table.orphans.items():
            yield f"{table.label}: rows of user {owner}, who is gone, stay in `default`: {_shown(keys)}"


def _shown(keys: list[object]) -> str:
    more = f" and {len(keys) - SHOWN} more (--dry-run --json has all)" if len(keys) > SHOWN else ""
    return ", ".join(map(str, keys[:SHOWN])) + more


def document_of(plan: Plan, keys: list[str], links: list[str]) -> dict[str, object]:
    """Return the plan for machines."""
    return {"users": keys, "tables": list(map(_document, plan.tables)), "links": links}


def _document(table: Table) -> dict[str, object]:
    return {
        "model": table.label,
        "owner": str(table.path),
        "rows": table.rows,
        "nobody": table.loose,
        "gone": table.orphans,
    }
