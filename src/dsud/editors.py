"""Schema editors that leave alone what another database has: related tables of models that live there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Field, Model

from dsud.replacements import put_into_place

if TYPE_CHECKING:
    Editor = BaseDatabaseSchemaEditor
else:
    Editor = object


class OnlyHere(Editor):
    """Alter a table only where its model lives.

    Django asks the router about the model of an operation, but not about those that are related to
    it, whose keys it alters when a model is renamed or its key gets another type.
    """

    def create_model(self, model: type[Model]) -> None:
        if not _is_elsewhere(self, model):
            super().create_model(model)

    def delete_model(self, model: type[Model], **options: object) -> None:
        if not _is_elsewhere(self, model):
            super().delete_model(model, **options)

    def alter_db_table(self, model: type[Model], old_db_table: str, new_db_table: str) -> None:
        if not _is_elsewhere(self, model):
            super().alter_db_table(model, old_db_table, new_db_table)

    def alter_field(
        self,
        model: type[Model],
        old_field: Field[object, object],
        new_field: Field[object, object],
        strict: bool = False,  # noqa: FBT001, FBT002, because the signature is Django's
    ) -> None:
        if router.allow_migrate_model(self.connection.alias, model):
            super().alter_field(model, old_field, new_field, strict)

    def _remake_table(self, model: type[Model], *args: object, **options: object) -> None:
        if router.allow_migrate_model(self.connection.alias, model):
            super()._remake_table(model, *args, **options)  # type: ignore[misc]


def _is_elsewhere(editor: BaseDatabaseSchemaEditor, model: type[Model]) -> bool:
    """Tell whether a model is the table of a many-to-many field that lives apart from its own model.

    Others are not judged, because the model of a table that is rebuilt has a name of its own.
    """
    alias = editor.connection.alias
    owner = cast("type[Model] | None", model._meta.auto_created or None)
    return (
        owner is not None
        and router.allow_migrate_model(alias, owner)
        and not router.allow_migrate_model(alias, model)
    )


@functools.cache
def _only_here(editor_class: type[BaseDatabaseSchemaEditor]) -> type[BaseDatabaseSchemaEditor]:
    return type(editor_class.__name__, (OnlyHere, editor_class), {"__module__": __name__})


def _guard_schema_editor(
    schema_editor: Callable[..., BaseDatabaseSchemaEditor],
) -> Callable[..., BaseDatabaseSchemaEditor]:
    @functools.wraps(schema_editor)
    def restricted(
        self: BaseDatabaseWrapper, *args: object, **options: object
    ) -> BaseDatabaseSchemaEditor:
        editor = schema_editor(self, *args, **options)
        editor.__class__ = _only_here(type(editor))
        return editor

    return restricted


def install() -> None:
    """Restrict every schema editor; called once, when the apps are ready.

    ``BaseDatabaseWrapper.schema_editor`` makes each of them, and SQLite's ``_remake_table`` rebuilds
    related tables (Django 5.2 to 6.1). If one of them goes, renaming a shared model to which a user
    model has a key fails with "no such table".
    """
    put_into_place([(BaseDatabaseWrapper, "schema_editor", _guard_schema_editor)])
