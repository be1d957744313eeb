"""Where the rows of a fixture go: to the database of the user whom they, or the rows they name, belong to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

from django.core.management.commands.loaddata import Command
from django.core.serializers.base import DeserializedObject
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from dsud.context import current_activation, stand_in
from dsud.router import is_user_model
from dsud.testing.ambient import ambient

#: Where each row went that a fixture has brought, by its model and its primary key.
_aliases: WeakKeyDictionary[Command, dict[tuple[type[Model], object], str]] = WeakKeyDictionary()


def _alias_of(row: Model, brought: dict[tuple[type[Model], object], str]) -> str | None:
    for field in row._meta.concrete_fields:
        if field.remote_field is not None and is_user_model(field.remote_field.model):
            target = (field.remote_field.model, getattr(row, field.attname))
            if (alias := brought.get(target)) is not None:
                return alias
    return ambient.alias_for(type(row), row)


def _save_to_owner(save: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(save)
    def saving(self: Command, obj: DeserializedObject) -> bool:
        row = obj.object
        if (
            self.using != DEFAULT_DB_ALIAS
            or not is_user_model(row)
            or current_activation() is not None
            or stand_in.get() is not ambient
        ):
            return save(self, obj)
        brought = _aliases.setdefault(self, {})
        if (alias := _alias_of(row, brought)) is None:
            return save(self, obj)
        obj.save(using=alias)
        brought[type(row), row.pk] = alias
        return True

    return saving


def replacements() -> Iterator[tuple[object, str, Callable[..., object]]]:
    """Yield what is replaced while tests run: where, its name, and what makes the replacement."""
    yield Command, "save_obj", _save_to_owner
