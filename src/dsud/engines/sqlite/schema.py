"""The schema editor of user databases: no table or constraint of other databases, no primary key given twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self, TypeAlias, cast

from django.db import models, router
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor as SQLiteSchemaEditor
from django.db.backends.utils import strip_quotes

from dsud.engines.hooks import writing_copies
from dsud.engines.sqlite.image import stamp
from dsud.engines.sqlite.sequences import FORGET, HAND_ON

AnyField: TypeAlias = "models.Field[object, object]"
Through: TypeAlias = "type[models.Model]"
AnyManyToMany: TypeAlias = "models.ManyToManyField[models.Model, models.Model]"

#: Which only fields with relations have.
CONSTRAINT = "db_constraint"


class DatabaseSchemaEditor(SQLiteSchemaEditor):
    """Write keys without ``REFERENCES`` whose target is not in the user's database.

    SQLite would look for the table in the user's own file when a row is inserted.

    ``_remake_table`` and ``_alter_many_to_many`` are private and the same from Django 5.2 to 6.1. If
    they go, a table that is made anew gives the keys of its last rows, which were deleted, once more.
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

    def _remake_table(self, model: type[models.Model], *args: object, **kwargs: object) -> None:
        """Make a table anew under another name, and rename it."""
        table = strip_quotes(model._meta.db_table)
        if model._meta.auto_field is not None:
            self._hand_on_sequence(of=table, to=f"new__{table}")
        super()._remake_table(model, *args, **kwargs)  # type: ignore[misc]

    def _alter_many_to_many(
        self,
        model: type[models.Model],
        old_field: AnyManyToMany,
        new_field: AnyManyToMany,
        strict: bool,  # noqa: FBT001, because the signature is Django's
    ) -> None:
        """Make the table of a many-to-many field anew, under its new name if that changes."""
        old = cast("Through", old_field.remote_field.through)._meta
        new = cast("Through", new_field.remote_field.through)._meta
        if old.db_table != new.db_table and old.auto_field is not None:
            self._hand_on_sequence(of=strip_quotes(old.db_table), to=strip_quotes(new.db_table))
        super()._alter_many_to_many(model, old_field, new_field, strict)  # type: ignore[misc]

    def _hand_on_sequence(self, *, of: str, to: str) -> None:
        """Have a table that is made next give keys only beyond those that another one has given.

        Django copies the rows, so that the last keys are free again whose rows were deleted. In SQL
        alone, because it may be recorded, and before, because SQLite renames what it notes.
        """
        names = {"of": self.quote_value(of), "to": self.quote_value(to)}
        for statement in (FORGET, HAND_ON):
            self.execute(statement.format(**names), params=None)

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
