"""What is done when a user's database is opened that is not at the schema of the code: refuse, migrate, serve."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

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
from dsud.replay import Plans
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
    here = engine()
    replayer = here.replayer()
    # Asked first, because it settles it nearly always.
    if replayer is not None and replayer.has_stamp(connection, schema.fingerprint()):
        return True
    wanted = conf.DSUD_OUTDATED
    if wanted == SERVE or here.staged_here(key) is not None:
        return True  # What this thread has staged was made by this code.
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


class Shared:
    """What the threads of a process share that migrate databases: plans, turns and failures."""

    def __init__(self) -> None:
        self.plans: Plans | None = None
        self.recording = threading.Lock()
        #: Held while code of migrations runs, because Django's operations lend the fields of models
        #: that were recorded a default for a moment.
        self.calling = threading.Lock()
        self._failures: dict[str, tuple[float, str]] = {}

    def recent_failure(self, key: str) -> str:
        """Return why a database could not be migrated a moment ago, or nothing."""
        moment, cause = self._failures.get(key, (0.0, ""))
        return cause if time.monotonic() - moment < PAUSE else ""

    def note_failure(self, key: str, cause: str) -> None:
        """Remember why a database could not be migrated, and forget what is no longer recent."""
        for other in list(self._failures):
            if not self.recent_failure(other):
                self._failures.pop(other, None)
        self._failures[key] = time.monotonic(), cause


_shared: dict[str, Shared] = {}

# Because a lock may be held in the moment of a fork, by a thread that the child has not.
os.register_at_fork(after_in_child=_shared.clear)


class OnOpening(Migrator):
    """Migrates one database that somebody waits for, by what this process has recorded."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(run=f"{timezone.now():%Y%m%dT%H%M%S}-opening")
        self._verdict = verdict
        self._shared = _shared.setdefault(schema.fingerprint(), Shared())

    def _migrate(self, key: str) -> Done:
        if engine().has_stamp(key, schema.fingerprint()):
            return ALREADY
        if cause := self._shared.recent_failure(key):  # Because visitors reload.
            raise _failed(key, self._verdict, cause)
        try:
            with ExitStack() as self._until_done:
                return super()._migrate(key)
        except UserDatabaseUnavailable:
            raise
        except Exception as error:
            self._shared.note_failure(key, cause := registry.cause_of(error))
            raise _failed(key, self._verdict, cause) from error

    def _find_plan(self, connection: BaseDatabaseWrapper) -> Plan | None:
        shared = self._shared
        with shared.recording:
            if shared.plans is not None:
                self._local.plans = shared.plans
            plan = super()._find_plan(connection)
            shared.plans = getattr(self._local, "plans", None)
        if plan is not None and plan.is_called:
            self._until_done.enter_context(shared.calling)
        return plan


def _failed(key: str, verdict: Verdict, cause: str) -> UserDatabaseOutdated:
    message = (
        f"The database of user {key!r} {verdict}, and could not be migrated: {cause}."
        f" Mend the cause and run `manage.py migrate_user_dbs --user {key}`."
    )
    return UserDatabaseOutdated(key, message, verdict.pending, verdict.unknown)


def _migrate(key: str, verdict: Verdict) -> None:
    """Bring a user's database to the schema of the code, or raise ``UserDatabaseOutdated``.

    By a thread of its own: what is open here has nothing to do with it, neither a transaction of
    ``default``, which may be rolled back and the database not, nor whoever is active.
    """
    try:
        with ThreadPoolExecutor(1, "dsud-migrates") as executor:
            done = executor.submit(_migrate_as, key, OnOpening(verdict)).result()
    except UserDatabaseOutdated as failure:
        if (cause := failure.__cause__) is not None:  # Else it failed a moment ago.
            _tell(lambda: registry.record_failure(key, cause))
        raise
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


def _tell(write: Callable[[], object]) -> None:
    """Have the registry say what was done: not inside a transaction that may be rolled back."""

    def told() -> None:
        try:
            write()
        except DatabaseError:
            # The visitor can go on, and the next `migrate_user_dbs` finds out.
            logger.warning("The registry could not be told of a migration.", exc_info=True)

    transactions.after_blocks(told)
