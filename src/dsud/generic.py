"""Content types, which are the same in every database: looked up in ``default``, leading to where rows are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.apps import apps
from django.db.models import Manager, Model

from dsud.connections import key_of_alias
from dsud.replacements import put_into_place
from dsud.router import is_user_model

if TYPE_CHECKING:
    from django.contrib.contenttypes.models import ContentType


def _ask_default(db_manager: Callable[..., Manager[Model]]) -> Callable[..., Manager[Model]]:
    """Look content types up in ``default`` for the rows of every user, and remember them once.

    Django keeps a cache for each alias, for ever.
    """

    @functools.wraps(db_manager)
    def asking(
        self: Manager[Model], using: str | None = None, hints: dict[str, Model] | None = None
    ) -> Manager[Model]:
        is_users = key_of_alias(using or "") is not None
        return db_manager(self, using=None if is_users else using, hints=hints)

    return asking


def _find_where_it_lives(get_object: Callable[..., Model]) -> Callable[..., Model]:
    """Find the target of a generic key where its model lives, not where the key is."""

    @functools.wraps(get_object)
    def finding(self: ContentType, using: str | None = None, **lookups: object) -> Model:
        model = self.model_class()
        if key_of_alias(using or "") is not None and model is not None and not is_user_model(model):
            using = None
        return get_object(self, using=using, **lookups)

    return finding


def install() -> None:
    """Teach Django's content types; called once, when the apps are ready.

    ``ContentTypeManager.db_manager`` is how generic keys ask for the type of a row's alias, and
    ``ContentType.get_object_for_this_type`` takes that alias as ``using`` (Django 5.2 to 6.1). If one
    goes, types are read from the copies and kept per user, or a shared target is not found.
    """
    if not apps.is_installed("django.contrib.contenttypes"):
        return
    from django.contrib.contenttypes.models import ContentType, ContentTypeManager

    put_into_place(
        [
            (ContentTypeManager, "db_manager", _ask_default),
            (ContentType, "get_object_for_this_type", _find_where_it_lives),
        ]
    )
