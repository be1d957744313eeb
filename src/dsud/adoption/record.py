"""What a user database says of the rows that were moved into it: how many, and their checksum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from django.db import connections
from django.db.models import Model

from dsud.adoption.values import Content
from dsud.connections import alias_of

#: What was moved of each model, by its label.
Contents: TypeAlias = dict[str, Content]

#: The table beside the user's own; it goes wherever the database goes, backups included.
TABLE = "dsud_split"
CREATE = (
    "CREATE TABLE IF NOT EXISTS {schema}dsud_split (label varchar(255) NOT NULL PRIMARY KEY,"
    " moved bigint NOT NULL, checksum varchar(64) NOT NULL)"
)
INSERT = "INSERT INTO {schema}dsud_split (label, moved, checksum) VALUES ({marks})"


def rows_of(contents: Mapping[str, Content]) -> list[tuple[str, int, str]]:
    """Return contents as rows of the record."""
    return [(label, content.rows, content.checksum) for label, content in contents.items()]


def recorded(key: str) -> Contents:
    """Return what was moved into a user's database so far; called as that user."""
    connection = connections[alias_of(key)]
    with connection.cursor() as cursor:
        if TABLE not in connection.introspection.table_names(cursor):
            return {}
        cursor.execute(f"SELECT label, moved, checksum FROM {TABLE}")  # noqa: S608
        return {label: Content(moved, checksum) for label, moved, checksum in cursor.fetchall()}


def tables_with_rows(key: str, models: Iterable[type[Model]]) -> list[str]:
    """Return the labels of the models of which a user's database has rows; called as that user."""
    connection = connections[alias_of(key)]
    found = []
    with connection.cursor() as cursor:
        for model in models:
            name = connection.ops.quote_name(model._meta.db_table)
            cursor.execute(f"SELECT 1 FROM {name} LIMIT 1")  # noqa: S608, because it is the model's
            if cursor.fetchone():
                found.append(str(model._meta.label))
    return found
