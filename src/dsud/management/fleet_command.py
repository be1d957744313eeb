"""What the commands for many user databases share: whom, how to report, how to exit."""

from __future__ import annotations

import json
import textwrap
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import IO, TypeVar, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dsud import fleet
from dsud.exceptions import DSUDError, FleetFailed
from dsud.management.progress import Progress

R = TypeVar("R")

#: Exit codes: 0 done, 1 some failed, 2 wrong usage.
SOME_FAILED = 1
USAGE = 2


#: Databases for which other processes are started.
ENOUGH_FOR_WORKERS = 2


@dataclass(frozen=True)
class Done:
    """What a command does to databases: in a word, to how many, and how it was called."""

    verb: str
    total: int
    command: str
    arguments: Sequence[str] = ()


class FleetCommand(BaseCommand):
    """A command for one, some or all user databases."""

    #: Whether several processes may share the work.
    takes_workers = True

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
        if self.takes_workers:
            parser.add_argument(
                "--workers",
                type=positive,
                metavar="N",
                help="Processes that work side by side; default: one for each core.",
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
        self.stdout.write(_json(document))

    def workers(self, options: dict[str, object], keys: Sequence[str]) -> int | None:
        """Return what ``--workers`` says; one database needs no other process."""
        if options["workers"] is None:
            return 1 if len(keys) < ENOUGH_FOR_WORKERS else None
        return int(str(options["workers"]))

    def report(
        self, outcomes: Iterable[fleet.Outcome[str]], options: dict[str, object], done: Done
    ) -> None:
        """Say what came of each database; exit with 1, naming each failure, when there was one.

        What happens is shown while it happens, and kept as a run in the registry.
        """
        tally = Tally()
        progress = self.progress_of(options, done)
        kept = fleet.recorded(outcomes, command=done.command, arguments=done.arguments)
        followed = tally.counting(progress.following(kept))
        if options["as_json"]:
            self.stream_json(document_of(outcome) for outcome in followed)
        else:
            for outcome in followed:
                with progress.aside() if outcome.result else nullcontext():
                    self._write_outcome(outcome)
            self.stdout.write(f"{tally.done} of {tally.count} user databases {done.verb}.")
        tally.raise_failures()

    def follow(
        self, outcomes: Iterable[fleet.Outcome[R]], options: dict[str, object], done: Done
    ) -> None:
        """Show how far a run is, and no more; failures are somebody else's to tell."""
        tally = Tally()
        for _ in tally.counting(self.progress_of(options, done).following(outcomes)):
            pass
        if tally.was_stopped:
            tally.raise_failures()

    def progress_of(self, options: dict[str, object], done: Done) -> Progress:
        """Return what shows how far a run is."""
        stream = cast("IO[str]", self.stderr._out)
        is_quiet = options["verbosity"] == 0
        return Progress(stream, total=done.total, verb=done.verb, is_quiet=is_quiet)

    def stream_json(self, documents: Iterable[object]) -> None:
        """Print a list of documents for machines, each as soon as it is there."""
        is_first = True
        for document in documents:
            self.stdout.write("[\n" if is_first else ",\n", ending="")
            self.stdout.write(textwrap.indent(_json(document), "  "), ending="")
            is_first = False
        self.stdout.write("[]" if is_first else "\n]")

    def _write_outcome(self, outcome: fleet.Outcome[str]) -> None:
        if outcome.result:
            self.stdout.write(self.style.MIGRATE_HEADING(f"User {outcome.user_key}:"))
            self.stdout.write(outcome.result)


class Tally:
    """How many databases were done and how many failed, counted while their outcomes pass."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: dict[str, BaseException] = {}
        self.was_stopped = False

    @property
    def done(self) -> int:
        """How many were done."""
        return self.count - len(self.failures)

    def counting(self, outcomes: Iterable[fleet.Outcome[R]]) -> Iterator[fleet.Outcome[R]]:
        """Yield the outcomes, until the operator stops the run."""
        try:
            for outcome in outcomes:
                self.count += 1
                if outcome.error is not None:
                    self.failures[outcome.user_key] = outcome.error
                yield outcome
        except KeyboardInterrupt:
            self.was_stopped = True

    def raise_failures(self) -> None:
        """Raise ``CommandError`` when any database failed, or was not reached."""
        message = str(FleetFailed(self.failures)) if self.failures else ""
        if self.was_stopped:
            stopped = f"Stopped after {self.count} user databases; run it again for the others."
            message = f"{stopped}\n{message}".rstrip().replace("all others", "the others of these")
        if message:
            raise CommandError(message, returncode=SOME_FAILED)


def positive(text: str) -> int:
    """Return a number of workers."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def strings(option: object) -> list[str]:
    """Return the values of an option that may be given several times."""
    return [str(value) for value in cast("list[object]", option)]


def _json(document: object) -> str:
    return json.dumps(document, indent=2, default=str)


def document_of(outcome: fleet.Outcome[str]) -> dict[str, object]:
    """Return what machines are told of one database."""
    return {
        "user": outcome.user_key,
        "ok": outcome.error is None,
        "output": outcome.result or "",
        "error": None if outcome.error is None else str(outcome.error),
        "seconds": round(outcome.seconds, 4),
    }
