"""What deleting a user collects: nothing from user databases, because theirs goes as a whole."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector

from dsud.connections import key_of_alias
from dsud.router import is_user_model


def leave_out_user_models(
    related_objects: Callable[..., QuerySet[Model]],
) -> Callable[..., QuerySet[Model]]:
    """Find no rows of user models that point to a user, where Django would look in ``default``.

    Rows in other users' databases that point to the deleted user stay as they are.
    """

    @functools.wraps(related_objects)
    def found(
        self: Collector,
        related_model: type[Model],
        related_fields: object,
        objs: Iterable[Model],
    ) -> QuerySet[Model]:
        if key_of_alias(self.using) is None and is_user_model(related_model):
            users = list(objs)
            if users and all(isinstance(user, get_user_model()) for user in users):
                return related_model._base_manager.using(self.using).none()
        return related_objects(self, related_model, related_fields, objs)

    return found


def install() -> None:
    """Teach Django's ``Collector``; called once, when the apps are ready.

    ``Collector.related_objects`` is private and the same from Django 5.2 to 6.1; if it goes,
    deleting a user whose rows cascade fails with "no such table", and nothing is lost.
    """
    if not hasattr(Collector.related_objects, "__wrapped__"):
        guarded = leave_out_user_models(Collector.related_objects)
        setattr(Collector, "related_objects", guarded)  # noqa: B010, because types take it for a method
