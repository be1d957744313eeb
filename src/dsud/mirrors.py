"""The read-only copies of shared rows inside user databases: made, renewed, and never mistaken for the originals."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from django.apps import apps
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, post_save, pre_save
from django.db.utils import DatabaseError

from dsud import models as registry
from dsud import transactions
from dsud.connections import alias_of, key_of_alias, uncounted
from dsud.context import Activation, Block, user_key
from dsud.engines import engine
from dsud.engines.hooks import writing_copies
from dsud.engines.staged import Rows
from dsud.exceptions import UserDatabaseError, UserDatabaseOutdated
from dsud.mirrored import is_of_users, left_empty, mirrored_models, rows_of
from dsud.router import DECISIVE, is_mirrored, refuse_copy

logger = logging.getLogger("dsud")


def first_rows(key: str) -> list[Rows]:
    """Return the copies that the new database of a user begins with."""
    connection = connections[alias_of(key)]
    return [rows_of(model, key, connection) for model in mirrored_models()]


# Renewed


def shared_rows(connection: BaseDatabaseWrapper) -> dict[str, Rows]:
    """Return by their tables the rows of which every user database holds copies of all.

    For those who renew many databases, of which ``connection`` is any, one after the other.
    """
    return {
        model._meta.db_table: rows_of(model, "", connection)
        for model in mirrored_models()
        if not is_of_users(model)
    }


def renew(
    key: str, *, of_users: bool | None = None, shared: Mapping[str, Rows] | None = None
) -> None:
    """Bring the copies in a user's database up to date with ``default``, in one transaction.

    Rows change in place, because what cascades from a row would be lost with it. ``of_users`` says
    that only the user's own row is meant, or only what is the same for all. ``shared`` are the rows
    of ``shared_rows``, if they were read already.
    """
    alias = alias_of(key)
    with (
        Block(Activation(key=key), releases=False),
        writing_copies(),
        uncounted(connections[alias]),
    ):
        models = [model for model in mirrored_models() if of_users in (None, is_of_users(model))]
        stale = list(_stale(models, key, alias, shared or {}))
        if not stale:
            return  # As most are, and a transaction that writes costs more than to look.
        with transaction.atomic(using=alias):
            for model, wanted in stale:
                _renew_table(model, wanted, alias)


class Difference(NamedTuple):
    """How the copies in a table are not as they should be."""

    missing: list[Sequence[object]]
    changed: list[Sequence[object]]
    gone: list[object]


def _stale(
    models: Iterable[type[Model]], key: str, alias: str, shared: Mapping[str, Rows]
) -> Iterator[tuple[type[Model], Rows]]:
    for model in models:
        wanted = shared.get(model._meta.db_table) or rows_of(model, key, connections[alias])
        if any(_difference(wanted, alias, place=_place_of_key(model, wanted))):
            yield model, wanted


def _place_of_key(model: type[Model], rows: Rows) -> int:
    return rows.columns.index(str(model._meta.pk.column))


def _difference(wanted: Rows, alias: str, *, place: int) -> Difference:
    stored = {row[place]: row for row in _read(wanted, alias)}
    rows = {row[place]: row for row in wanted.values}
    return Difference(
        missing=[row for pk, row in rows.items() if pk not in stored],
        changed=[rows[pk] for pk in stored if pk in rows and not _is_same(stored[pk], rows[pk])],
        gone=[pk for pk in stored if pk not in rows],
    )


def _is_same(stored: Sequence[object], wanted: Sequence[object]) -> bool:
    """Tell whether a row is as it should be; Django's SQLite reads times as such and writes them as texts."""
    return all(
        has == value or str(has) == str(value) for has, value in zip(stored, wanted, strict=True)
    )


def _renew_table(model: type[Model], wanted: Rows, alias: str) -> None:
    place = _place_of_key(model, wanted)
    # Looked at again, because it may have been renewed before this transaction.
    difference = _difference(wanted, alias, place=place)
    for row in difference.missing:
        _write_row(wanted, row, alias, replaces=False, place=place)
    for row in difference.changed:
        _write_row(wanted, row, alias, replaces=True, place=place)
    if difference.gone:
        _delete_copies(model, difference.gone, alias)


def _read(rows: Rows, alias: str) -> list[tuple[object, ...]]:
    quote = connections[alias].ops.quote_name
    table = quote(rows.table)
    # With the table, because SQLite takes the quoted name of a column that is missing for a text.
    columns = ", ".join(f"{table}.{quote(name)}" for name in rows.columns)
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {table}")  # noqa: S608, because models name them
        return cast("list[tuple[object, ...]]", cursor.fetchall())


def _write_row(rows: Rows, row: Sequence[Any], alias: str, *, replaces: bool, place: int) -> None:
    quote = connections[alias].ops.quote_name
    names = [quote(name) for name in rows.columns]
    if replaces:
        changes = ", ".join(f"{name} = %s" for name in names)
        sql = f"UPDATE {quote(rows.table)} SET {changes} WHERE {names[place]} = %s"  # noqa: S608
        values = (*row, row[place])
    else:
        values = tuple(row)
        places = ", ".join(["%s"] * len(names))
        sql = f"INSERT INTO {quote(rows.table)} ({', '.join(names)}) VALUES ({places})"  # noqa: S608
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, values)


def _delete_copies(model: type[Model], keys: Sequence[object], alias: str) -> None:
    """Delete copies whose originals are gone, and do with the user's rows what their keys say."""
    copies = model._base_manager.using(alias).filter(pk__in=keys)
    collector = Collector(using=alias, origin=copies)
    collector.collect(copies)
    collector.delete()


# Kept current


def follow_others(*, setting: str, **kwargs: object) -> None:
    """Follow the originals of other models after a setting that decides which has changed."""
    if setting in (*DECISIVE, "DSUD_UNMIRRORED_FIELDS") and apps.ready:
        connect()


setting_changed.connect(follow_others, dispatch_uid="dsud.mirrors.follow_others")


def connect() -> None:
    """Follow the originals through their signals: when the apps are ready, or others are mirrored."""
    for model in apps.get_models():
        if is_mirrored(model):
            uid = f"dsud.mirrors.{model._meta.label}"
            pre_save.connect(refuse_to_save_copy, sender=model, dispatch_uid=uid)
            post_save.connect(follow_original, sender=model, dispatch_uid=uid)
            post_delete.connect(follow_original, sender=model, dispatch_uid=uid)


def refuse_to_save_copy(*, instance: Model, using: str | None, **kwargs: object) -> None:
    """Refuse to save a copy over its original, also with ``save(using="default")``."""
    if key_of_alias(using or "") is None:
        refuse_copy(instance)


def follow_original(
    *,
    sender: type[Model],
    instance: Model,
    using: str | None,
    update_fields: Iterable[str] | None = None,
    **kwargs: object,
) -> None:
    """Bring the copies of a row up to date that was saved or deleted in ``default``."""
    if using != DEFAULT_DB_ALIAS or not is_mirrored(sender):
        return
    if update_fields is not None and set(update_fields) <= left_empty(sender):
        return
    if not is_of_users(cast("type[Model]", sender._meta.concrete_model)):
        _renew_everywhere_at_commit()
    elif not kwargs.get("created", True):
        _follow(user_key(instance.pk), of_users=True)


def _renew_everywhere_at_commit() -> None:
    """Have it done once, however many rows are saved, and at once where nothing is committed."""
    if transactions.is_of_a_test():
        renew_everywhere()
        return
    waiting = transaction.get_connection(DEFAULT_DB_ALIAS).run_on_commit
    if not any(getattr(each[1], "__wrapped__", each[1]) is renew_everywhere for each in waiting):
        transaction.on_commit(renew_everywhere, using=DEFAULT_DB_ALIAS)


def _follow(key: str, *, of_users: bool, shared: Mapping[str, Rows] | None = None) -> None:
    """Renew the copies of one user; what keeps it back is this user's failure and nobody else's."""
    try:
        if engine().serves(key):
            renew(key, of_users=of_users, shared=shared)
    except UserDatabaseOutdated:
        registry.rows(key).update(schema="")  # Whoever migrates it renews them.
    except (UserDatabaseError, DatabaseError) as error:
        # The user must be saved all the same, for one, to be deactivated.
        logger.warning("The copies in a user database could not be renewed.", exc_info=True)
        registry.record_failure(key, error)


def renew_everywhere() -> None:
    """Renew the copies in every user database that is registered, one after the other."""
    shared: dict[str, Rows] = {}
    for key in registry.ready_keys():
        shared = shared or shared_rows(connections[alias_of(key)])
        _follow(key, of_users=False, shared=shared)
