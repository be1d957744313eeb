"""Move the rows of a site with one database into user databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.files.storage import InvalidStorageError
from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as Grid

from dsud import fleet
from dsud.adoption.media import source_storage
from dsud.adoption.owners import InvalidOwnerPath, OwnerPathUnclear
from dsud.adoption.plan import Plan, Table, crossing_links, make_plan, refuse_crossing_links
from dsud.adoption.removal import Removal
from dsud.adoption.split import Split, carrier_for
from dsud.exceptions import DSUDError
from dsud.management.fleet_command import SOME_FAILED, USAGE, FleetCommand, strings

#: How many primary keys of rows that stay are shown; ``--json`` has them all.
SHOWN = 20


class Command(FleetCommand):
    """``split_to_user_dbs --dry-run``, ``split_to_user_dbs``, ``split_to_user_dbs --delete-source``."""

    help = "Moves the rows of user models from `default` into the databases of their owners."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what says whose a row is, and how far to go."""
        super().add_arguments(parser)
        parser.add_argument(
            "--owner",
            action="append",
            default=[],
            dest="owners",
            metavar="MODEL=PATH",
            help="The keys that lead from a model to its owner, such as notes.Attachment=note__author.",
        )
        parser.add_argument(
            "--copy",
            action="append",
            default=[],
            dest="copied",
            metavar="MODEL",
            help="A model whose rows are nobody's alone: each user gets those that theirs point to.",
        )
        parser.add_argument(
            "--files-from",
            metavar="STORAGE",
            help="The alias in STORAGES under which files are now; default: MEDIA_ROOT.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Print the plan and counts, and do nothing."
        )
        parser.add_argument(
            "--delete-source",
            action="store_true",
            help="Delete from `default` what an earlier run has moved, verified again.",
        )

    def handle(self, *args: object, **options: object) -> None:
        """Plan, and move or delete."""
        as_json = bool(options["as_json"])
        with usage_errors():
            storage = source_storage(options["files_from"])  # type: ignore[arg-type]
            given, copied = given_paths(strings(options["owners"])), strings(options["copied"])
            plan = make_plan(given=given, copied=copied)
        keys = [key for key in self.selected(options, among=plan.owners) if key in plan.owners]
        if options["dry_run"]:
            self.show_plan(plan, keys, as_json=as_json, links=True)
            return
        with failures_named(), carrier_for(plan) as carrier:
            if options["delete_source"]:
                removal = Removal(plan, carrier)
                removal.refuse_unless_moved(keys)
                self.run(keys, lambda key: f"{removal.delete(key)} rows deleted", plan, options)
                return
            refuse_crossing_links(plan, keys)
            split = Split(plan, carrier, files_from=storage)
            self.run(keys, lambda key: "{1} rows {0}".format(*split.move(key)), plan, options)

    def run(
        self, keys: list[str], act: Callable[[str], str], plan: Plan, options: dict[str, object]
    ) -> None:
        """Do something for each user and report, first what stays where it is."""
        as_json = bool(options["as_json"])
        if not as_json:
            self.show_plan(plan, keys, as_json=False, links=False)
        done = "cleared from default" if options["delete_source"] else "filled"
        with self.progress(len(keys), shown=not as_json) as advance:

            def act_and_tell(key: str) -> str:
                try:
                    result = act(key)
                    advance(f"User {key}: {result}.")
                except Exception as error:
                    advance(f"User {key}: {error}")
                    raise
                return result

            outcomes = fleet.for_each(act_and_tell, keys)
        if not as_json:
            outcomes = [
                fleet.Outcome(each.user_key, "", each.error, each.seconds) for each in outcomes
            ]
        self.report(outcomes, done=done, as_json=as_json)

    @contextmanager
    def progress(self, total: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
        """Give what tells of one user more: a bar on a terminal, else a line for each."""
        if not shown:
            yield lambda line: None
        elif self.stdout.isatty():
            with Progress(console=Console(file=self.stdout)) as bar:  # type: ignore[arg-type]
                task = bar.add_task("Users", total=total)
                yield lambda line: bar.advance(task)
        else:
            yield self.stdout.write

    # The plan

    def show_plan(self, plan: Plan, keys: list[str], *, as_json: bool, links: bool) -> None:
        """Print the tables with their counts, and what stays in ``default``; exit with 1 for bad links."""
        found = [link for key, link in crossing_links(plan) if key in keys] if links else []
        if as_json:
            self.write_json(document_of(plan, keys, found))
        else:
            grid = Grid("model", "owner", "rows", "stay", title=f"Rows of {len(keys)} users")
            for table in plan.tables:
                stay = len(table.loose) + sum(map(len, table.orphans.values()))
                grid.add_row(table.label, str(table.path), str(table.rows), str(stay))
            width = None if self.stdout.isatty() else 200
            Console(file=self.stdout, width=width).print(grid)  # type: ignore[arg-type]
            for line in lines_of_rows_that_stay(plan):
                self.stdout.write(line)
        if found:
            names = "\n".join(f"  {link}" for link in found)
            raise CommandError(
                f"{len(found)} keys would lead out of their user's database:\n{names}",
                returncode=SOME_FAILED,
            )


@contextmanager
def usage_errors() -> Iterator[None]:
    """Exit with 2 when the command was called in a wrong way."""
    try:
        yield
    except (InvalidOwnerPath, OwnerPathUnclear, InvalidStorageError) as error:
        raise CommandError(str(error), returncode=USAGE) from error
    except DSUDError as error:
        raise CommandError(str(error), returncode=SOME_FAILED) from error


@contextmanager
def failures_named() -> Iterator[None]:
    """Exit with 1 when nothing may be done."""
    try:
        yield
    except DSUDError as error:
        raise CommandError(str(error), returncode=SOME_FAILED) from error


def given_paths(owners: list[str]) -> dict[str, str]:
    """Return the owner paths that were given, by model; raise ``InvalidOwnerPath`` for what is none."""
    given = {}
    for each in owners:
        label, separator, path = each.partition("=")
        if not (label and separator and path):
            raise InvalidOwnerPath(f"--owner {each}: write MODEL=PATH, such as notes.Note=author.")
        given[label] = path
    return given


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
    return {
        "users": keys,
        "tables": [_document(table) for table in plan.tables],
        "links": links,
    }


def _document(table: Table) -> dict[str, object]:
    return {
        "model": table.label,
        "owner": str(table.path),
        "rows": table.rows,
        "nobody": table.loose,
        "gone": table.orphans,
    }
