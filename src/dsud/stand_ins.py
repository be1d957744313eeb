"""Stand-ins for the tables of the other side, while a data migration works on one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.state import ProjectState
from django.db.models import Field, ForeignKey, Model

from dsud.connections import key_of_alias
from dsud.exceptions import DSUDError
from dsud.renames import current_label
from dsud.router import (
    HINT,
    holds_user_models,
    is_mirrored,
    is_user_model,
)

#: How a temporary table is dropped without any danger to a real one, by the vendor of the database.
DROP = {
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


class OriginalsUnreadable(DSUDError):
    """Raised when a data migration needs shared rows in a shape that ``default`` does not have."""

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(model)

    def __str__(self) -> str:
        return (
            f"A migration of a user's database reads rows of {self.model}, which are shared, and"
            " default is at another migration: its table has other columns. Bring both to the same"
            " migration, one after the other, or say that the operation belongs to default:"
            f' hints={{"{HINT}": False}}.'
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
                cursor.execute(DROP[self.connection.vendor].format(name))
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
        if not isinstance(field, ForeignKey) or field.remote_field.model is not target:
            continue
        if field.target_field.primary_key:
            yield field


def _definitions(model: type[Model], connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Yield the columns of a table, without constraints between rows or tables."""
    editor = connection.SchemaEditorClass(connection, collect_sql=True)
    for field in model._meta.local_concrete_fields:
        definition, parameters = editor.column_sql(model, field)
        if definition is not None:
            values = tuple(editor.quote_value(value) for value in parameters or ())
            text = definition % values if values else definition
            yield f"{connection.ops.quote_name(str(field.column))} {text}"


def _fill(model: type[Model], connection: BaseDatabaseWrapper) -> set[object]:
    """Copy the rows of ``default`` into a stand-in, and return their keys."""
    fields = [field for field in model._meta.local_concrete_fields if not field.generated]
    quote = connection.ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    sql = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES ({places})"  # noqa: S608
    keys: set[object] = set()
    with connection.cursor() as cursor:
        for row in _originals(model):
            keys.add(row.pk)
            values = (getattr(row, field.attname) for field in fields)
            cursor.execute(
                sql,
                [
                    field.get_db_prep_save(value, connection)
                    for field, value in zip(fields, values, strict=True)
                ],
            )
    return keys


def _originals(model: type[Model]) -> Iterator[Model]:
    """Yield the rows of ``default``, which may be at another migration than the user's database.

    Raises ``OriginalsUnreadable`` when its table has other columns.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    table = _table_of_originals(model, connection)
    columns = [str(field.column) for field in model._meta.local_concrete_fields]
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_description(cursor, table)
    # Asked for, because SQLite takes the quoted name of a column that is missing for a text.
    if not set(columns) <= {column.name for column in found}:
        raise OriginalsUnreadable(model._meta.label)
    names = ", ".join(connection.ops.quote_name(column) for column in columns)
    sql = f"SELECT {names} FROM {connection.ops.quote_name(table)}"  # noqa: S608, because models name them
    yield from model._base_manager.using(DEFAULT_DB_ALIAS).raw(sql)


def _table_of_originals(model: type[Model], connection: BaseDatabaseWrapper) -> str:
    """Return the table of ``default`` that a model has there, where it may be renamed already."""
    label = current_label(model._meta.label_lower)
    today = [each for each in apps.get_models() if each._meta.label_lower == label]
    present = set(connection.introspection.table_names())
    for candidate in (model, *today):
        if (table := str(candidate._meta.db_table)) in present:
            return table
    raise OriginalsUnreadable(model._meta.label)
