"""What is told of a deleted user's rows: each receiver of their deletion sees each of them, as that user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.db.models import Model
from django.db.models.signals import post_delete, pre_delete

from dsud import models as registry
from dsud import provisioning, transactions
from dsud.connections import alias_of
from dsud.context import Activation, Block, user_key
from dsud.engines import engine
from dsud.exceptions import UserDatabaseError, UserRowsUnavailable
from dsud.router import is_user_model

#: Rows that are in memory at once.
PAGE = 500

_given_up: ContextVar[bool] = ContextVar("dsud_rows_given_up", default=False)


@contextmanager
def giving_up_rows() -> Iterator[None]:
    """Delete users inside this block without calling receivers for their rows.

    For users whose database is lost or broken: it is not even opened.
    """
    token = _given_up.set(True)
    try:
        yield
    finally:
        _given_up.reset(token)


def tell_of_rows(
    *, instance: Model, using: str | None, origin: object = None, **kwargs: object
) -> None:
    """Send ``pre_delete`` and ``post_delete`` for each row of a user who is about to be deleted.

    The rows stay in the file, which goes to the trash as it was: what receivers write to it is
    undone. A database without rows that anybody listens to is not opened. Raises
    ``UserRowsUnavailable`` when they cannot be read, so that the user is not deleted.
    """
    listened_to = [] if _given_up.get() or using != DEFAULT_DB_ALIAS else list(_listened_to())
    key = user_key(instance) if listened_to else ""
    if not listened_to or not _has_database(key):
        return
    alias = alias_of(key)
    with Block(Activation(key=key)), ExitStack() as opened:
        with _typed(key):
            opened.enter_context(transactions.undone(alias))
        for model in listened_to:
            for row in _rows(model, key):
                for signal in (pre_delete, post_delete):
                    signal.send(sender=model, instance=row, using=alias, origin=origin)


def _listened_to() -> Iterator[type[Model]]:
    """Yield the models that Django would send signals for: no proxies, no tables between models."""
    for model in filter(is_user_model, apps.get_models()):
        listens = pre_delete.has_listeners(model) or post_delete.has_listeners(model)
        if listens and model._meta.managed and not model._meta.proxy:
            yield model


def _has_database(key: str) -> bool:
    if engine().serves(key):
        return True
    if registry.state_of(key) == registry.UserDatabase.State.READY:
        with _typed(key):
            raise provisioning.missing(key)
    return False  # None was ever used, so there are no rows.


def _rows(model: type[Model], key: str) -> Iterator[Model]:
    """Yield the rows that there are now; receivers may add or delete some meanwhile."""
    rows = model._base_manager.using(alias_of(key)).order_by("pk")
    with _typed(key):
        last = rows.last()
        page = [] if last is None else list(rows.filter(pk__lte=last.pk)[:PAGE])
    while page and last is not None:
        seen, end = page[-1].pk, last.pk  # Before anybody sees the row.
        yield from page
        with _typed(key):
            page = list(rows.filter(pk__gt=seen, pk__lte=end)[:PAGE])


@contextmanager
def _typed(key: str) -> Iterator[None]:
    try:
        yield
    except (UserDatabaseError, DatabaseError) as error:
        raise UserRowsUnavailable(
            key,
            f"User {key!r} was not deleted, because receivers of pre_delete or post_delete would"
            f" miss the user's rows, which cannot be read: {error}"
            " If they are lost, delete the user inside `with lifecycle.giving_up_rows():`.",
        ) from error
