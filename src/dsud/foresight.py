"""What a rollout would do, told once for all user databases in the same state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from dsud import fleet, schema
from dsud import models as registry
from dsud.connections import alias_of
from dsud.migrating import targets_of
from dsud.opening import as_they_are

R = TypeVar("R")

#: Databases of one state that are tried when those before cannot be opened.
TRIED = 10


@dataclass(frozen=True)
class Foreseen:
    """What would be done to a database: the migrations by name, and the plan as ``migrate`` prints it."""

    migrations: tuple[str, ...]
    plan: str


class Foresight:
    """Looks at what is ahead of databases; one is opened for each state that the registry knows."""

    def __init__(self, *target: str, verify: bool = False, workers: fleet.Workers = None) -> None:
        """With ``verify`` every database is opened, as are those of whose state nothing is known."""
        self._target = target
        self._verify = verify
        self._workers = workers
        self.failures: dict[str, BaseException] = {}

    def of(self, keys: Sequence[str]) -> dict[Foreseen, list[str]]:
        """Return what would be done, and to whom; the errors of those that fail are in ``failures``."""
        found: dict[Foreseen, list[str]] = {}
        for group in self._groups(keys):
            foreseen = self._foresee(group)
            if foreseen is not None:
                found.setdefault(foreseen, []).extend(group)
        return found

    def _groups(self, keys: Sequence[str]) -> Iterator[list[str]]:
        """Yield databases that have the same migrations applied."""
        known = {} if self._verify else registry.schemas_of(keys)
        groups: dict[str, list[str]] = {}
        for key in keys:
            if known.get(key):
                groups.setdefault(known[key], []).append(key)
        for key, state in self._looked_at([key for key in keys if not known.get(key)]):
            groups.setdefault(state, []).append(key)
        yield from groups.values()

    def _looked_at(self, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
        workers = self._workers if len(keys) > 1 else 1
        for outcome in fleet.for_each(state_of, keys, workers=workers, read_only=True):
            if outcome.result is None:
                self._note(outcome)
            else:
                yield outcome.user_key, outcome.result

    def _foresee(self, group: list[str]) -> Foreseen | None:
        """Return what is ahead of one that can be opened; those that cannot leave the group."""
        work = fleet.for_each(self._foreseen_of, group[:TRIED], workers=1, read_only=True)
        with closing(work) as outcomes:
            for outcome in outcomes:
                if outcome.result is not None:
                    return outcome.result
                self._note(outcome)
                group.remove(outcome.user_key)
        return None

    def _foreseen_of(self, key: str) -> Foreseen:
        alias = alias_of(key)
        with as_they_are():
            executor = MigrationExecutor(connections[alias])
            plan = executor.migration_plan(targets_of(*self._target)(executor))
            text = schema.migrate(alias, *self._target, plan=True, no_color=True)
        return Foreseen(tuple(str(migration) for migration, _ in plan), text)

    def _note(self, outcome: fleet.Outcome[R]) -> None:
        self.failures[outcome.user_key] = outcome.error or LookupError(outcome.user_key)


def state_of(key: str) -> str:
    """Return what tells databases with the same migrations applied from others."""
    with as_they_are():
        applied = MigrationRecorder(connections[alias_of(key)]).applied_migrations()
    return hashlib.sha256(repr(sorted(applied)).encode()).hexdigest()
