"""The schema editor of user databases: no table and no constraint that belongs to another database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self, TypeAlias

from django.db import models, router
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteSchemaEditor

from dsud.engines.base import writing_copies
from dsud.engines.sqlite.image import stamp

AnyField: TypeAlias = "models.Field[object, object]"

#: Which only fields with relations have.
CONSTRAINT = "db_constraint"


class DatabaseSchemaEditor(SQLiteSchemaEditor):
    """Write keys without ``REFERENCES`` whose target is not in the user's database.

    SQLite would look for the table in the user's own file when a row is inserted.
    """

    def __enter__(self) -> Self:
        self._writing = ExitStack()
        self._writing.enter_context(writing_copies())
        try:
            super().__enter__()
        except BaseException:
            self._writing.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._writing:
            if exc_type is None:
                # Whatever schema of the code the database had, it may have another one now.
                stamp(self.connection.connection, "")
            super().__exit__(exc_type, exc_value, traceback)

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
        target = field.remote_field.model
        return not router.allow_migrate(
            self.connection.alias,
            target._meta.app_label,
            model_name=target._meta.model_name,
            model=target,
            constrained=field,
        )
