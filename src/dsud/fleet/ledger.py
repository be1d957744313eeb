"""The registry made true again: what the files themselves say, also when it was lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from dsud import models as registry
from dsud import schema
from dsud.connections import alias_of
from dsud.engines import engine
from dsud.fleet.outcomes import Outcome
from dsud.fleet.workers import Workers, for_each
from dsud.models import UserDatabase
from dsud.opening import as_they_are

State = UserDatabase.State

#: Databases that are written down in one transaction.
PAGE = 200


@dataclass(frozen=True)
class Facts:
    """What a database says of itself."""

    size: int
    last_used: datetime | None
    current: bool


def verify(
    users: Iterable[str] | None = None, *, workers: Workers = None
) -> Iterator[Outcome[Facts]]:
    """Open every database, write into the registry what it says, and yield that.

    Those that the registry does not know are registered, and those that cannot be opened get their
    cause as ``last_error``.
    """
    outcomes = for_each(look, users, workers=workers, read_only=True)
    try:
        while page := list(islice(outcomes, PAGE)):
            with transaction.atomic(using=DEFAULT_DB_ALIAS):
                for outcome in page:
                    _write_down(outcome)
            yield from page
    finally:
        outcomes.close()


def look(key: str) -> Facts:
    """Return what the database of the active user says of itself."""
    size = engine().size(key) if engine().exists(key) else 0
    with as_they_are():
        return Facts(size, engine().last_written(key), is_current(alias_of(key)))


#: What is known of databases with the same migrations and the same tables.
_verdicts: dict[tuple[str, frozenset[object]], bool] = {}


def is_current(alias: str) -> bool:
    """Tell what ``schema.is_current`` does, asked once for all databases in the same state."""
    connection = connections[alias]
    applied = MigrationRecorder(connection).applied_migrations()
    state = frozenset([*applied, *connection.introspection.table_names()])
    known = (schema.fingerprint(), state)
    if known not in _verdicts:
        _verdicts[known] = schema.is_current(alias)
    return _verdicts[known]


def _write_down(outcome: Outcome[Facts]) -> None:
    key, facts = outcome.user_key, outcome.result
    if facts is None or outcome.error is not None:
        error = outcome.error or LookupError(key)
        missing = not _is_there(key)
        values: dict[str, object] = {"last_error": registry.cause_of(error), "missing": missing}
    else:
        values = {
            "state": State.READY,
            "schema": schema.fingerprint() if facts.current else "",
            "size": facts.size,
            "last_used": facts.last_used,
            "missing": False,
        }
        if facts.current:
            values["last_error"] = ""
    registry.write(key, unless=State.DELETED, verified=timezone.now(), **values)


def _is_there(key: str) -> bool:
    try:
        return engine().exists(key)
    except Exception:  # noqa: BLE001, because it is a failing disk, and its error is written down already
        return True
