"""One database is born exactly once: template, clone, publish, undo."""

from __future__ import annotations

import functools
import logging
from contextlib import ExitStack

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Model
from django.utils import timezone

from dsud import schema
from dsud.conf import FIRST_USE, SIGN_UP, conf
from dsud.context import user_key
from dsud.engines import engine
from dsud.engines.base import Staged
from dsud.exceptions import (
    UserDatabaseAlreadyExists,
    UserDatabaseDoesNotExist,
    UserDatabaseUnavailable,
)
from dsud.models import UserDatabase
from dsud.signals import user_database_deleted, user_database_provisioned

logger = logging.getLogger("dsud")

State = UserDatabase.State


def provision(key: str) -> None:
    """Make a user's database now: complete and durable when this returns.

    Raises ``UserDatabaseAlreadyExists``, and ``UserDatabaseUnavailable`` when the location has
    lost what was there.
    """
    with engine().lock(key):
        if engine().exists(key):
            raise UserDatabaseAlreadyExists(
                key, f"User {key!r} has a database already; it was left as it is."
            )
        _publish(key, _stage(key))


def provide(key: str) -> None:
    """Make the database of a user who reaches for it and has none, if that is right.

    Raises ``UserDatabaseUnavailable`` when there should be one, and
    ``UserDatabaseDoesNotExist`` when none may be made.
    """
    _refuse_unless_expected(key)
    if transaction.get_connection(DEFAULT_DB_ALIAS).in_atomic_block:
        _stage_until_commit(key)
        return
    with engine().lock(key):
        if not engine().exists(key):
            _publish(key, _stage(key))


def _refuse_unless_expected(key: str) -> None:
    state = _registered_state(key)
    if state == State.READY:
        raise UserDatabaseUnavailable(
            key,
            f"The database of user {key!r} is registered but its file is missing."
            " Bring its disk or its backup back; nothing was made in its place.",
        )
    if state == State.DELETED:
        raise UserDatabaseDoesNotExist(
            key,
            f"The database of user {key!r} was deleted."
            f" Make a new one with `manage.py create_user_db --user {key}`.",
        )
    if state is None and FIRST_USE not in conf.DSUD_PROVISION:
        raise UserDatabaseDoesNotExist(
            key,
            f"User {key!r} has no database, and DSUD_PROVISION does not make one at first use."
            f" Make it with `manage.py create_user_db --user {key}`.",
        )
    if not get_user_model()._base_manager.filter(pk=key).exists():
        raise UserDatabaseDoesNotExist(
            key, f"There is no user {key!r}, so no database was made. Save the user first."
        )


def _registered_state(key: str) -> str | None:
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(user_key=key)
    return rows.values_list("state", flat=True).first()


# Making


def _stage(key: str) -> Staged:
    _refuse_lost_location(key)
    return engine().stage(key, prepare())


def prepare() -> str:
    """Build the template if the schema has changed, and return its fingerprint."""
    fingerprint = schema.fingerprint()
    if not engine().has_template(fingerprint):
        engine().build_template(fingerprint, schema.migrate_template)
    return fingerprint


def _refuse_lost_location(key: str) -> None:
    if engine().is_initialized():
        return
    if UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(state=State.READY).exists():
        raise UserDatabaseUnavailable(
            key,
            f"No database was made for user {key!r}, because the location of user databases has"
            " lost those that are registered. Is it mounted?",
        )
    engine().initialize()


def _publish(key: str, staged: Staged) -> None:
    staged.publish()
    register(key, current=True)
    logger.debug("Provisioned the database of user %r.", key)
    user_database_provisioned.send(sender=None, user_key=key)


def register(key: str, *, current: bool) -> None:
    """Record that a user's database is ready, and whether its schema is the one the code wants."""
    fingerprint = schema.fingerprint() if current else ""
    _write(key, state=State.READY, schema=fingerprint, last_error="", migrated=timezone.now())


def record_failure(key: str, error: Exception) -> None:
    """Record what went wrong with a user's database, for operators."""
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS)
    rows.filter(user_key=key).update(last_error=f"{type(error).__name__}: {error}")


def _write(key: str, **values: object) -> None:
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS)
    if not rows.filter(user_key=key).update(**values):
        rows.create(user_key=key, **values)


# Inside a transaction of ``default``


class Birth:
    """A database that its maker already uses and that becomes the user's at commit.

    Only the transaction's list of callbacks refers to it: when that is dropped by a rollback,
    the staged database is discarded and the lock released.
    """

    def __init__(self, key: str, *, replaces: bool) -> None:
        self._key = key
        self._replaces = replaces
        self._held = ExitStack()
        self._held.enter_context(engine().lock(key))
        self.needed = replaces or not engine().exists(key)
        if self.needed:
            self._staged = _stage(key)

    def complete(self) -> None:
        """Publish what was staged; called when the transaction is durable."""
        with self._held:
            if self._replaces:
                take_out_of_service(self._key)
            _publish(self._key, self._staged)


def _stage_until_commit(key: str, *, replaces: bool = False) -> None:
    birth = Birth(key, replaces=replaces)
    if birth.needed:
        _write(key, state=State.PENDING, schema="", last_error="")
        transaction.on_commit(birth.complete, using=DEFAULT_DB_ALIAS)


# At sign-up


def expect_database(
    *, instance: Model, created: bool, using: str | None, **kwargs: object
) -> None:
    """Make the database of a user who was created, once the sign-up is committed.

    A file that is there before its user can only be an earlier user's whose key was issued
    again; it goes to the trash and is never shown to the new one.
    """
    if not created or using != DEFAULT_DB_ALIAS:
        return
    key = user_key(instance)
    stale = engine().exists(key)
    if stale:
        logger.warning("A new user was given a key whose database exists; it goes to the trash.")
        _stage_until_commit(key, replaces=True)
    elif SIGN_UP in conf.DSUD_PROVISION:
        _write(key, state=State.PENDING, schema="", last_error="")
        transaction.on_commit(
            functools.partial(provision_after_sign_up, key),
            using=DEFAULT_DB_ALIAS,
            # Because the sign-up is done; the first use makes the database if this cannot.
            robust=FIRST_USE in conf.DSUD_PROVISION,
        )


def provision_after_sign_up(key: str) -> None:
    """Make the database unless the transaction used it already and publishes it itself."""
    if engine().staged_here(key) is not None:
        return
    with engine().lock(key):
        if not engine().exists(key):
            _publish(key, _stage(key))


def take_out_of_service(key: str) -> None:
    """Move a user's database to the trash; the caller holds its lock."""
    engine().delete(key)
    user_database_deleted.send(sender=None, user_key=key)
