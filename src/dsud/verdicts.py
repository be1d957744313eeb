"""What the schema of a user's database means to this code: fit, behind or ahead; found once for each state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

from dsud import recording, schema
from dsud.engines import engine
from dsud.engines.replaying import DatabaseState, Replayer
from dsud.router import HINT, has_user_models

#: States whose verdicts a process keeps; a fleet has a few, unless many were changed by hand.
KEPT = 256

#: How many causes a message names.
NAMED = 3


@dataclass(frozen=True)
class Verdict:
    """How the schema of a database differs from what the code wants, as far as that matters."""

    #: The migrations, and the tables without one, that the code has and the database lacks.
    pending: tuple[str, ...] = ()
    #: The last migrations of apps, where newer code has applied them.
    unknown: tuple[str, ...] = ()
    #: What keeps this code from working on a database that newer code has migrated.
    obstacles: tuple[str, ...] = ()

    @property
    def is_fit(self) -> bool:
        """Tell whether the code can work with it."""
        return not self.pending and not self.obstacles

    @property
    def is_behind(self) -> bool:
        """Tell whether migrating brings it to the schema of the code."""
        return bool(self.pending) and not self.unknown

    def __str__(self) -> str:
        """Say what is wrong, as the end of a sentence about the database."""
        if not self.unknown:
            return f"is behind the code: it lacks {_named(self.pending)}"
        ahead = f"was migrated by newer code, which has applied {_named(self.unknown)}"
        if self.pending:
            return f"{ahead}, and lacks {_named(self.pending)}, which this code has"
        return f"{ahead}, and this code cannot work with it: {_named(self.obstacles)}"


def _named(causes: tuple[str, ...]) -> str:
    more = len(causes) - NAMED
    return ", ".join(causes[:NAMED]) + (f" and {more} more" if more > 0 else "")


_known: dict[tuple[str, DatabaseState], Verdict] = {}


def verdict_on(connection: BaseDatabaseWrapper) -> Verdict:
    """Return the verdict on an open database.

    What Django has to say of it is asked on an empty clone of its schema if the engine can make one,
    because the database itself may be in the middle of something.
    """
    replayer = engine().replayer()
    state = schema.fingerprint(), _state(connection, replayer)
    if (verdict := _known.get(state)) is None:
        if replayer is None:
            verdict = _look(connection)
        else:
            with recording.clone_of(connection, replayer) as clone:
                verdict = _look(clone)
        if len(_known) >= KEPT:
            _known.clear()
        _known[state] = verdict
    return verdict


def _state(connection: BaseDatabaseWrapper, replayer: Replayer | None) -> DatabaseState:
    if replayer is not None:
        return replayer.state(connection)
    tables = sorted(connection.introspection.table_names())
    applied = MigrationRecorder(connection).applied_migrations()
    return DatabaseState("\n".join(tables), frozenset(applied))


def _look(connection: BaseDatabaseWrapper) -> Verdict:
    executor = MigrationExecutor(connection)
    unknown = recording.unknown_migrations(executor)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    pending = [str(migration) for migration, _ in plan if _concerns_users(migration)]
    present = set(connection.introspection.table_names())
    if unknown:
        obstacles = tuple(_obstacles(connection, present))
        return Verdict(tuple(pending), tuple(unknown), obstacles)
    tables = sorted(schema.missing_tables(connection, present))
    if not pending:
        pending = [f"the table {table}" for table in tables]
    return Verdict(tuple(pending))


def _concerns_users(migration: Migration) -> bool:
    """Tell whether a migration can change anything in user databases."""
    app_label = migration.app_label
    if has_user_models(app_label) or schema.is_mirrored_app(app_label):
        return True
    return any(getattr(each, "hints", {}).get(HINT) for each in migration.operations)


def _obstacles(connection: BaseDatabaseWrapper, present: set[str]) -> Iterator[str]:
    """Yield what this code would read and is gone, and what it would not write and must."""
    for model in schema.models_here():
        if not model._meta.can_migrate(connection):
            continue
        if model._meta.db_table not in present:
            yield f"there is no table {model._meta.db_table} any more"
        else:
            yield from _obstacles_in(model, connection)


def _obstacles_in(model: type[Model], connection: BaseDatabaseWrapper) -> Iterator[str]:
    table = model._meta.db_table
    wanted = {str(field.column) for field in model._meta.local_concrete_fields}
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, table)
    for name in sorted(wanted - {column.name for column in columns}):
        yield f"{table} has no column {name} any more"
    for column in columns:
        if column.name not in wanted and not column.null_ok and column.default is None:
            yield f"{table}.{column.name} is new and has no default"
