"""Who stands in where a test has nobody active: tests that were written before the package need that."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import ForeignKey, Model, QuerySet
from django.db.models.lookups import Exact, In
from django.db.models.sql import Query

from dsud import schema, transactions
from dsud.conf import conf
from dsud.connections import alias_of
from dsud.context import Activation, current_activation, stand_in, user_key
from dsud.router import is_user_model, owner_of
from dsud.stamps import VALUES, Stamp


class Ambient:
    """Stands in for the active user: who logged in last, else the first who was created."""

    def __init__(self) -> None:
        self._created: tuple[str, ...] = ()
        self._logged_in: str | None = None

    def reset(self) -> None:
        """Forget everybody."""
        self._created, self._logged_in = (), None

    def notice_created(self, user: Model) -> None:
        """Remember the users that a test creates, until the test is over."""
        self._forget_with_block("_created")
        self._created = (*self._created, user_key(user))

    def notice_deleted(self, user: Model) -> None:
        """Let the next one stand in for a user who is deleted, unless there is none."""
        key = user_key(user)
        self._forget_with_block("_created")
        self._created = (*(other for other in self._created if other != key), key)
        if self._logged_in == key:
            self._forget_with_block("_logged_in")
            self._logged_in = None

    def notice_login(self, user: Model) -> None:
        """Remember who logged in with the test client, until the test is over."""
        self._forget_with_block("_logged_in")
        self._logged_in = user_key(user)

    def _forget_with_block(self, name: str) -> None:
        if transactions.is_of_a_test():
            before = getattr(self, name)
            transactions.undo_with_block(lambda: setattr(self, name, before))

    def activation(self) -> Activation | None:
        """Return who stands in, or None when the test has nobody."""
        key = self._logged_in or next(iter(self._created), None)
        return Activation(key=key) if key and conf.DSUD_TEST_AMBIENT_USER else None

    def alias_for(self, model: type[Model], row: Model | None) -> str | None:
        """Return where a row goes: to where it came from, to its user, or to who stands in."""
        if not conf.DSUD_TEST_AMBIENT_USER:
            return None
        if row is not None and (key := _owner_of(model, row)) is not None:
            return alias_of(key)
        activation = self.activation()
        return None if activation is None else activation.alias()


ambient = Ambient()


# Whose a row is by its one key to a user


@functools.cache
def owner_field(model: type[Model]) -> ForeignKey[object, object] | None:
    """Return the field of a model by which a row belongs to a user, if it has exactly one."""
    users = get_user_model()._meta.concrete_model
    fields = [
        field
        for field in model._meta.concrete_fields
        if isinstance(field, ForeignKey)
        and field.remote_field.model._meta.concrete_model is users
        and field.target_field.primary_key
    ]
    return fields[0] if len(fields) == 1 else None


def _owner_of(model: type[Model], row: Model) -> str | None:
    if row._state.adding:
        # Giving a new row another row, before its user, has tied it to who stands in.
        return _key_in_row(model, row) or owner_of(row)
    return owner_of(row) or _key_in_row(model, row)


def _key_in_row(model: type[Model], row: Model) -> str | None:
    field = owner_field(model)
    if field is None:
        return None
    name = "pk" if isinstance(row, get_user_model()) else field.attname
    value = getattr(row, name) if isinstance(row, (model, get_user_model())) else None
    return None if value is None else user_key(value)


def _key_of_related(values: Iterable[object]) -> str | None:
    """Return whose the rows are that a new row, or a query, names."""
    keys = {owner_of(value) for value in values if isinstance(value, Model)} - {None}
    return keys.pop() if len(keys) == 1 else None


def _key_in_values(model: type[Model], values: dict[str, object]) -> str | None:
    if (key := _key_of_related(values.values())) is not None:
        return key
    field = owner_field(model)
    if field is None:
        return None
    value = values.get(field.name) or values.get(field.attname)
    return None if value is None or getattr(value, "pk", value) is None else user_key(value)  # type: ignore[arg-type]


def _key_in_query(query: Query) -> str | None:
    """Return whose rows a query asks for by its user: ``filter(owner=bob)``."""
    stamps: tuple[Stamp, ...] = query.__dict__.get(VALUES, ())
    if len(keys := {stamp.key() for stamp in stamps} - {None}) == 1:
        return keys.pop()
    field = owner_field(query.model)
    if field is None or query.where.negated or query.where.connector != "AND":
        return None
    for lookup in query.where.children:
        if isinstance(lookup, (Exact, In)) and getattr(lookup.lhs, "target", None) is field:
            values = (
                list(lookup.rhs) if isinstance(lookup.rhs, (list, tuple, set)) else [lookup.rhs]
            )
            if len(values) == 1 and isinstance(values[0], (int, str, uuid.UUID)):
                return user_key(values[0])
            return None
    return None


# Where Django's querysets write and read without a row at hand


def _stands_in(queryset: QuerySet[Model]) -> bool:
    return (
        queryset._db is None  # type: ignore[attr-defined]
        and current_activation() is None
        and stand_in.get() is ambient
        and conf.DSUD_TEST_AMBIENT_USER
        and is_user_model(queryset.model)
    )


def _to_owner(method: Callable[..., object]) -> Callable[..., object]:
    """Create a row in the database of the user whom its values name."""

    @functools.wraps(method)
    def routed(
        self: QuerySet[Model], defaults: dict[str, object] | None = None, **values: object
    ) -> object:
        if _stands_in(self):
            key = _key_in_values(self.model, {**(defaults or {}), **values})
            self = self if key is None else self.using(alias_of(key))
        if defaults is not None:
            values["defaults"] = defaults
        return method(self, **values)

    return routed


def _to_owners(bulk_create: Callable[..., list[Model]]) -> Callable[..., list[Model]]:
    """Create each row in the database of its own user."""

    @functools.wraps(bulk_create)
    def routed(
        self: QuerySet[Model], objs: Iterable[Model], *args: object, **kwargs: object
    ) -> list[Model]:
        objs = list(objs)
        if not _stands_in(self):
            return bulk_create(self, objs, *args, **kwargs)
        rows_of: dict[str, list[Model]] = {}
        for row in objs:
            rows_of.setdefault(ambient.alias_for(self.model, row) or self.db, []).append(row)
        for alias, rows in rows_of.items():
            bulk_create(self.using(alias), rows, *args, **kwargs)
        return objs

    return routed


def _of_owner(db: property) -> property:
    """Read a query that is filtered by a user in that user's database."""

    def alias(self: QuerySet[Model]) -> object:
        if _stands_in(self) and (key := _key_in_query(self.query)) is not None:
            return alias_of(key)
        return db.__get__(self)

    return property(alias, doc=db.__doc__)


def replacements() -> Iterator[tuple[object, str, Callable[..., object]]]:
    """Yield what is replaced while tests run: where, its name, and what makes the replacement."""
    for name in ("create", "get_or_create", "update_or_create"):
        yield QuerySet, name, _to_owner
    yield QuerySet, "bulk_create", _to_owners
    yield QuerySet, "db", _of_owner


@contextmanager
def nobody_stands_in() -> Iterator[None]:
    """Have nobody stand in for a block, as in a request."""
    token = stand_in.set(None)
    try:
        yield
    finally:
        stand_in.reset(token)


def notice_created(*, instance: Model, created: bool, using: str | None, **kwargs: object) -> None:
    """Receive that a user was saved."""
    if created and using == DEFAULT_DB_ALIAS:
        ambient.notice_created(instance)


def notice_deleted(*, instance: Model, using: str | None, **kwargs: object) -> None:
    """Receive that a user was deleted: no rows are left of them, as keys that cascade would see to."""
    if using != DEFAULT_DB_ALIAS:
        return
    ambient.notice_deleted(instance)
    if transactions.is_of_a_test() and conf.DSUD_TEST_AMBIENT_USER:
        key = user_key(instance)
        if connections[alias_of(key)].connection is not None:  # Otherwise nothing was written.
            schema.empty(key)
