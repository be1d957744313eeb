"""What is taken down while Django works on a schema clone: statements, calls of code, and the ledger."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import (
    AddField,
    CreateModel,
    DeleteModel,
    Migration,
    RemoveField,
    RunPython,
    SeparateDatabaseAndState,
    operations,
)
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from dsud.engines.replaying import Parameters, Replayer
from dsud.plans import AnyField, Call, Check, Fresh, FreshStatement, Once, Part, Statement

#: Classes whose instances do what is recorded and nothing else; a subclass may do anything.
KNOWN = frozenset(getattr(operations, name) for name in operations.__all__)


class Tape:
    """Takes down what happens on the clone, migration by migration."""

    def __init__(self, replayer: Replayer, alias: str) -> None:
        self.replayer = replayer
        self.alias = alias
        self.parts = [Part()]
        self.separate = ""
        self.is_reversible = True
        self.marks: dict[str, Fresh] = {}
        self._depth = 0
        self._expected = False

    @property
    def part(self) -> Part:
        """The part that is being recorded."""
        return self.parts[-1]

    @property
    def is_certain(self) -> bool:
        """Tell whether everything so far was done as it will be done to databases."""
        return not any(part.is_called for part in self.parts)

    def follow(self, action: str, migration: Migration | None = None, fake: object = None) -> None:
        """Begin and end parts as the executor reports its progress."""
        if action in ("apply_start", "unapply_start"):
            self.parts.append(Part(migration, backwards=action == "unapply_start"))
        elif action in ("apply_success", "unapply_success"):
            self.part.is_faked = bool(fake)
            self.parts.append(Part())

    def statement(self, sql: str, params: Parameters | None) -> None:
        """Take down a statement of the schema editor."""
        if self.replayer.needs_its_own_transaction(sql):
            self.separate = f"{self.part} runs a statement that is none of a transaction"
        written = tuple((mark, fresh) for mark, fresh in self.marks.items() if mark in sql)
        if written or _has_fresh(params):
            fresh_params = None if params is None else tuple(params)
            if not written:
                sql, _ = self.replayer.compiled(sql, params)
            self.part.steps.append(FreshStatement(sql, fresh_params, written))
        else:
            self.part.steps.append(Statement(*self.replayer.compiled(sql, params)))

    def check(self) -> None:
        """Take down that foreign keys are checked."""
        self.part.steps.append(Check())

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Let statements pass that are taken down already."""
        before, self._expected = self._expected, True
        try:
            yield
        finally:
            self._expected = before

    def watch(
        self, execute: Callable[..., object], sql: str, params: object, *rest: object
    ) -> object:
        """Notice what an operation does beside the schema editor: it may depend on the database."""
        if self._depth and not self._expected and self.replayer.is_lasting(sql):
            self.part.by_operations = True
        return execute(sql, params, *rest)

    def operate(self, call: Call, editor: BaseDatabaseSchemaEditor, *, inside: Operation) -> None:
        """Take down an operation and let it do its work on the clone, unless it is code.

        ``inside`` does the work; it has the operations inside it recorded, too.
        """
        if not self._depth:
            self.part.calls.append(call)
        self.is_reversible = self.is_reversible and not _loses_something(call)
        if isinstance(call.operation, RunPython):
            self._call_later(call)
            return
        if type(call.operation) not in KNOWN:
            self.part.by_operations = True
            self._note_transactions(call)
        self._depth += 1
        try:
            run = inside.database_backwards if call.backwards else inside.database_forwards
            run(call.app_label, editor, call.from_state, call.to_state)
        finally:
            self._depth -= 1

    def _call_later(self, call: Call) -> None:
        # Not on the clone, where the rows are missing that it may count on.
        if _does_nothing(call, self.alias):
            return
        call.render()
        self.part.steps.append(call)
        self._note_transactions(call)

    def _note_transactions(self, call: Call) -> None:
        migration = self.part.migration
        if migration is not None and not migration.atomic and not call.operation.atomic:
            self.separate = f"{migration} is not atomic"


def _has_fresh(params: Parameters | None) -> bool:
    values = params.values() if isinstance(params, Mapping) else params or ()
    return any(isinstance(each, Fresh) for each in values)


def _loses_something(call: Call) -> bool:
    """Tell whether rows are gone with what is dropped, or Django knows no way back."""
    dropping = (AddField, CreateModel) if call.backwards else (RemoveField, DeleteModel)
    return isinstance(call.operation, dropping) or not (call.backwards or call.operation.reversible)


def _does_nothing(call: Call, alias: str) -> bool:
    operation = call.operation
    if type(operation) is not RunPython:
        return False
    code = operation.reverse_code if call.backwards else operation.code
    hints = operation.hints
    return code is RunPython.noop or not router.allow_migrate(alias, call.app_label, **hints)


class Recorded:
    """An operation in a migration that is being recorded; in all other respects the operation."""

    def __init__(self, operation: Operation, tape: Tape) -> None:
        self._operation = operation
        self._tape = tape
        self._inside = operation
        if type(operation) is SeparateDatabaseAndState:
            self._inside = copy.copy(operation)
            self._inside.database_operations = record_each(operation.database_operations, tape)

    @property  # type: ignore[misc]
    def __class__(self) -> type[object]:  # type: ignore[override]
        """Pass for the operation, because Django looks for those that make tables to fake them."""
        return type(self._operation)

    def __getattr__(self, name: str) -> object:
        return getattr(self._operation, name)

    def __repr__(self) -> str:
        return repr(self._operation)

    def database_forwards(
        self,
        app_label: str,
        editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Take it down and do it."""
        call = Call(self._operation, app_label, from_state, to_state, backwards=False)
        self._tape.operate(call, editor, inside=self._inside)

    def database_backwards(
        self,
        app_label: str,
        editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Take it down and undo it."""
        call = Call(self._operation, app_label, from_state, to_state, backwards=True)
        self._tape.operate(call, editor, inside=self._inside)


def record_each(those: Sequence[Operation], tape: Tape) -> list[Operation]:
    """Return operations that take down what they do."""
    return [cast("Operation", Recorded(each, tape)) for each in those]


def editor_that_records(
    base: type[BaseDatabaseSchemaEditor], tape: Tape
) -> type[BaseDatabaseSchemaEditor]:
    """Return an engine's schema editor that takes down what it executes.

    ``execute``, ``effective_default`` and ``prepare_default`` are where all statements and defaults
    pass since Django 1.7 (4.1 for the last); if one goes, the tests that compare with ``migrate`` fail.
    """

    class RecordingSchemaEditor(base):  # type: ignore[valid-type, misc]
        def execute(self, sql: object, params: Parameters | None = ()) -> None:
            tape.statement(str(sql), params)
            if params is not None and _has_fresh(params):
                default = super().effective_default
                params = [default(p.field) if isinstance(p, Fresh) else p for p in params]
            with tape.expecting():
                super().execute(sql, params)

        def effective_default(self, field: AnyField) -> object:
            value = super().effective_default(field)
            return value if value is None or not _is_computed(field) else Fresh(field)

        def prepare_default(self, value: object) -> str:
            if not isinstance(value, Fresh):
                return str(super().prepare_default(value))
            mark = f"'dsud-fresh-{secrets.token_hex(16)}'"
            tape.marks[mark] = value
            return mark

    return RecordingSchemaEditor


def _is_computed(field: AnyField) -> bool:
    if field.has_default():
        return callable(field.default)
    return bool(getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False))


class LedgerThatRecords(MigrationRecorder):
    """The ledger of migrations, whose rows get the time at which each database is migrated."""

    def __init__(self, connection: BaseDatabaseWrapper, tape: Tape) -> None:
        super().__init__(connection)
        self._tape = tape
        self._moment = Once(cast("AnyField", self.Migration._meta.get_field("applied")))

    def record_applied(self, app: str, name: str) -> None:
        """Add a row."""
        super().record_applied(app, name)
        table, columns, quote = self._names()
        sql = f"INSERT INTO {table} ({', '.join(map(quote, columns))}) VALUES (%s, %s, %s)"  # noqa: S608
        params = (app, name, self._moment)
        compiled, _ = self._tape.replayer.compiled(sql, params)
        self._tape.part.ledger.append(FreshStatement(compiled, params))

    def record_unapplied(self, app: str, name: str) -> None:
        """Remove a row."""
        super().record_unapplied(app, name)
        table, _, quote = self._names()
        sql = f"DELETE FROM {table} WHERE {quote('app')} = %s AND {quote('name')} = %s"  # noqa: S608
        compiled = self._tape.replayer.compiled(sql, (app, name))
        self._tape.part.ledger.append(Statement(*compiled))

    def _names(self) -> tuple[str, tuple[str, str, str], Callable[[str], str]]:
        quote = self.connection.ops.quote_name
        return quote(self.Migration._meta.db_table), ("app", "name", "applied"), quote
