"""What the commands that move rows between databases share: owner paths, progress, reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from django.core.files.storage import InvalidStorageError
from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dsud import fleet
from dsud.adoption.files import NoSuchDirectory
from dsud.adoption.owners import InvalidOwnerPath, OwnerPathUnclear
from dsud.exceptions import DSUDError
from dsud.management.fleet_command import (
    SOME_FAILED,
    USAGE,
    FleetCommand,
    Tally,
    document_of,
    strings,
)

#: Columns of a table that is not shown on a terminal.
WIDTH = 200


class AdoptionCommand(FleetCommand):
    """A command that moves the rows of one, some or all users."""

    takes_workers = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what says whose a row is, and ``--dry-run``."""
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
            help="A model whose rows are nobody's alone, and of which users have copies.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Print the plan and counts, and do nothing."
        )

    def given_paths(self, options: dict[str, object]) -> dict[str, str]:
        """Return the owner paths that were given, by model; raise ``InvalidOwnerPath``."""
        given = {}
        for each in strings(options["owners"]):
            label, separator, path = each.partition("=")
            if not (label and separator and path):
                raise InvalidOwnerPath(
                    f"--owner {each}: write MODEL=PATH, such as notes.Note=author."
                )
            given[label] = path
        return given

    def run(
        self,
        keys: list[str],
        act: Callable[[str], tuple[str, int]],
        *,
        done: str,
        options: dict[str, object],
    ) -> None:
        """Do something for each user, tell what came of it, and exit with 1 for failures."""
        as_json = bool(options["as_json"])
        tally = Tally()
        with self.progress(len(keys), shown=not as_json) as advance:

            def act_and_tell(key: str) -> str:
                try:
                    result, rows = act(key)
                except Exception as error:
                    advance(f"User {key}: {error}")
                    raise
                advance(f"User {key}: {rows} rows {result}.")
                return f"{rows} rows {result}" if as_json else ""

            # In this very process, because the source is read by one connection of its own.
            outcomes = fleet.for_each(act_and_tell, keys, workers=1)
            documents = [document_of(outcome) for outcome in tally.counting(outcomes)]
        if as_json:
            self.stream_json(documents)
        else:
            self.stdout.write(f"{tally.done} of {tally.count} user databases {done}.")
        tally.raise_failures()

    @contextmanager
    def progress(self, total: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
        """Give what tells of one user more: a bar on a terminal, else a line for each."""
        if not shown:
            yield lambda line: None
        elif self.stdout.isatty():
            with Progress(console=self.console()) as bar:
                task = bar.add_task("Users", total=total)
                yield lambda line: bar.advance(task)
        else:
            yield self.stdout.write

    def write_grid(self, title: str, names: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """Print a table."""
        grid = Table(*names, title=title)
        for row in rows:
            grid.add_row(*row)
        self.console().print(grid)

    def console(self) -> Console:
        """Return what draws on the command's output."""
        width = None if self.stdout.isatty() else WIDTH
        return Console(file=self.stdout, width=width)  # type: ignore[arg-type]


@contextmanager
def usage_errors() -> Iterator[None]:
    """Exit with 2 when the command was called in a wrong way."""
    try:
        yield
    except (InvalidOwnerPath, OwnerPathUnclear, InvalidStorageError, NoSuchDirectory) as error:
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
