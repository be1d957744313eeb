"""The fleet brought to the schema of the code: whom, a few first, how many may fail, and the ledger kept."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from django.utils import timezone

from dsud import fleet, migrating, provisioning, schema
from dsud import models as registry
from dsud.engines import engine
from dsud.exceptions import DSUDError
from dsud.fleet.outcomes import Work
from dsud.fleet.workers import choose, run
from dsud.migrating import Done, Migrator
from dsud.recording import RecordingFailed

logger = logging.getLogger("dsud")

State = registry.UserDatabase.State

#: How many outcomes wait for one write to the registry, and for how many seconds.
LEDGER_ROWS = 200
LEDGER_SECONDS = 1.0

#: How many files are looked into at the same time.
LOOKERS = 4

#: A number of databases, or a part of them.
Share: TypeAlias = int | Fraction


class RolloutStopped(DSUDError):
    """Raised when so many databases failed that the others were left alone."""

    def __init__(self, why: str, done: int, total: int) -> None:
        self.why = why
        self.done = done
        self.total = total
        super().__init__(why, done, total)

    def __str__(self) -> str:
        return (
            f"{self.why} {self.done} of {self.total} user databases were looked at;"
            " the others were left alone. Mend the cause and run it again."
        )


@dataclass(frozen=True)
class Limits:
    """How careful a rollout is."""

    #: How many are migrated first, of whom none may fail.
    canary: Share = 0
    #: How many may fail before the others are left alone; None for any number.
    max_failures: Share | None = None


def share_of(share: Share, total: int) -> int:
    """Return how many databases a share is: of a part, at least one."""
    if isinstance(share, int):
        return share
    return min(total, max(1, int(share * total)))


def new_run() -> str:
    """Return a name for a run; names sort by time."""
    return f"{timezone.now():%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


# Whom


def outdated() -> list[str]:
    """Return the keys of all databases that are not current, by the registry alone.

    A registry that knows nobody is no ledger: then the files themselves are asked who there is.
    """
    found = registry.outdated(schema.fingerprint())
    if not found and not registry.count_ready():
        return list(fleet.unregistered())
    # One that was made may wait to be registered, if its maker was killed in between.
    return [key for key, state in found if state == State.READY or engine().exists(key)]


def verified(keys: Iterable[str]) -> Iterator[str]:
    """Yield the keys of those databases that do not carry the stamp of the code's schema.

    What the registry says of the others is put right.
    """
    chosen, ledger = list(keys), Ledger()
    # Threads, because it is waiting for the disk; each opens and closes a file for itself.
    with ThreadPoolExecutor(LOOKERS) as lookers:
        for key, is_current in zip(chosen, lookers.map(_is_stamped, chosen), strict=True):
            if is_current:
                ledger.note_current(key)
            else:
                yield key
    ledger.write()


def _is_stamped(key: str) -> bool:
    try:
        return engine().has_stamp(key, schema.fingerprint())
    except DSUDError:
        return False  # What is wrong with it is said when it is migrated.


# How


def record_first(keys: Sequence[str], migrator: Migrator) -> None:
    """Record and rehearse the plan of one database of each schema, before any database is touched.

    Workers inherit the plans, and the fingerprint of the code. Raises ``RecordingFailed``; of a
    database that cannot be opened its own migration will tell.
    """
    schema.fingerprint()
    for key in registry.keys_by_schema(keys).values():
        outcome = next(fleet.for_each(migrator.plan_for, [key], workers=1))
        if isinstance(outcome.error, RecordingFailed):
            raise outcome.error


def roll_out(
    keys: Sequence[str], migrator: Migrator, limits: Limits, *, workers: fleet.Workers = None
) -> Iterator[fleet.Outcome[Done]]:
    """Migrate databases, the canaries first, and yield what came of each, in order.

    Raises ``RecordingFailed`` before any is touched, and ``RolloutStopped`` when too many failed.
    """
    record_first(keys, migrator)
    first = share_of(limits.canary, len(keys)) if limits.canary else 0
    looked_at = 0
    for outcome in _migrate(keys[:first], migrator, 0, workers=workers):
        looked_at += 1
        yield outcome
        if outcome.error is not None:
            raise RolloutStopped("A canary failed.", looked_at, len(keys))
    allowed = limits.max_failures
    most = len(keys) if allowed is None else share_of(allowed, len(keys))
    failures = 0
    for outcome in _migrate(keys[first:], migrator, most, workers=workers):
        looked_at += 1
        failures += outcome.error is not None
        yield outcome
        if failures > most:
            raise RolloutStopped(f"More than {most} failed.", looked_at, len(keys))


def _migrate(
    keys: Sequence[str], migrator: Migrator, most: int, *, workers: fleet.Workers
) -> Iterator[fleet.Outcome[Done]]:
    if not keys:
        return
    ledger = None if migrator.on_copies else Ledger()
    outcomes = run(Work(migrator, is_repeatable=True), keys, choose(workers))
    try:
        with outcomes.hearing():
            for outcome in outcomes:
                if ledger is not None:
                    ledger.note(outcome)
                yield outcome
    finally:
        outcomes.close()
        if ledger is not None:
            ledger.write()


class Ledger:
    """What the registry is told of databases, many at a time; a killed run leaves it behind the files."""

    def __init__(self) -> None:
        self._current: list[str] = []
        self._other: list[str] = []
        self._since = time.monotonic()

    def note(self, outcome: fleet.Outcome[Done]) -> None:
        """Note what came of a database."""
        if outcome.error is not None:
            registry.record_failure(outcome.user_key, outcome.error)
        elif outcome.result is not None:
            kept = self._current if outcome.result.is_current else self._other
            kept.append(outcome.user_key)
            self._write_if_due()

    def note_current(self, key: str) -> None:
        """Note that a database has the schema of the code."""
        self._current.append(key)
        self._write_if_due()

    def _write_if_due(self) -> None:
        waited = time.monotonic() - self._since
        if len(self._current) + len(self._other) >= LEDGER_ROWS or waited > LEDGER_SECONDS:
            self.write()

    def write(self) -> None:
        """Tell the registry what it was not told yet."""
        for keys, is_current in ((self._current, True), (self._other, False)):
            if keys:
                registry.write_ready(keys, **provisioning.ready(current=is_current))
            keys.clear()
        self._since = time.monotonic()


# Back


def with_snapshot(run: str) -> Iterator[str]:
    """Yield the key of each user whose database has a snapshot of a run."""
    everybody = fleet.keys()
    return (key for key in everybody if engine().exists(key) and run in engine().snapshots(key))


def undo(key: str, run: str) -> None:
    """Bring a database back to what it was before a run, and have the registry say that."""
    migrating.undo(key, run)
    is_current = engine().has_stamp(key, schema.fingerprint())
    registry.write_ready([key], **provisioning.ready(current=is_current))
