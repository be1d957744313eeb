"""The ordinary database that users are merged into: its tables, and rows written there and read back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import cast

from django.core.management.color import no_style
from django.db import connections
from django.db.models import BooleanField, DecimalField, DurationField

from dsud.adoption.joined import Joined
from dsud.adoption.plan import has_table
from dsud.adoption.values import AnyField, Row, Spelling
from dsud.exceptions import DSUDError


class TablesMissing(DSUDError):
    """Raised when the database that users are merged into lacks the tables of user models."""


def refuse_missing_tables(tables: Iterable[Joined], alias: str) -> None:
    """Raise ``TablesMissing`` unless a database has all tables."""
    if missing := [table.label for table in tables if not has_table(table.model, alias)]:
        raise TablesMissing(
            f"`{alias}` lacks the tables of {', '.join(missing)}. Give --create-tables to make them."
        )


def create_tables(tables: Iterable[Joined], alias: str) -> None:
    """Make the tables of user models that a database lacks."""
    missing = [table.model for table in tables if not has_table(table.model, alias)]
    with connections[alias].schema_editor() as editor:
        for model in missing:
            source = cast("object", model._meta.auto_created)
            if source not in missing:  # Others are made along with their model.
                editor.create_model(model)


class Ordinary:
    """Rows of user databases in an ordinary one."""

    def __init__(self, alias: str, *, like: str) -> None:
        """``like`` is the alias of the user's database, in whose form rows are given."""
        self._connection = connections[alias]
        self._like = connections[like]
        self._is_alike = self._connection.vendor == self._like.vendor

    def insert(self, table: Joined, rows: Sequence[Row]) -> None:
        """Write rows."""
        marks = ", ".join("%s" for _ in table.fields)
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {self._name(table)} ({self._columns(table)})"  # noqa: S608
                f" VALUES ({marks})",
                cast("list[tuple[str, ...]]", [self._native(table, row) for row in rows]),
            )

    def read(self, table: Joined, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that have the keys of these, in the form in which rows are given."""
        quote = self._connection.ops.quote_name
        one = " AND ".join(f"{quote(str(table.fields[key].column))} = %s" for key in table.keys)
        where = " OR ".join(f"({one})" for _ in rows)
        keys = [
            row[key] for row in (self._native(table, row) for row in rows) for key in table.keys
        ]
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {self._columns(table)} FROM {self._name(table)} WHERE {where}",  # noqa: S608
                cast("list[str]", keys),
            )
            return self._spelt(table, cursor.fetchall())

    def same(self, table: Joined, row: Row) -> object:
        """Return the key of a row that has the same in all other columns, or None."""
        (place,) = table.keys
        quote = self._connection.ops.quote_name
        columns = [quote(str(field.column)) for field in table.fields]
        values = self._native(table, row)
        rest = [number for number in range(len(columns)) if number != place]
        where = " AND ".join(
            f"{columns[number]} {'IS NULL' if values[number] is None else '= %s'}"
            for number in rest
        )
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {', '.join(columns)} FROM {self._name(table)}"  # noqa: S608
                f" WHERE {where or '1 = 0'} ORDER BY {columns[place]}",
                cast("list[str]", [values[n] for n in rest if values[n] is not None]),
            )
            found = self._spelt(table, cursor.fetchall())
        # Compared again, because to some databases "word" and "Word" are equal.
        same = (each[place] for each in found if all(each[n] == row[n] for n in rest))
        return next(same, None)

    @contextmanager
    def in_any_order(self) -> Iterator[None]:
        """Let rows point to others that are written later, until ``check``."""
        with self._connection.constraint_checks_disabled():
            yield

    def check(self, tables: Sequence[Joined]) -> None:
        """Check keys that may be checked late, and have further keys issued beyond all of these."""
        names = [str(table.model._meta.db_table) for table in tables]
        self._connection.check_constraints(names)
        models = [table.model for table in tables]
        with self._connection.cursor() as cursor:
            for sql in self._connection.ops.sequence_reset_sql(no_style(), models):
                cursor.execute(sql)

    def _name(self, table: Joined) -> str:
        return self._connection.ops.quote_name(table.model._meta.db_table)

    def _spelt(self, table: Joined, rows: Iterable[Row]) -> list[Row]:
        spelling = Spelling(table.fields, self._like, other=self._connection.alias)
        return spelling.rows(rows)

    def _columns(self, table: Joined) -> str:
        quote = self._connection.ops.quote_name
        return ", ".join(quote(str(field.column)) for field in table.fields)

    def _native(self, table: Joined, row: Row) -> Row:
        if self._is_alike:
            return row
        return tuple(map(self._value, table.fields, row))

    def _value(self, field: AnyField, value: object) -> object:
        """Return a value as this database has it, for types that SQLite has not."""
        if value is None:
            return None
        if isinstance(field, BooleanField):
            return bool(value)
        if isinstance(field, DecimalField):
            return Decimal(str(value))
        if isinstance(field, DurationField) and isinstance(value, int):
            native = self._connection.features.has_native_duration_field
            return dt.timedelta(microseconds=value) if native else value
        return value


def counts(tables: Iterable[Joined], alias: str) -> Iterator[tuple[str, int]]:
    """Yield how many rows a user's database has of each model."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        for table in tables:
            name = connection.ops.quote_name(table.model._meta.db_table)
            cursor.execute(f"SELECT COUNT(*) FROM {name}")  # noqa: S608
            yield table.label, cursor.fetchone()[0]
