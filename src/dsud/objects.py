"""What an object of one user, or one that all users share, may be asked while another user is active."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import ForeignKey, ForeignObject, Model, QuerySet
from django.db.models.fields.related_descriptors import (
    ForwardManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)

from dsud.context import active_alias, current_activation, entered_key
from dsud.guards import refuse_foreign
from dsud.replacements import Replacement, put_into_place
from dsud.router import is_mirrored, is_user_model, owner_of

if TYPE_CHECKING:
    AnyKey = ForwardManyToOneDescriptor[ForeignKey[object, object]]
    OneToOne = ReverseOneToOneDescriptor[Model, Model]


def refuse_arguments(method: Callable[..., object]) -> Callable[..., object]:
    """Refuse objects of another user where Django looks at their primary keys only."""

    @functools.wraps(method)
    def refusing(*args: object, **kwargs: object) -> object:
        refuse_foreign([*args, *kwargs.values()])
        return method(*args, **kwargs)

    return refusing


def refuse_refresh(refresh: Callable[..., None]) -> Callable[..., None]:
    """Refuse to read a row of the same primary key into another user's object.

    Without ``from_queryset`` Django asks the router, and ``using`` says whose row is meant.
    """

    @functools.wraps(refresh)
    def refusing(self: Model, using: str | None = None, *args: object, **kwargs: object) -> None:
        if using is None:
            refuse_foreign([self])
        refresh(self, using, *args, **kwargs)

    return refusing


def follow_as_active(get: Callable[..., object]) -> Callable[..., object]:
    """Follow a shared object to the active user's row, whoever followed it before.

    One object may serve all users and threads, as those of ``Site.objects.get_current()`` do, so
    what it keeps counts only if it is the active user's, and that there is none is never kept.
    """

    @functools.wraps(get)
    def followed(self: OneToOne, instance: Model | None, cls: type[Model] | None = None) -> object:
        if instance is None or not _may_keep_anothers(self, instance):
            return get(self, instance, cls)
        row = self.related.get_cached_value(instance, default=None)
        if row is None or owner_of(row) not in (None, entered_key()):
            # On a copy, because another thread may put its user's row there at any moment.
            alone = copy.copy(instance)
            alone._state.peers = ()  # Django 6.1 would fetch for the original instead.
            if self.related.is_cached(alone):
                self.related.delete_cached_value(alone)
            row = cast("Model", get(self, alone, cls))
            self.related.field.set_cached_value(row, instance)
            self.related.set_cached_value(instance, row)
        return row

    return followed


def _may_keep_anothers(descriptor: OneToOne, instance: Model) -> bool:
    return (
        current_activation() is not None
        and is_user_model(descriptor.related.related_model)
        and not is_user_model(instance)
    )


def name_others(set_: Callable[..., None]) -> Callable[..., None]:
    """Let a key that may be empty name another user: who checked a row, or changed it.

    Django asks the router for the database of a new row by the first object that it is given, and the
    router cannot tell such a user from one whose row it is.
    """

    @functools.wraps(set_)
    def setting(self: AnyKey, instance: Model, value: object) -> None:
        is_new = self.field.null and instance._state.db is None and is_user_model(instance)
        # In this order, because where nobody is ever active there may be no model of users either.
        if is_new and current_activation() is not None and isinstance(value, get_user_model()):
            instance._state.db = active_alias()
        set_(self, instance, value)

    return setting


def read_others_later(keep: Callable[..., None]) -> Callable[..., None]:
    """Keep no answer about a shared row of which a join found no copy: ``default`` will be asked."""

    @functools.wraps(keep)
    def keeping(self: ForeignKey[object, object], instance: Model, value: object) -> None:
        lacks = value is None and getattr(instance, self.attname, None) is not None
        if lacks and owner_of(instance) is not None and is_mirrored(self.remote_field.model):
            return
        keep(self, instance, value)

    return keeping


def _replaced() -> Iterator[Replacement]:
    """Yield where each guard goes: a class, the name in it, and the guard."""
    yield Model, "refresh_from_db", refuse_refresh
    yield Model, "validate_unique", refuse_arguments
    yield QuerySet, "contains", refuse_arguments
    yield ForeignObject, "get_forward_related_filter", refuse_arguments
    yield ReverseOneToOneDescriptor, "__get__", follow_as_active
    yield ForwardManyToOneDescriptor, "__set__", name_others
    yield ForeignKey, "set_cached_value", read_others_later
    if apps.is_installed("django.contrib.contenttypes"):
        from django.contrib.contenttypes import fields

        # It notes the primary key only; Django 6.1 has a class of its own for it.
        descriptor = getattr(fields, "GenericForeignKeyDescriptor", fields.GenericForeignKey)
        yield descriptor, "__set__", refuse_arguments
    for model in apps.get_models():
        if is_user_model(model):
            for name in {"get_next_in_order", "get_previous_in_order"} & set(vars(model)):
                yield model, name, refuse_arguments


def install() -> None:
    """Put the guards into Django; called once, when the apps are ready.

    ``ForeignObject.get_forward_related_filter``, by which the order that a model keeps with respect
    to another is read and written, is private (Django 5.2 to 6.1), and so is ``set_cached_value``, to
    which ``select_related`` hands what it found. If one of them goes, what is asked of another user's
    object is answered from the active user's rows, or a key to another user is read as None.
    """
    put_into_place(_replaced())
