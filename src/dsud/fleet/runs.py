"""Runs over many databases, noted in the registry while they go on, each failure with its cause."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from dsud.fleet.outcomes import Outcome
from dsud.models import FleetFailure, FleetRun, cause_of

R = TypeVar("R")

Ended = FleetRun.Outcome

#: Seconds, and failures, after which what is known of a run is written down.
EVERY_SECONDS = 2.0
EVERY_FAILURES = 200


class Log:
    """Writes down one run."""

    def __init__(self, command: str, arguments: Sequence[str]) -> None:
        runs = FleetRun.objects.using(DEFAULT_DB_ALIAS)
        self.run = runs.create(command=command, arguments=list(arguments))
        self._failures: list[FleetFailure] = []
        self._written = time.monotonic()

    def note(self, outcome: Outcome[R]) -> None:
        """Count one outcome, and write now and then."""
        if outcome.error is None:
            self.run.done += 1
        else:
            self.run.failed += 1
            cause = cause_of(outcome.error)
            failure = FleetFailure(run=self.run, user_key=outcome.user_key, cause=cause)
            self._failures.append(failure)
        overdue = time.monotonic() - self._written > EVERY_SECONDS
        if overdue or len(self._failures) >= EVERY_FAILURES:
            self.write()

    def write(self) -> None:
        """Write what is known."""
        self.run.save(using=DEFAULT_DB_ALIAS)
        FleetFailure.objects.using(DEFAULT_DB_ALIAS).bulk_create(self._failures)
        self._failures.clear()
        self._written = time.monotonic()

    def end(self, ended: Ended) -> None:
        """Write how it ended."""
        self.run.outcome = ended
        self.run.finished = timezone.now()
        self.write()


def recorded(
    outcomes: Iterable[Outcome[R]], *, command: str, arguments: Sequence[str] = ()
) -> Iterator[Outcome[R]]:
    """Yield outcomes, and keep a record of them in the registry."""
    log = Log(command, arguments)
    ended = Ended.STOPPED
    try:
        for outcome in outcomes:
            log.note(outcome)
            yield outcome
        ended = Ended.FAILED if log.run.failed else Ended.DONE
    finally:
        log.end(ended)
