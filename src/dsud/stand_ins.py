"""Data migrations on one side at a time: what belongs where, and stand-ins for the tables of the other side."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from django.db import DEFAULT_DB_ALIAS, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import RunPython, RunSQL
from django.db.migrations.state import ProjectState
from django.db.models import Field, ForeignKey, Model
from django.db.utils import DatabaseError

from dsud.connections import key_of_alias
from dsud.exceptions import DSUDError
from dsud.router import (
    HINT,
    holds_user_models,
    is_mirrored,
    is_user_model,
    migrating,
)

AnyOperation: TypeAlias = "RunPython | RunSQL"
Guard: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]

#: How a temporary table is dropped without any danger to a real one, by the vendor of the database.
_DROP = {
    "sqlite": "DROP TABLE temp.{}",
    "postgresql": "DROP TABLE pg_temp.{}",
    "mysql": "DROP TEMPORARY TABLE {}",
}

#: Rows that are copied into a stand-in at a time.
CHUNK = 1000


class OtherSideChanged(DSUDError):
    """Raised when a data migration would leave keys to shared rows that it made for one user only."""

    def __init__(self, field: str, target: str, keys: list[object]) -> None:
        self.field = field
        self.target = target
        self.keys = keys
        super().__init__(field, target, keys)

    def __str__(self) -> str:
        return (
            f"The migration made rows of {self.target} in a user's database and points {self.field} to"
            f" them (keys {self.keys!r:.80}), but they are shared and would be lost. Make them in a"
            f' RunPython with hints={{"{HINT}": False}}, which runs once in default, and look them up'
            f' in another with hints={{"{HINT}": True}}.'
        )


class Side:
    """One database while a data migration works on it, with the models of the other side."""

    def __init__(self, connection: BaseDatabaseWrapper, state: ProjectState) -> None:
        self.connection = connection
        self.alias = connection.alias
        self.is_shared = not holds_user_models(self.alias)
        self._state = state
        #: The stand-ins by their tables, each with the keys of the rows that were copied into it.
        self._made: dict[str, set[object]] = {}

    def _models(self) -> Iterator[type[Model]]:
        # Each time anew, because an operation may have the state rendered again.
        for model in self._state.apps.get_models(include_auto_created=True):
            if model._meta.managed and not model._meta.proxy and not model._meta.swapped:
                yield model

    def missing(self) -> list[type[Model]]:
        """Return the models of the other side that have no stand-in yet."""
        return [
            model
            for model in self._models()
            if model._meta.db_table not in self._made and self._is_elsewhere(model)
        ]

    def _is_elsewhere(self, model: type[Model]) -> bool:
        if self.is_shared:
            return is_user_model(model)
        return not router.allow_migrate_model(self.alias, model) and not is_mirrored(model)

    def missing_of(self, app_label: str) -> list[type[Model]]:
        """Return the models of an app that have no stand-in yet."""
        return [model for model in self.missing() if model._meta.app_label == app_label]

    def missing_in(self, text: str) -> list[type[Model]]:
        """Return the models without a stand-in whose tables a text names."""
        words = _words(text)
        return [model for model in self.missing() if model._meta.db_table.lower() in words]

    def names_its_own(self, text: str) -> bool:
        """Tell whether a text names a table that is here."""
        words = _words(text)
        return any(
            model._meta.db_table.lower() in words
            for model in self._models()
            if not self._is_elsewhere(model)
        )

    def make(self, models: Iterable[type[Model]]) -> None:
        """Make empty temporary tables; in a user's database with the rows of ``default``."""
        for model in models:
            table = self.connection.ops.quote_name(model._meta.db_table)
            columns = ", ".join(_definitions(model, self.connection))
            with self.connection.cursor() as cursor:
                cursor.execute(f"CREATE TEMPORARY TABLE {table} ({columns})")
            self._made[model._meta.db_table] = set()
            if key_of_alias(self.alias) is not None:
                self._made[model._meta.db_table] = _fill(model, self.connection)

    def refuse_keys_to_new_rows(self) -> None:
        """Raise ``OtherSideChanged`` when a user's row points to a row that only a stand-in has."""
        if not self._made or key_of_alias(self.alias) is None:
            return
        models = list(self._models())
        for target in models:
            if (known := self._made.get(target._meta.db_table)) is not None:
                rows = target._base_manager.using(self.alias)
                if new := set(rows.values_list("pk", flat=True)) - known:
                    _refuse_keys(target, new, filter(is_user_model, models), self.alias)

    def drop(self) -> None:
        """Drop the stand-ins."""
        for table in self._made:
            name = self.connection.ops.quote_name(table)
            with self.connection.cursor() as cursor:
                cursor.execute(_DROP[self.connection.vendor].format(name))
        self._made.clear()


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _refuse_keys(
    target: type[Model], keys: set[object], models: Iterable[type[Model]], alias: str
) -> None:
    few = sorted(keys, key=str)[:CHUNK]
    for model in models:
        for field in _keys_to(target, model):
            if model._base_manager.using(alias).filter(**{f"{field.attname}__in": few}).exists():
                raise OtherSideChanged(f"{model._meta.label}.{field.name}", target._meta.label, few)


def _keys_to(target: type[Model], model: type[Model]) -> Iterator[Field[object, object]]:
    for field in model._meta.local_concrete_fields:
        if isinstance(field, ForeignKey) and field.remote_field.model is target:
            if field.target_field.primary_key:
                yield field


def _definitions(model: type[Model], connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Yield the columns of a table, without constraints between rows or tables."""
    editor = connection.SchemaEditorClass(connection, collect_sql=True)
    for field in model._meta.local_concrete_fields:
        definition, parameters = editor.column_sql(model, field)
        if definition is not None:
            values = tuple(map(editor.quote_value, parameters))
            text = definition % values if values else definition
            yield f"{connection.ops.quote_name(field.column)} {text}"


def _fill(model: type[Model], connection: BaseDatabaseWrapper) -> set[object]:
    """Copy the rows of ``default`` into a stand-in, and return their keys."""
    fields = [field for field in model._meta.local_concrete_fields if not field.generated]
    names = [field.attname for field in fields]
    place = names.index(model._meta.pk.attname)
    quote = connection.ops.quote_name
    columns = ", ".join(quote(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    sql = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES ({places})"  # noqa: S608
    originals = model._base_manager.using(DEFAULT_DB_ALIAS).values_list(*names)
    keys: set[object] = set()
    with connection.cursor() as cursor:
        for row in originals.iterator(chunk_size=CHUNK):
            keys.add(row[place])
            cursor.execute(
                sql,
                [
                    field.get_db_prep_save(value, connection)
                    for field, value in zip(fields, row, strict=True)
                ],
            )
    return keys


# Running an operation on one side


@contextmanager
def _working_on(side: Side) -> Iterator[None]:
    """Read and write every model on one side; drop the stand-ins, unless a rollback takes them."""
    token = migrating.set(side.connection.alias)
    try:
        yield
    except BaseException:
        if not side.connection.in_atomic_block:
            side.drop()
        raise
    else:
        side.drop()
    finally:
        migrating.reset(token)


def work(side: Side, operate: Callable[[], None], *, needed: Iterable[type[Model]]) -> None:
    """Run an operation with stand-ins for what is known to be ``needed`` of the other side.

    In a user's database it is run again, undone to its beginning, when it has missed another one.
    Where a migration is not atomic it runs once, because what it has done stays.
    """
    with _working_on(side):
        side.make(needed)
        if side.is_shared or not side.connection.in_atomic_block:
            operate()
            side.refuse_keys_to_new_rows()
            return
        while not _succeeds(side, operate):
            pass


def _succeeds(side: Side, operate: Callable[[], None]) -> bool:
    """Run an operation; tell whether it had all that it needs, and make what it has missed."""
    try:
        with transaction.atomic(using=side.alias):
            operate()
            side.refuse_keys_to_new_rows()
    except DatabaseError as error:
        if not (missed := side.missing_in(str(error))):
            raise
        side.make(missed)
    else:
        return True
    return False


def _on_one_side(
    needed: Callable[[AnyOperation, Side, str], Iterable[type[Model]] | None],
) -> Guard:
    """Return what makes a method of an operation run on one side, if ``needed`` says that it runs there."""

    def guard(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def run(
            self: AnyOperation,
            app_label: str,
            schema_editor: BaseDatabaseSchemaEditor,
            from_state: ProjectState,
            to_state: ProjectState,
        ) -> None:
            connection = schema_editor.connection
            operate = functools.partial(
                method, self, app_label, schema_editor, from_state, to_state
            )
            if _is_plain(self, connection, app_label):
                operate()
                return
            side = Side(connection, from_state)
            if (models := needed(self, side, app_label)) is not None:
                work(side, operate, needed=models)

        return run

    return guard


def _is_plain(operation: AnyOperation, connection: BaseDatabaseWrapper, app_label: str) -> bool:
    """Tell whether an operation does nothing here, or can have no stand-ins."""
    return (
        getattr(operation, "code", None) is RunPython.noop
        or connection.vendor not in _DROP
        or not router.allow_migrate(connection.alias, app_label, **operation.hints)
    )


def _needed_by_python(
    operation: AnyOperation, side: Side, app_label: str
) -> Iterable[type[Model]] | None:
    if side.is_shared:
        return side.missing()  # It cannot be run again, because it may not be atomic.
    return [] if side.connection.in_atomic_block else side.missing_of(app_label)


def _needed_by_sql(
    operation: AnyOperation, side: Side, app_label: str
) -> Iterable[type[Model]] | None:
    """Return the models whose tables the SQL names; None when those of one side are not here.

    It says by the tables that it names where it belongs, unless a hint does.
    """
    text = f"{getattr(operation, 'sql', '')!r} {getattr(operation, 'reverse_sql', '')!r}"
    elsewhere = side.missing_in(text)
    if elsewhere and HINT not in operation.hints and not side.names_its_own(text):
        return None
    return elsewhere


def install() -> None:
    """Run data migrations on one side at a time; called once, when the apps are ready.

    ``database_forwards`` and ``database_backwards`` are what Django's migrations call of every
    operation (Django 5.2 to 6.1). If they go, a migration that uses models of both sides fails.
    """
    if hasattr(RunPython.database_forwards, "__wrapped__"):
        return
    for operation, needed in ((RunPython, _needed_by_python), (RunSQL, _needed_by_sql)):
        for name in ("database_forwards", "database_backwards"):
            setattr(operation, name, _on_one_side(needed)(getattr(operation, name)))
