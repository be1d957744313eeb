"""One database is born exactly once: template, clone, publish, undo."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils import timezone

from dsud import key_ranges, mirrors, pending, schema, transactions
from dsud import models as registry
from dsud.conf import FIRST_USE, conf
from dsud.connections import alias_of, uncounted
from dsud.context import user_key
from dsud.engines import engine
from dsud.engines.staged import Staged
from dsud.exceptions import (
    UserDatabaseAlreadyExists,
    UserDatabaseDoesNotExist,
    UserDatabaseError,
    UserDatabaseUnavailable,
)
from dsud.models import UserDatabase
from dsud.retirement import reopen_at_next_use, retire, take_out_of_service
from dsud.signals import user_database_provisioned

logger = logging.getLogger("dsud")

State = UserDatabase.State


def provision(key: str, *, lost: bool = False) -> None:
    """Make a user's database: complete and durable when this returns.

    Inside a transaction of ``default`` it is so when that is committed, and only this thread can
    use it before. ``lost`` gives up a registered database whose file is missing.
    Raises ``UserDatabaseAlreadyExists``, and ``UserDatabaseUnavailable`` when the disk or the
    location does not allow it.
    """
    state = registry.state_of(key)
    if state == State.READY and not lost and not engine().serves(key):
        raise missing(key)
    if state == State.DELETED:
        registry.write(key, state=State.PENDING)
    if engine().staged_here(key) is not None or not _make_now_or_at_commit(key):
        raise UserDatabaseAlreadyExists(
            key, f"User {key!r} has a database already; it was left as it is."
        )


def provide(key: str) -> None:
    """Make the database of a user who reaches for it and has none, if that is right.

    Raises ``UserDatabaseUnavailable`` when there should be one, else ``UserDatabaseDoesNotExist``.
    """
    state = registry.state_of(key)
    if state == State.READY and engine().exists(key):
        return  # Another process has just made it.
    if state in (State.READY, State.DELETED):
        raise missing(key)
    if state is None and FIRST_USE not in conf.DSUD_PROVISION:
        raise UserDatabaseDoesNotExist(
            key,
            f"User {key!r} has no database, and DSUD_PROVISION does not make one at first use."
            f" Make it with `manage.py create_user_db --user {key}`.",
        )
    if not _is_user(key):
        raise UserDatabaseDoesNotExist(
            key, f"There is no user {key!r}, so no database was made. Save the user first."
        )
    _make_now_or_at_commit(key)


def refuse_missing(key: str) -> None:
    """Raise the error of ``missing`` unless the user's database is there."""
    if not engine().serves(key):
        raise missing(key)


def missing(key: str) -> UserDatabaseError:
    """Return the error that tells why a user's database is not there."""
    state = registry.state_of(key)
    command = f"`manage.py create_user_db --user {key}"
    if state == State.READY:
        return UserDatabaseUnavailable(
            key,
            f"The database of user {key!r} is registered but its file is missing."
            " Bring its disk or its backup back; nothing was made in its place."
            f" If it is lost for good, make an empty one with {command} --lost`.",
        )
    happened = "was deleted" if state == State.DELETED else "was never made"
    return UserDatabaseDoesNotExist(
        key, f"The database of user {key!r} {happened}. Make a new one with {command}`."
    )


def _is_user(key: str) -> bool:
    """Tell whether a user has exactly this key; an alias may be written in many ways."""
    users = get_user_model()._base_manager.using(DEFAULT_DB_ALIAS)
    try:
        with uncounted(connections[DEFAULT_DB_ALIAS]):
            pk = users.filter(pk=key).values_list("pk", flat=True).first()
    except (ValueError, ValidationError):
        return False  # No primary key looks like this.
    return pk is not None and user_key(pk) == key


# Making


def _make_now_or_at_commit(key: str) -> bool:
    """Make a database unless there is one; tell which."""
    with _disk_errors_typed(key):
        if transactions.is_of_a_test():
            return _stage_and_register_for_test(key)
        if transaction.get_connection(DEFAULT_DB_ALIAS).in_atomic_block:
            return _stage_until_commit(key)
        return _make(key)


def provide_after_sign_up(key: str, *, is_pending: bool = True) -> None:
    """Make a database unless there is one, or the transaction that used it publishes it itself.

    Where it ``is_pending`` in the registry, durably, that it is ready is written without waiting for
    the disk: should the power take that back, the next process that makes one registers it again.
    """
    if engine().staged_here(key) is None:
        with _disk_errors_typed(key):
            _make(key, durably=not is_pending)
    pending.register_once()


def _make(key: str, *, durably: bool = True) -> bool:
    initialize_location(key)
    here = engine()
    first = {} if here.exists(key) else begin_with(key)  # No lock yet: it writes.
    with here.lock(key):
        if here.exists(key):
            return False
        here.stage(key, prepare(), **(first or begin_with(key))).publish()
    announce(key, durably=durably)
    return True


def begin_with(key: str) -> dict[str, Any]:
    """Return what a new database begins with beside the template."""
    return {"rows": mirrors.first_rows(key), **key_ranges.for_new(key)}


def prepare() -> str:
    """Build the template if the schema has changed, and return its fingerprint."""
    fingerprint = schema.fingerprint()
    if not engine().has_template(fingerprint):
        engine().build_template(fingerprint, schema.migrate_template)
    return fingerprint


def is_location_lost() -> bool:
    """Tell whether the location has lost the databases that are registered, as a lost mount has."""
    return not engine().is_initialized() and registry.any_ready()


def initialize_location(key: str) -> None:
    """Make the location ready; raise ``UserDatabaseUnavailable`` when it is lost."""
    if engine().is_initialized():
        return
    if registry.any_ready():
        raise UserDatabaseUnavailable(
            key,
            f"No database was made for user {key!r}, because the location of user databases has"
            " lost those that are registered. Is it mounted?",
        )
    engine().initialize()


@contextmanager
def _disk_errors_typed(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserDatabaseUnavailable(
            key,
            f"The database of user {key!r} cannot be made: {error}."
            " Mend the cause; its next use makes it.",
        ) from error


def announce(key: str, *, durably: bool = True) -> None:
    """Register a published database; without its lock, for which holders of ``default`` may wait."""
    tell(key, is_registered=register(key, current=True, durably=durably))


def tell(key: str, *, is_registered: bool) -> None:
    """Say that a database was made, or part from it if its user was deleted meanwhile."""
    if not is_registered:
        retire(key, unless_expected=True)
        return
    logger.debug("Provisioned the database of user %r.", key)
    user_database_provisioned.send(sender=None, user_key=key)


def register(key: str, *, current: bool, durably: bool = True) -> bool:
    """Record that a database is ready and whether its schema is the one the code wants.

    Tell whether that was done: a database that is registered as deleted stays so.
    """
    values = ready(current=current)
    with suppress(UserDatabaseDoesNotExist):  # As of one that is staged for a test.
        values["size"] = engine().size(key)
        values["last_used"] = timezone.now()
    return registry.put(key, unless=State.DELETED, durably=durably, **values)


def ready(*, current: bool) -> dict[str, object]:
    """Return what the registry says of a database that is ready."""
    return {
        "state": State.READY,
        "schema": schema.fingerprint() if current else "",
        "last_error": "",
        "missing": False,
        "migrated": timezone.now(),
    }


# Inside a transaction of ``default``


class Birth:
    """A database that its maker already uses and that becomes the user's at commit.

    Only the transaction's list of callbacks refers to it: when that is dropped by a rollback,
    at whatever depth, the staged database is discarded and its lock released.
    """

    def __init__(self, key: str, staged: Staged, *, held: ExitStack, replaces: bool) -> None:
        """``held`` discards what was staged and then unlocks, in this order."""
        self._key = key
        self._staged = staged
        self._replaces = replaces
        self._undo = weakref.finalize(
            self, _end_birth, key, held, weakref.ref(threading.current_thread())
        )

    def complete(self) -> None:
        """Publish what was staged; called when the transaction is durable."""
        if not self._undo.alive:
            return  # The user was deleted, and the key issued again, before the commit.
        try:
            with _disk_errors_typed(self._key):
                if self._replaces and engine().exists(self._key):
                    take_out_of_service(self._key)
                self._staged.publish()
        finally:
            self._undo()
        announce(self._key)

    def abandon(self) -> None:
        """Discard what was staged; ``complete`` then does nothing."""
        self._undo()


def _end_birth(key: str, held: ExitStack, maker: weakref.ref[threading.Thread]) -> None:
    # The garbage collector may have come here from another thread, which has a connection of its own.
    if maker() is threading.current_thread():
        reopen_at_next_use(key)
    held.close()


class Births(threading.local):
    """The databases that this thread has staged until the open transaction is committed."""

    def __init__(self) -> None:
        self.of: weakref.WeakValueDictionary[str, Birth] = weakref.WeakValueDictionary()


_births = Births()


def abandon(key: str) -> None:
    """Discard what this thread has staged for a user, unless a rollback in a test brings it back."""
    birth = _births.of.get(key)
    if birth is not None and not transactions.is_undone_around(birth.abandon):
        birth.abandon()


def replace_at_commit(key: str) -> None:
    """Stage a database for a new user whose key has one; at commit that goes to the trash.

    Until then it stays in its place, because a rollback may bring its user back.
    """
    reopen_at_next_use(key)
    with _disk_errors_typed(key):
        _stage_until_commit(key, replaces=True)


def _stage_until_commit(key: str, *, replaces: bool = False) -> bool:
    initialize_location(key)
    with ExitStack() as held:
        held.enter_context(engine().lock(key))
        if engine().exists(key) and not replaces:
            return False
        staged = engine().stage(key, prepare(), **begin_with(key))
        held.callback(staged.discard)
        registry.write(key, state=State.PENDING, schema="", last_error="")
        birth = Birth(key, staged, held=held.pop_all(), replaces=replaces)
    _births.of[key] = birth
    _on_commit_first(birth.complete)
    return True


def _on_commit_first(callback: Callable[[], None]) -> None:
    """Have it run before other callbacks, because one that fails takes those behind it along.

    ``run_on_commit`` has been the list of callbacks since Django 1.9.
    """
    connection = transaction.get_connection(DEFAULT_DB_ALIAS)
    transaction.on_commit(callback, using=DEFAULT_DB_ALIAS)
    connection.run_on_commit.insert(0, connection.run_on_commit.pop())


# Inside a ``TestCase``


def _stage_and_register_for_test(key: str) -> bool:
    if engine().exists(key):
        return False
    stage_for_test(key)
    return register(key, current=True)


def stage_for_test(key: str) -> None:
    """Make a database that nobody else ever reaches, until the block it is made in is rolled back.

    One that is in the user's place stays there. No callback waits for a commit, because there is
    none, and a test may count them.
    """
    with ExitStack() as held:
        staged = engine().stage_for_test(key, prepare(), **begin_with(key))
        held.callback(staged.discard)
        birth = Birth(key, staged, held=held.pop_all(), replaces=False)
    _births.of[key] = birth
    transactions.end_birth_with_block(alias_of(key), birth.abandon)
    user_database_provisioned.send(sender=None, user_key=key)
