"""What is done when a user's database is opened that is not at the schema of the code: refuse, migrate, serve."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from dsud import models as registry
from dsud import opening, provisioning, router, schema, transactions, verdicts
from dsud.conf import MIGRATE, SERVE, conf
from dsud.connections import key_of_alias, release
from dsud.context import use_user
from dsud.engines import engine
from dsud.engines.hooks import may_write_copies
from dsud.exceptions import UserDatabaseOutdated, UserDatabaseUnavailable
from dsud.leases import Force
from dsud.migrating import Done, Migrator
from dsud.plans import Plan
from dsud.verdicts import Verdict

logger = logging.getLogger("dsud")

#: Seconds for which a database whose migration failed is not tried again; visitors are told to come
#: back after as many.
PAUSE = 30.0

#: What came of a database that somebody else had migrated by the time it was locked.
ALREADY = Done((), "", is_current=True)


def judge(connection: BaseDatabaseWrapper, /, *, opened: bool) -> bool:
    """Do to a user's database what the site wants done if its schema is not that of the code.

    Called for each connection that was opened, and never again unless one of its statements fails;
    then, with ``opened=False``, nothing is migrated. Raises ``UserDatabaseOutdated``. Tells whether
    the connection need not be judged again.
    """
    key = key_of_alias(connection.alias)
    if key is None or opening.takes_all():
        return False
    wanted = conf.DSUD_OUTDATED
    if wanted == SERVE or engine().staged_here(key) is not None:
        return True  # What this thread has staged was made by this code.
    replayer = engine().replayer()
    if replayer is not None and replayer.has_stamp(connection, schema.fingerprint()):
        return True
    verdict = verdicts.verdict_on(connection)
    if verdict.is_fit:
        return True
    if opened and wanted == MIGRATE and verdict.is_behind and _may_migrate():
        connection.close()  # Because it holds one of the pool's places.
        _migrate(key, verdict)
        with opening.unmigrated():
            connection.ensure_connection()
        return True
    raise _refused(key, verdict)


def _may_migrate() -> bool:
    """Tell whether somebody opens a database who waits for it, and not a migration or a test.

    Nor who only renews the copies in it, as the saving of one shared row does in all databases.
    """
    passes_by = may_write_copies.get() or router.migrating.get() is not None
    return opening.may_migrate() and not passes_by and not transactions.is_of_a_test()


def _refused(key: str, verdict: Verdict) -> UserDatabaseOutdated:
    remedy = (
        f"Run `manage.py migrate_user_dbs --user {key}`."
        if verdict.is_behind
        else "Deploy that code here, too, or have it migrate the database back."
    )
    message = f"The database of user {key!r} {verdict}. {remedy}"
    return UserDatabaseOutdated(key, message, verdict.pending, verdict.unknown)


# Migrated when it is opened


class OnOpening(Migrator):
    """Migrates databases that are opened, in threads of their own which share what was recorded."""

    def __init__(self) -> None:
        super().__init__(run=f"{timezone.now():%Y%m%dT%H%M%S}-opening")
        self._local = SimpleNamespace()  # type: ignore[assignment]
        self._recording = threading.Lock()
        self._calling = threading.Lock()
        self._turn = threading.local()
        self._failed: dict[str, tuple[float, UserDatabaseOutdated]] = {}

    def _migrate(self, key: str) -> Done:
        if engine().has_stamp(key, schema.fingerprint()):
            return ALREADY
        self.refuse_too_soon(key)
        with ExitStack() as self._turn.until_done:
            return super()._migrate(key)

    def _find_plan(self, connection: BaseDatabaseWrapper) -> Plan | None:
        with self._recording:
            plan = super()._find_plan(connection)
        if plan is not None and plan.is_called:
            # Because Django's operations lend the fields of recorded models a default for a moment.
            self._turn.until_done.enter_context(self._calling)
        return plan

    def refuse_too_soon(self, key: str) -> None:
        """Raise the error of a moment ago once more, because visitors reload."""
        moment, failure = self._failed.get(key, (0.0, None))
        if failure is not None and time.monotonic() - moment < PAUSE:
            raise UserDatabaseOutdated(*failure.args)

    def note_failure(self, failure: UserDatabaseOutdated) -> None:
        """Remember an error, and forget those of databases that may be tried again."""
        now = time.monotonic()
        for key, (moment, _) in list(self._failed.items()):
            if now - moment >= PAUSE:
                self._failed.pop(key, None)
        self._failed[failure.user_key] = now, failure


_migrators: dict[str, OnOpening] = {}


def _migrator() -> OnOpening:
    return _migrators.setdefault(schema.fingerprint(), OnOpening())


# Because a lock may be held in the moment of the fork, by a thread that the child has not.
os.register_at_fork(after_in_child=_migrators.clear)


def _migrate(key: str, verdict: Verdict) -> None:
    """Bring a user's database to the schema of the code, or raise ``UserDatabaseOutdated``.

    By a thread of its own: what is open here has nothing to do with it, neither a transaction of
    ``default``, which may be rolled back and the database not, nor whoever is active.
    """
    migrator = _migrator()
    try:
        migrator.refuse_too_soon(key)
        with ThreadPoolExecutor(1, "dsud-migrates") as executor:
            done = executor.submit(_migrate_as, key, migrator).result()
    except (UserDatabaseUnavailable, UserDatabaseOutdated):
        raise  # Somebody else may be at it still, or it was tried a moment ago.
    except Exception as error:
        cause = registry.cause_of(error)
        migrator.note_failure(_failed(key, verdict, cause))
        _tell(lambda: registry.rows(key).update(last_error=cause))
        raise _failed(key, verdict, cause) from error
    if done is not ALREADY:
        logger.info("Migrated a user database when it was opened, by %s.", done.how)
        _tell(lambda: provisioning.register(key, current=done.is_current))


def _migrate_as(key: str, migrator: Migrator) -> Done:
    try:
        with use_user(key):
            return migrator(key)
    finally:
        release(force=Force.EVERYTHING)
        connections.close_all()


def _failed(key: str, verdict: Verdict, cause: str) -> UserDatabaseOutdated:
    message = (
        f"The database of user {key!r} {verdict}, and could not be migrated: {cause}."
        f" Mend the cause and run `manage.py migrate_user_dbs --user {key}`."
    )
    return UserDatabaseOutdated(key, message, verdict.pending, verdict.unknown)


def _tell(write: Callable[[], object]) -> None:
    """Have the registry say what was done: not inside a transaction that may be rolled back."""

    def told() -> None:
        try:
            write()
        except DatabaseError:
            # The visitor can go on, and the next `migrate_user_dbs` finds out.
            logger.warning("The registry could not be told of a migration.", exc_info=True)

    transactions.after_blocks(told)
