"""A recorded plan played on one database, all of it or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from dsud.engines.replaying import DatabaseState, Replayer
from dsud.exceptions import DSUDError
from dsud.plans import Diverged, Plan, Stage
from dsud.recording import CannotRecord, Faked, RecordingFailed, Targets, record

logger = logging.getLogger("dsud")


class StateChanged(DSUDError):
    """Raised when a database is in another state than its plan was recorded for; it was not touched."""


class Plans:
    """The plans of this process that lead to one target, by the state in which they find a database.

    A state is the schema with the ledger: what was squashed is planned by the ledger, and what was
    changed by hand is recorded as it is.
    """

    def __init__(self, replayer: Replayer, targets: Targets, *, faked: Faked = "nothing") -> None:
        self.replayer = replayer
        self.targets = targets
        self.faked = faked
        self._plans: dict[DatabaseState, Plan | RecordingFailed | None] = {}

    def find(self, connection: BaseDatabaseWrapper) -> Plan | None:
        """Return the plan for a database as it is, or None when only Django itself can tell it.

        It is recorded once, and what fails then fails once. Raises ``RecordingFailed``.
        """
        state = self.replayer.state(connection)
        if state not in self._plans:
            self._plans[state] = self._recorded(connection)
        plan = self._plans[state]
        if isinstance(plan, RecordingFailed):
            raise RecordingFailed(*plan.args)
        return plan

    @property
    def has_plain(self) -> bool:
        """Tell whether any plan is known that is statements and nothing else."""
        return any(isinstance(plan, Plan) and plan.is_plain for plan in self._plans.values())

    def known(self, connection: BaseDatabaseWrapper) -> Plan | None:
        """Return the plan for a database as it is, if it is recorded already."""
        plan = self._plans.get(self.replayer.state(connection))
        return plan if isinstance(plan, Plan) else None

    def _recorded(self, connection: BaseDatabaseWrapper) -> Plan | RecordingFailed | None:
        try:
            return record(connection, self.replayer, self.targets, faked=self.faked)
        except RecordingFailed as failure:
            return failure.with_traceback(None)
        except CannotRecord as reason:
            logger.warning("Databases are migrated one by one by Django, because: %s", reason)
            return None


def migrate(
    connection: BaseDatabaseWrapper,
    replayer: Replayer,
    plan: Plan | None,
    *,
    otherwise: Callable[[], object],
    stamp: str | None = None,
    seen: object = None,
) -> Plan | None:
    """Bring a database to where its plan leads, and return the plan if it was that.

    ``otherwise`` is called, where replay has changed nothing, when only Django itself can do it.
    ``stamp`` and ``seen`` are as for ``replay``. Raises what the statements and the code of migrations raise;
    then nothing was changed, unless the plan is ``separate`` or there is none: earlier migrations
    then stay applied.
    """
    if plan is not None:
        try:
            replay(plan, connection, replayer, stamp=stamp, seen=seen)
        except Diverged as reason:
            logger.warning("A database is migrated by Django, because: %s", reason)
        else:
            return plan
    otherwise()
    return None


def replay(
    plan: Plan,
    connection: BaseDatabaseWrapper,
    replayer: Replayer,
    *,
    stamp: str | None = None,
    seen: object = None,
) -> None:
    """Play a plan on a database in the state that it was recorded for.

    ``stamp`` is noted in it with the same transaction when the plan is complete; else its stamp goes.
    ``seen`` is the version in which the plan was found for it, if that was noted.
    Raises ``StateChanged`` when it is in another, ``Diverged`` when it comes to another than recorded.
    """
    if not plan.is_complete and stamp is not None:
        stamp = ""
    if plan.separate:
        _refuse_other_state(plan, connection, replayer, seen=seen)
        _play(plan, connection, replayer)
    if plan.parts or (stamp is not None and not replayer.has_stamp(connection, stamp)):
        with replayer.transaction(connection, is_trusted=plan.is_plain):
            if not plan.separate:
                _refuse_other_state(plan, connection, replayer, seen=seen)
                _play(plan, connection, replayer)
            if plan.is_called and replayer.state(connection) != plan.after:
                raise Diverged("The code of a migration has changed the schema.")
            if stamp is not None:
                replayer.stamp(connection, stamp)


def play_known(
    plans: Plans, connection: BaseDatabaseWrapper, *, stamp: str, which: Callable[[Plan], bool]
) -> Plan | None:
    """Play the plan that is known for a database, in the transaction of ``transaction_apart``.

    It is looked for there, so that nobody can come in between. Returns None, and changes nothing, if
    none is known, or none of statements only, or it is not one of those ``which`` are wanted.
    """
    plan, replayer = plans.known(connection), plans.replayer
    if plan is None or not plan.is_plain or not which(plan):
        return None
    if not plan.is_complete:
        stamp = ""
    if plan.parts:
        _play(plan, connection, replayer)
    if plan.parts or not replayer.has_stamp(connection, stamp):
        replayer.stamp(connection, stamp)
    return plan


def _play(plan: Plan, connection: BaseDatabaseWrapper, replayer: Replayer) -> None:
    if plan.parts:
        replayer.lend_functions(connection, text=plan.text)
    stage = Stage(connection, replayer)
    for part in plan.parts:
        part.play(stage)


def _refuse_other_state(
    plan: Plan, connection: BaseDatabaseWrapper, replayer: Replayer, *, seen: object
) -> None:
    if seen is not None and replayer.version(connection) == seen:
        return  # Nobody has written since, which is quicker told than what all is like.
    if replayer.state(connection) != plan.before:
        raise StateChanged("The database was changed by somebody else. Run the migration again.")
