"""Which shared models are mirrored, and their rows as databases store them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model, QuerySet

from dsud.conf import conf
from dsud.connections import uncounted
from dsud.engines.staged import Rows
from dsud.router import DECISIVE, has_copies

if TYPE_CHECKING:
    AnyField = Field[object, object]


@functools.cache
def mirrored_models() -> tuple[type[Model], ...]:
    """Return the mirrored models, parents before their children."""
    found = filter(has_copies, apps.get_models())
    return tuple(sorted(found, key=lambda model: len(model._meta.get_parent_list())))


@functools.cache
def is_of_users(model: type[Model]) -> bool:
    """Tell whether of a model only the user's own row is mirrored: it is theirs, or part of it."""
    return issubclass(get_user_model(), model)


@functools.cache
def copied_tables() -> frozenset[str]:
    """Return the tables of user databases that hold copies."""
    return frozenset(model._meta.db_table for model in mirrored_models())


@functools.cache
def left_empty(model: type[Model]) -> frozenset[str]:
    """Return the names of the fields of a model that its copies lack."""
    own = set()
    for name in conf.DSUD_UNMIRRORED_FIELDS:
        label, _, field = name.rpartition(".")
        if label.lower() == model._meta.label_lower or (not label and is_of_users(model)):
            own.add(field)
    return frozenset(own)


# Rows as they are stored


@functools.cache
def _fields(model: type[Model]) -> tuple[AnyField, ...]:
    fields = model._meta.local_concrete_fields
    return tuple(field for field in fields if field.column and not field.generated)


@functools.cache
def _columns(model: type[Model]) -> list[str]:
    return [str(field.column) for field in _fields(model)]


def rows_of(model: type[Model], key: str, connection: BaseDatabaseWrapper) -> Rows:
    """Return rows of ``default`` as a user database stores them, without what stays empty."""
    default, own = connections[DEFAULT_DB_ALIAS], is_of_users(model)
    if default.vendor == connection.vendor == "sqlite":
        values = as_stored(model, default, of=stored_key(model, key, default) if own else None)
    else:
        with uncounted(default):
            values = [
                tuple(_value(model, field, row, connection) for field in _fields(model))
                for row in _originals(model, key)
            ]
    return Rows(model._meta.db_table, _columns(model), values, for_all=not own)


def _originals(model: type[Model], key: str) -> QuerySet[Model]:
    originals = model._base_manager.using(DEFAULT_DB_ALIAS).order_by("pk")
    return originals.filter(pk=key) if is_of_users(model) else originals


def _value(
    model: type[Model], field: AnyField, row: Model | None, connection: BaseDatabaseWrapper
) -> object:
    if row is not None and field.name not in left_empty(model):
        value = getattr(row, field.attname)
    else:
        value = None if field.null else field.get_default()
    return field.get_db_prep_save(value, connection)


def stored_key(model: type[Model], key: str, connection: BaseDatabaseWrapper) -> object:
    """Return the primary key of a user's own row as a database stores it."""
    pk = model._meta.pk
    return pk.get_db_prep_value(pk.to_python(key), connection)


def as_stored(
    model: type[Model], default: BaseDatabaseWrapper, *, of: object = None, and_after: int = 0
) -> list[tuple[object, ...]]:
    """Return what one SQLite stores for another: all rows, one, or so many from that ``and_after``.

    By the raw connection, because a sign-up waits for it, and Django's cursor takes twice as long.
    """
    parameters: list[Any] = [_value(model, field, None, default) for field in _empty(model)]
    parameters += [] if of is None else [of]
    which = "" if of is None else ">= ?" if and_after else "= ?"
    limit = f" LIMIT {and_after}" if and_after else ""
    default.ensure_connection()
    with default.wrap_database_errors:
        found = default.connection.execute(_sql_of_originals(model, which) + limit, parameters)
        return cast("list[tuple[object, ...]]", found.fetchall())


@functools.cache
def _empty(model: type[Model]) -> tuple[AnyField, ...]:
    return tuple(field for field in _fields(model) if field.name in left_empty(model))


@functools.cache
def _sql_of_originals(model: type[Model], which: str) -> str:
    """Return a SELECT; ``+`` keeps what is stored from being converted by the type of its column."""
    meta = model._meta
    columns = ", ".join(
        "?" if field in _empty(model) else f'+"{meta.db_table}"."{field.column}"'
        for field in _fields(model)
    )
    where = f'WHERE "{meta.pk.column}" {which} ' if which else ""
    return f'SELECT {columns} FROM "{meta.db_table}" {where}ORDER BY "{meta.pk.column}"'  # noqa: S608, because models name them


# Remembered


#: What depends on settings alone.
_REMEMBERED = (
    mirrored_models,
    is_of_users,
    copied_tables,
    left_empty,
    _empty,
    _sql_of_originals,
)


def forget(*, setting: str, **kwargs: object) -> None:
    """Look anew which models are mirrored after a setting that decides it has changed."""
    if setting in (*DECISIVE, "DSUD_UNMIRRORED_FIELDS"):
        for remembered in _REMEMBERED:
            remembered.cache_clear()


setting_changed.connect(forget, dispatch_uid="dsud.mirrored.forget")
