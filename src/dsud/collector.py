"""What deleting shared rows collects: nothing from user databases, where nobody can look at all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import (
    PROTECT,
    RESTRICT,
    ForeignKey,
    Model,
    ProtectedError,
    QuerySet,
    RestrictedError,
)
from django.db.models.deletion import Collector
from django.utils.translation import gettext_lazy as _

from dsud.replacements import put_into_place
from dsud.router import holds_user_models, is_mirrored, is_user_model

if TYPE_CHECKING:
    from django.contrib.contenttypes.fields import GenericRelation

Finder: TypeAlias = Callable[..., QuerySet[Model]]

#: What refuses to delete a row while others may refer to it.
_REFUSALS: dict[object, type[ProtectedError | RestrictedError]] = {
    PROTECT: ProtectedError,
    RESTRICT: RestrictedError,
}


class RowsOfUsers:
    """What stands for protected rows, in errors and in the admin, where there may be some."""

    def __init__(self, model: type[Model]) -> None:
        self._meta = model._meta

    def __str__(self) -> str:
        return str(_("rows in user databases"))


def leave_out_user_models(related_objects: Finder) -> Finder:
    """Find no rows of user models that point to shared rows, where Django would look in ``default``.

    Rows in user databases that point to what is deleted stay as they are. Where their key protects
    it, the deletion is refused, unless it is a user's: those who are deleted take their rows along.
    """

    @functools.wraps(related_objects)
    def found(
        self: Collector,
        related_model: type[Model],
        related_fields: Sequence[ForeignKey[Any, Any]],
        objs: Sequence[Model],
    ) -> QuerySet[Model]:
        if holds_user_models(self.using):
            # Copies go from a user's database when their originals have gone from default.
            if not is_user_model(related_model) and not is_mirrored(related_model):
                return related_model._base_manager.using(self.using).none()
            return related_objects(self, related_model, related_fields, objs)
        if not is_user_model(related_model) or is_user_model(objs[0]):
            return related_objects(self, related_model, related_fields, objs)
        if not are_users(objs) and not are_users(self.origin):
            for field in related_fields:
                _refuse_if_protected(field, type(objs[0]))
        return related_model._base_manager.using(self.using).none()

    return found


def leave_out_crossing(bulk_related_objects: Finder) -> Finder:
    """Find no rows by a generic relation that leads into another database."""

    @functools.wraps(bulk_related_objects)
    def found(self: GenericRelation, objs: Sequence[Model], using: str) -> QuerySet[Model]:
        related_model: type[Model] = self.remote_field.model
        if is_user_model(related_model) != is_user_model(self.model):
            return related_model._base_manager.using(using).none()
        return bulk_related_objects(self, objs, using)

    return found


def _refuse_if_protected(field: ForeignKey[Any, Any], target: type[Model]) -> None:
    error = _REFUSALS.get(field.remote_field.on_delete)
    if error is not None:
        name = f"{field.model.__name__}.{field.name}"
        raise error(
            f"Cannot delete some instances of model {target.__name__!r}, because rows in user"
            f" databases may refer to them through {name!r}, which protects them, and nobody looks"
            " into all databases. To delete them all the same, and have such keys point to nothing,"
            " write on_delete=models.DO_NOTHING there.",
            {RowsOfUsers(field.model)},  # type: ignore[arg-type]
        )


def are_users(rows: object) -> bool:
    """Tell whether what is deleted are users: one, a queryset or a list, historical ones included."""
    if isinstance(rows, QuerySet):
        return _is_users(rows.model)
    if isinstance(rows, Model):
        return _is_users(type(rows))
    return isinstance(rows, Iterable) and all(_is_users(type(row)) for row in rows)


def _is_users(model: type) -> bool:
    users = get_user_model()
    if not issubclass(model, Model):
        return False
    return issubclass(model, users) or model._meta.label_lower == users._meta.label_lower


def install() -> None:
    """Teach Django's ``Collector``; called once, when the apps are ready.

    ``Collector.related_objects`` is private and the same from Django 5.2 to 6.1; if it goes,
    deleting a shared row that user models have keys to fails with "no such table", and nothing is
    lost. The same holds for ``GenericRelation.bulk_related_objects``.
    """
    put_into_place([(Collector, "related_objects", leave_out_user_models)])
    if apps.is_installed("django.contrib.contenttypes"):
        from django.contrib.contenttypes.fields import GenericRelation

        put_into_place([(GenericRelation, "bulk_related_objects", leave_out_crossing)])
