"""What happens to one database when its user comes and goes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from dsud import mirrors, provisioning, schema, transactions
from dsud import models as registry
from dsud.conf import FIRST_USE, SIGN_UP, conf
from dsud.connections import alias_of, is_open
from dsud.context import user_key
from dsud.engines import engine
from dsud.models import UserDatabase
from dsud.receivers import giving_up_rows, tell_of_rows
from dsud.retirement import retire

__all__ = ["giving_up_rows"]

logger = logging.getLogger("dsud")

State = UserDatabase.State

#: Set on the state of an instance that extends a user who was there before.
_EXTENDS = "dsud_extends_user"


def connect(model: type[Model]) -> None:
    """Follow the life of users through one model: theirs, a proxy of it, or one that extends it.

    Each class that saves a user sends its own signals. A row that extends a user may come and go
    while the user stays, so its saving is looked at twice and its deletion not at all.
    """
    post_save.connect(expect_database, sender=model)
    if model._meta.concrete_model is get_user_model()._meta.concrete_model:
        pre_delete.connect(tell_of_rows, sender=model)
        post_delete.connect(delete_with_user, sender=model)
    else:
        pre_save.connect(notice_extension, sender=model)


# Sign-up


def notice_extension(*, instance: Model, raw: bool, **kwargs: object) -> None:
    """Remember, before a row that extends a user is saved, whether its user is there already.

    Django will say "created" of a new row also when its user is years old.
    """
    users = get_user_model()._base_manager.using(DEFAULT_DB_ALIAS)
    known = instance.pk is not None and (
        raw or not instance._state.adding or users.filter(pk=instance.pk).exists()
    )
    setattr(instance._state, _EXTENDS, known)


def expect_database(
    *, instance: Model, created: bool, using: str | None, raw: bool = False, **kwargs: object
) -> None:
    """Make the database of a user who was created, once the sign-up is committed.

    A file that is there before its user can only be an earlier user's whose key was issued
    again; it goes to the trash and is never shown to the new one.
    """
    if not created or using != DEFAULT_DB_ALIAS or getattr(instance._state, _EXTENDS, False):
        return
    key = user_key(instance)
    if transactions.is_of_a_test():
        _sign_up_in_test(key, registers=not raw)
        return
    if raw:
        # A fixture brings rows in any order, those of the registry too: judged when all are there.
        _on_commit(expect_database_of_loaded_user, key)
        return
    provisioning.abandon(key)
    is_taken = engine().exists(key)
    # Asked only then, because a sign-up waits for it.
    earlier = registry.state_of(key) if is_taken else None
    at_sign_up = SIGN_UP in conf.DSUD_PROVISION
    if at_sign_up:
        registry.put(key, state=State.PENDING, schema="", last_error="")
    else:
        registry.rows(key).delete()
    if is_taken:
        _part_from_earlier_user(key, deleted=earlier == State.DELETED)
    if at_sign_up:
        _on_commit(provisioning.provide_after_sign_up, key)


def _sign_up_in_test(key: str, *, registers: bool) -> None:
    """Make the database at once, because nothing is committed in a test.

    One that this thread uses as an earlier user's is emptied, because its rows come back with that
    user. Any other that is there is out of reach behind the new one, until the test is over.
    """
    provisioning.abandon(key)
    at_sign_up = SIGN_UP in conf.DSUD_PROVISION
    if is_open(alias_of(key)):
        _empty(key)
    elif at_sign_up:
        if engine().staged_here(key) is None:
            provisioning.stage_for_test(key)
    elif engine().exists(key):
        _empty(key)
    if not registers:
        return  # A fixture brings the rows of the registry itself, or does without.
    if at_sign_up:
        registry.put(key, unless=None, durably=True, **provisioning.ready(current=True))
    else:
        registry.rows(key).delete()


def _empty(key: str) -> None:
    schema.empty(key)
    mirrors.renew(key)


def _part_from_earlier_user(key: str, *, deleted: bool) -> None:
    logger.warning("A new user was given a key whose database exists; it goes to the trash.")
    if deleted and transaction.get_connection(DEFAULT_DB_ALIAS).in_atomic_block:
        # The earlier user may be deleted by this very transaction, and be back if it fails.
        provisioning.replace_at_commit(key)
    else:
        # At once, lest the process is killed after the commit and leaves it to the new user.
        retire(key)


def _on_commit(function: Callable[[str], None], key: str) -> None:
    connection = transaction.get_connection(DEFAULT_DB_ALIAS)
    if connection.in_atomic_block or connection.get_autocommit():
        # Robust, because the sign-up is done; the first use makes the database if this cannot.
        robust = FIRST_USE in conf.DSUD_PROVISION
        transaction.on_commit(_with_key(function, key), using=DEFAULT_DB_ALIAS, robust=robust)


def _with_key(function: Callable[[str], None], key: str) -> Callable[[], None]:
    # Not functools.partial, because Django 5.2 and 6.0 cannot log the failure of one.
    @functools.wraps(function)
    def call() -> None:
        function(key)

    return call


def expect_database_of_loaded_user(key: str) -> None:
    """Make the database of a user from a fixture, unless the fixture's registry knows it."""
    state = registry.state_of(key)
    if state is None and engine().exists(key):
        logger.warning("A user was loaded whose database is not registered; it goes to the trash.")
        retire(key)
    if state in (None, State.PENDING) and SIGN_UP in conf.DSUD_PROVISION:
        provisioning.provide_after_sign_up(key, is_pending=state is not None)


# Deletion


def delete_with_user(*, instance: Model, using: str | None, **kwargs: object) -> None:
    """Delete the database of a user who is deleted, once that is committed."""
    if using != DEFAULT_DB_ALIAS:
        return
    key = user_key(instance)
    registry.mark_deleted(key)
    if transactions.is_of_a_test():
        return
    # Robust, because one file that cannot be moved must not keep those of other users in place.
    transaction.on_commit(_with_key(delete, key), using=DEFAULT_DB_ALIAS, robust=True)


def delete(key: str) -> None:
    """Move a deleted user's database to the trash, where it keeps everything.

    Its path is not used again. It stays when it is a new user's already, who has the same key.
    """
    retire(key, unless_expected=True)
