"""What may not be done because a user's database has copies: write them, or name somebody of whom there is none."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable

from django.contrib.auth import get_user_model
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import ForeignKey
from django.db.models.sql import DeleteQuery, InsertQuery, Query, UpdateQuery

from dsud.connections import key_of_alias
from dsud.context import user_key
from dsud.engines.hooks import may_write_copies
from dsud.exceptions import UserDatabaseReadOnly, WrongUser
from dsud.router import is_mirrored

#: Queries that change rows.
WRITING = (InsertQuery, UpdateQuery, DeleteQuery)


def refuse_to_write_copies(query_: Query, key: str) -> None:
    """Raise ``UserDatabaseReadOnly`` for a query that would change a user's copies of shared rows."""
    if query_.model is not None and is_mirrored(query_.model) and not may_write_copies.get():
        label = query_.model._meta.label
        raise UserDatabaseReadOnly(
            key,
            f"The database of user {key!r} holds a copy of {label}, which cannot be written."
            f" Write the original, without using(): {label}.objects.",
        )


def guard_key(prepare: Callable[..., object]) -> Callable[..., object]:
    """Refuse to save a key to another user where a key says whose the row is.

    The database would refuse it, too, because it has a copy of its own user only, but at commit.
    """

    @functools.wraps(prepare)
    def prepared(
        self: ForeignKey[object, object], value: object, connection: BaseDatabaseWrapper
    ) -> object:
        if not self.null and isinstance(value, (int, str, uuid.UUID)):
            key = key_of_alias(connection.alias)
            if key is not None and _names_user(self) and user_key(value) != key:
                what = f"A {self.model._meta.label} whose {self.name} is the key"
                raise WrongUser(owner=user_key(value), active=key, what=what)
        return prepare(self, value, connection)

    return prepared


def _names_user(field: ForeignKey[object, object]) -> bool:
    users = get_user_model()
    return (
        field.remote_field.model is users and field.target_field.primary_key and is_mirrored(users)
    )
