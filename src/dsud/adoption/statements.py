"""The statements of a split: compiled once for each table, run for one owner after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import IntegerField, Max, Model, Value

from dsud.adoption.paths import all_rows
from dsud.adoption.plan import Plan, Table
from dsud.adoption.values import AnyField, stored_fields

#: How many rows are in memory at a time.
CHUNK = 2000


class Owner:
    """Stands in the compiled statement where each owner's primary key goes."""


OWNER = Owner()


@dataclass(frozen=True)
class Statement:
    """The query for the rows of one table that belong to an owner."""

    table: Table
    fields: Sequence[AnyField]
    sql: str
    params: tuple[object, ...]

    @property
    def name(self) -> str:
        """Return the name of the table in every database."""
        return str(self.table.model._meta.db_table)

    @property
    def columns(self) -> list[str]:
        """Return the columns, in the order of the query's."""
        return [str(field.column) for field in self.fields]

    def params_for(self, owner: object) -> list[str]:
        """Return the parameters for an owner, of whatever types."""
        return [cast("str", owner if value is OWNER else value) for value in self.params]


def statements(plan: Plan) -> list[Statement]:
    """Return a query for each table of a plan, in its order."""
    return [_statement(table) for table in plan.tables]


def _statement(table: Table) -> Statement:
    fields = stored_fields(table.model)
    rows = table.path.rows(table.model, Value(OWNER), DEFAULT_DB_ALIAS)
    query = rows.values_list(*(field.attname for field in fields)).query
    sql, params = query.get_compiler(using=DEFAULT_DB_ALIAS).as_sql()
    return Statement(table, fields, sql, tuple(params))


def spelt(owner: object) -> object:
    """Return a user's primary key as ``default`` stores it."""
    field = get_user_model()._meta.pk
    return field.get_db_prep_value(owner, connections[DEFAULT_DB_ALIAS])


def stream(statement: Statement, owner: object) -> Iterator[list[tuple[object, ...]]]:
    """Yield the rows of an owner as the driver of ``default`` gives them, some at a time."""
    connection = connections[DEFAULT_DB_ALIAS]
    with closing(connection.chunked_cursor()) as cursor:
        cursor.execute(statement.sql, statement.params_for(owner))
        while rows := cursor.fetchmany(CHUNK):
            yield rows


def insertion(statement: Statement, connection: BaseDatabaseWrapper, *, schema: str = "") -> str:
    """Return the beginning of an INSERT into the table of a user database."""
    quote = connection.ops.quote_name
    columns = ", ".join(map(quote, statement.columns))
    return f"INSERT INTO {schema}{quote(statement.name)} ({columns})"


# Sequences


def highest_keys(tables: Iterable[Table]) -> dict[str, int]:
    """Return by table the highest key that ``default`` ever issued, as far as it remembers it."""
    connection = connections[DEFAULT_DB_ALIAS]
    models = [table.model for table in tables if has_sequence(table.model)]
    found = {str(model._meta.db_table): _highest_key(model) for model in models}
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            if "sqlite_sequence" in _all_tables(connection):
                cursor.execute("SELECT name, seq FROM sqlite_sequence")
                issued = dict(cast("list[tuple[str, int]]", cursor.fetchall()))
                found = {name: max(key, issued.get(name, 0)) for name, key in found.items()}
    elif (issued_by := _ISSUED.get(connection.vendor)) is not None:
        for model in models:
            name = str(model._meta.db_table)
            found[name] = max(found[name], issued_by(model, connection))
    return found


def _all_tables(connection: BaseDatabaseWrapper) -> set[str]:
    with connection.cursor() as cursor:  # Django hides SQLite's own tables.
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in cursor.fetchall()}


def _issued_by_postgresql(model: type[Model], connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_sequence_last_value(pg_get_serial_sequence(%s, %s)::regclass)",
            [connection.ops.quote_name(model._meta.db_table), model._meta.pk.column],
        )
        (issued,) = cursor.fetchone()
    return issued or 0


def _issued_by_mysql(model: type[Model], connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        # Asked here, because MySQL lets what information_schema says be a day old.
        cursor.execute(f"SHOW CREATE TABLE {connection.ops.quote_name(model._meta.db_table)}")
        _, definition = cursor.fetchone()
    found = re.search(r"^\) ENGINE=\w+ AUTO_INCREMENT=(\d+)", definition, re.MULTILINE)
    return int(found[1]) - 1 if found else 0


#: Who asks a database for the highest key that it ever issued.
_ISSUED = {"postgresql": _issued_by_postgresql, "mysql": _issued_by_mysql}


def has_sequence(model: type[Model]) -> bool:
    """Tell whether the database issues the keys of a model's own table."""
    return isinstance(model._meta.auto_field, IntegerField)


def _highest_key(model: type[Model]) -> int:
    return all_rows(model, DEFAULT_DB_ALIAS).aggregate(highest=Max("pk"))["highest"] or 0
