"""What was recorded of a migration plan: the steps that a database goes through, in order."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TypeAlias, cast

from django.apps.registry import Apps
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import Migration, RunPython
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.transaction import atomic

from dsud.engines.replaying import DatabaseState, Parameters, Replayer
from dsud.exceptions import DSUDError

AnyField: TypeAlias = "models.Field[object, object]"


class Diverged(DSUDError):
    """Raised when a database does not become what the recording became; nothing was changed in it."""


class Untouched(list[object]):
    """The deferred statements of an editor that was lent to the code of a migration.

    They belong to a recording, so code that adds some, or makes an operation run them, cannot be
    called beside recorded statements.
    """

    def _refuse(self, *args: object) -> None:
        raise Diverged("The code of a migration changes the schema through the schema editor.")

    __iter__ = append = extend = remove = insert = pop = clear = _refuse  # type: ignore[assignment]


class Stage:
    """One database while a plan is played on it."""

    def __init__(self, connection: BaseDatabaseWrapper, replayer: Replayer) -> None:
        self.connection = connection
        self.replayer = replayer
        self.run = replayer.runner(connection)
        #: What was computed once for this database.
        self.known: dict[Fresh, object] = {}

    @cached_property
    def editor(self) -> BaseDatabaseSchemaEditor:
        """The schema editor for code; the transaction around everything is its own."""
        editor = self.connection.schema_editor()
        editor.deferred_sql = Untouched()
        return editor


class Fresh:
    """A default that each database gets anew, because the field computes it."""

    def __init__(self, field: AnyField) -> None:
        # As it is now, because operations lend a field its default for a moment only.
        self.field = copy.copy(field)

    def value(self, stage: Stage) -> object:
        """Return what the field gives this time, as Django would write it."""
        return stage.editor.effective_default(self.field)


class Once(Fresh):
    """A default that each database gets anew, but only one for all its rows: when it was migrated."""

    def value(self, stage: Stage) -> object:
        """Return what the field gave for this database."""
        if self not in stage.known:
            value = self.field.get_default()
            stage.known[self] = self.field.get_db_prep_save(value, stage.connection)
        return stage.known[self]


class Step(ABC):
    """Something that is done to every database of a group in the same way."""

    @abstractmethod
    def play(self, stage: Stage) -> None:
        """Do it to one database."""


@dataclass(frozen=True, slots=True)
class Statement(Step):
    """A statement with its parameters bound, compiled."""

    sql: str
    params: Parameters

    def play(self, stage: Stage) -> None:
        """Execute it."""
        stage.run(self.sql, self.params)


@dataclass(frozen=True, slots=True)
class FreshStatement(Step):
    """A statement with defaults that each database gets anew, as parameters or written out.

    It is compiled already when none is written out.
    """

    sql: str
    params: tuple[object, ...] | None
    #: What stands in the text in place of each default.
    written: tuple[tuple[str, Fresh], ...] = ()

    def play(self, stage: Stage) -> None:
        """Execute it with new values."""
        sql, params = self.sql, self.params
        if params is not None:
            params = tuple([p.value(stage) if isinstance(p, Fresh) else p for p in params])
        if not self.written and params is not None:
            stage.run(sql, params)
            return
        for mark, fresh in self.written:
            sql = sql.replace(mark, str(stage.editor.prepare_default(fresh.value(stage))))
        stage.run(*stage.replayer.compiled(sql, params))


@dataclass(frozen=True, slots=True)
class Check(Step):
    """The check for broken foreign keys with which Django ends each migration."""

    def play(self, stage: Stage) -> None:
        """Raise ``IntegrityError`` when a key points nowhere."""
        stage.replayer.check_constraints(stage.connection)


@dataclass(frozen=True, slots=True)
class Call(Step):
    """An operation with the project states around it, which are rendered once for all databases."""

    operation: Operation
    app_label: str
    from_state: ProjectState
    to_state: ProjectState
    backwards: bool

    def render(self) -> None:
        """Render the models that code gets, so that no database renders them again."""
        if not self.backwards:
            # RunPython would do it each time, and with it throw the rendered models away.
            self.from_state.clear_delayed_apps_cache()
        _ = self.from_state.apps
        self.from_state.is_delayed = False

    def play(self, stage: Stage) -> None:
        """Let the operation do its work."""
        self.run_with(stage.editor)

    def run_with(self, editor: BaseDatabaseSchemaEditor) -> None:
        """Let the operation do its work through an editor."""
        operation = self.operation
        run = operation.database_backwards if self.backwards else operation.database_forwards
        try:
            run(self.app_label, editor, self.from_state, self.to_state)
        finally:
            self._forget_rows(editor.connection.alias)

    def _forget_rows(self, alias: str) -> None:
        """Empty what managers remember per alias, because there are as many as users."""
        if "apps" not in self.from_state.__dict__:
            return
        for forget in _memories(self.from_state.apps):
            forget()


@lru_cache(maxsize=64)
def _memories(apps: Apps) -> tuple[Callable[[], None], ...]:
    """Return what empties the memory of each manager that has one."""
    managers = (getattr(model, "objects", None) for model in apps.get_models())
    found = (getattr(manager, "clear_cache", None) for manager in managers)
    return tuple(forget for forget in found if forget is not None)


@dataclass(slots=True)
class Part:
    """What one migration does; without a migration what comes before or after all of them."""

    migration: Migration | None = None
    backwards: bool = False
    #: Whether it is only noted as applied, or as unapplied.
    is_faked: bool = False
    steps: list[Step] = field(default_factory=list)
    ledger: list[Step] = field(default_factory=list)
    #: Every operation as Django runs it, kept when it has to.
    calls: list[Call] = field(default_factory=list)
    #: Whether Django's operations run, on states that are rendered once, because what they do is
    #: unknown or depends on the database.
    by_operations: bool = False

    def __str__(self) -> str:
        return str(self.migration or "The plan")

    @property
    def done(self) -> str:
        """What is done to its migration, in a word or two."""
        if self.backwards:
            return "Faked unapplying" if self.is_faked else "Unapplied"
        return "Faked" if self.is_faked else "Applied"

    @property
    def is_called(self) -> bool:
        """Tell whether code of the project runs in it."""
        return self.by_operations or any(isinstance(step, Call) for step in self.steps)

    def play(self, stage: Stage, *, code: bool = True) -> None:
        """Do to a database what the migration does; without its ``code`` for a rehearsal."""
        if self.by_operations:
            self._operate(stage, code=code)
            return
        for step in self.steps:
            if code or not isinstance(step, Call):
                step.play(stage)
        self._write_ledger(stage)

    def _operate(self, stage: Stage, *, code: bool) -> None:
        """Run the operations in an editor of their own, as Django does."""
        migration, connection = cast("Migration", self.migration), stage.connection
        with connection.schema_editor(atomic=migration.atomic) as editor:
            for call in self.calls:
                if code or not isinstance(call.operation, RunPython):
                    with _transaction_of(call, editor, migration):
                        call.run_with(editor)
            early = not editor.deferred_sql and not self.backwards
            if early:
                self._write_ledger(stage)
        if not early:
            self._write_ledger(stage)

    def _write_ledger(self, stage: Stage) -> None:
        for step in self.ledger:
            step.play(stage)


def _transaction_of(
    call: Call, editor: BaseDatabaseSchemaEditor, migration: Migration
) -> AbstractContextManager[object]:
    """Return the transaction that Django opens for one operation of a migration that has none."""
    operation = call.operation
    wants = operation.atomic or (migration.atomic and operation.atomic is not False)
    return (
        atomic(editor.connection.alias) if wants and not editor.atomic_migration else nullcontext()
    )


@dataclass(frozen=True)
class Plan:
    """What takes databases in one state to a target."""

    before: DatabaseState
    #: What its schema and ledger were at the end of the recording.
    after: DatabaseState
    parts: tuple[Part, ...]
    #: Why the databases cannot be migrated in one transaction, or nothing.
    separate: str = ""
    #: Whether Django could undo it, with nothing lost that users have written.
    is_reversible: bool = True
    #: Whether all is applied afterwards that the code has, and every model has its table.
    is_complete: bool = False

    @cached_property
    def told(self) -> tuple[str, ...]:
        """What is done to each migration, in words."""
        return tuple(f"{part.done} {part.migration}" for part in self.parts if part.migration)

    @property
    def migrations(self) -> list[tuple[Migration, bool]]:
        """The migrations in it, each with whether it is unapplied."""
        return [(part.migration, part.backwards) for part in self.parts if part.migration]

    @cached_property
    def is_called(self) -> bool:
        """Tell whether code of the project runs in it, which may do what was not recorded."""
        return any(part.is_called for part in self.parts)

    @cached_property
    def text(self) -> str:
        """All that a database may call a function in: its schemas, and the statements."""
        steps = (step for part in self.parts for step in (*part.steps, *part.ledger))
        statements = (step.sql for step in steps if isinstance(step, (Statement, FreshStatement)))
        return "\n".join((self.before.schema, self.after.schema, *statements))

    @cached_property
    def is_plain(self) -> bool:
        """Tell whether it is statements and nothing else, all in one transaction."""
        return not self.separate and not self.is_called

    @property
    def kind(self) -> str:
        """Say how it is replayed, for operators."""
        if self.separate:
            return "migration by migration"
        if any(part.by_operations for part in self.parts):
            return "by Django's operations"
        return "SQL and code" if self.is_called else "SQL"
