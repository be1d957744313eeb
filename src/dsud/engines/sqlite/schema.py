"""The schema editor of user databases: no constraint to tables that live in another database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from django.db import models, router
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteSchemaEditor

AnyField: TypeAlias = "models.Field[object, object]"

#: Which only fields with relations have.
CONSTRAINT = "db_constraint"


class DatabaseSchemaEditor(SQLiteSchemaEditor):
    """Write foreign keys from user models to shared models without ``REFERENCES``.

    SQLite would look for the table in the user's own file when a row is inserted.
    """

    def table_sql(self, model: type[models.Model]) -> tuple[str, list[object]]:
        """Return the table's definition."""
        with self._unconstrained(model._meta.local_fields):
            return super().table_sql(model)

    def add_field(self, model: type[models.Model], field: AnyField) -> None:
        """Add a column."""
        with self._unconstrained([field]):
            super().add_field(model, field)

    @contextmanager
    def _unconstrained(self, fields: Sequence[AnyField]) -> Iterator[None]:
        crossing = [field for field in fields if self._leaves_this_database(field)]
        for field in crossing:
            setattr(field, CONSTRAINT, False)
        try:
            yield
        finally:
            for field in crossing:
                setattr(field, CONSTRAINT, True)

    def _leaves_this_database(self, field: AnyField) -> bool:
        if not field.remote_field or not getattr(field, CONSTRAINT, False):
            return False
        return not router.allow_migrate_model(self.connection.alias, field.remote_field.model)
