"""One database brought to the schema of the code: under its lock, with a way back, and what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from dsud import key_ranges, migration_signals, mirrors, provisioning, replay, schema
from dsud.connections import alias_of, apart, release
from dsud.engines import engine
from dsud.engines.staged import Rows
from dsud.exceptions import UserDatabaseError
from dsud.leases import Force
from dsud.opening import as_they_are
from dsud.originals import KEPT_SECONDS, Originals
from dsud.plans import Plan
from dsud.recording import Faked, Target, Targets

#: When a database is copied before it is changed: where there is no other way back, always, or never.
Snapshots: TypeAlias = Literal["auto", "always", "never"]


class NotMigrated(UserDatabaseError, OperationalError):
    """Raised when something about a database is in the way of its migration, and not the migration."""


@dataclass(frozen=True)
class Done:
    """What was done to one database."""

    #: The migrations that were applied or unapplied, in order.
    steps: tuple[str, ...]
    #: How they were replayed, for operators.
    how: str
    #: Whether the database now has the schema of the code.
    is_current: bool
    #: Whether there is a snapshot of what it was before.
    has_snapshot: bool = False


def targets_of(*target: str) -> Targets:
    """Return the targets that the arguments of ``migrate`` name."""

    def targets(executor: MigrationExecutor) -> Sequence[Target]:
        leaves: list[Target] = executor.loader.graph.leaf_nodes()
        if not target:
            return leaves
        label, *names = target
        if not names:
            return [key for key in leaves if key[0] == label]
        if names == ["zero"]:
            return [(label, None)]
        key = (label, executor.loader.get_migration_by_prefix(label, names[0]).name)
        if key not in executor.loader.graph.nodes and key in executor.loader.replacements:
            # Of a squash that is applied in part only what it replaces is in the graph.
            key = executor.loader.replacements[key].replaces[-1]
        return [key]

    return targets


class Migrator:
    """Brings databases to a target, one after the other; each thread has plans of its own.

    Called with a key as its user, and may be sent to another process.
    """

    def __init__(
        self,
        *target: str,
        run: str,
        snapshots: Snapshots = "auto",
        on_copies: bool = False,
        faked: Faked = "nothing",
    ) -> None:
        """``run`` names the snapshots. Copies are migrated in place of the databases, and dropped."""
        self.target = target
        self.run = run
        self.snapshots = snapshots
        self.on_copies = on_copies
        self.faked: Faked = faked
        self._local = threading.local()

    def __reduce__(self) -> tuple[object, ...]:
        options = {
            "run": self.run,
            "snapshots": self.snapshots,
            "on_copies": self.on_copies,
            "faked": self.faked,
        }
        return _revived, (self.target, options)

    def __call__(self, key: str) -> Done:
        """Migrate a user's database, as that user.

        Raises what the migrations raise; the database is then as it was before, but that, without
        snapshots, migrations before the one that failed stay applied where they need it.
        """
        provisioning.refuse_missing(key)
        try:
            with as_they_are(), engine().lock(key):
                if not self.on_copies:
                    return self._migrate_quickly(key) or self._migrate(key)
                with closing(_Discarded(key)):
                    return self._migrate(key)
        except OperationalError as error:
            if not (remedy := _remedy(error)):
                raise
            message = f"The database of user {key!r} was not migrated: {error}. {remedy}"
            raise NotMigrated(key, message) from error

    def plan_for(self, key: str) -> Plan | None:
        """Return the plan for a user's database, recorded and rehearsed on clones of its schema.

        Raises ``RecordingFailed``.
        """
        provisioning.refuse_missing(key)
        with as_they_are():
            return self._find_plan(connections[alias_of(key)])

    def _find_plan(self, connection: BaseDatabaseWrapper) -> Plan | None:
        plans = self._plans()
        return None if plans is None else plans.find(connection)

    def _plans(self) -> replay.Plans | None:
        plans: replay.Plans | None = getattr(self._local, "plans", None)
        if plans is None and (replayer := engine().replayer()) is not None:
            targets = targets_of(*self.target)
            plans = self._local.plans = replay.Plans(replayer, targets, faked=self.faked)
        return plans

    def _migrate_quickly(self, key: str) -> Done | None:
        """Replay a known plan without Django's connection, if it is statements only; else do nothing."""
        plans = self._plans()
        if (
            plans is None
            or not plans.has_plain
            or self.snapshots == "always"
            or self._is_followed()
        ):
            return None
        connection, replayer = self._connection_apart(key), plans.replayer
        with replayer.opened(key, connection) as is_open:
            if not is_open:
                return None
            with replayer.transaction_apart(connection):
                plan = replay.play_known(
                    plans, connection, stamp=schema.fingerprint(), which=self._needs_no_snapshot
                )
                if plan is None:
                    return None
                are_copied = self._originals().are_copied(key, connection)
        key_ranges.seed(key)  # Because there may be new tables.
        if plan.is_complete and not are_copied:
            mirrors.renew(key)
        return Done(_steps(plan), plan.kind, plan.is_complete)

    def _needs_no_snapshot(self, plan: Plan) -> bool:
        return not self._wants_snapshot(plan)

    def _is_followed(self) -> bool:
        """Tell whether a site listens to migrations; asked once, because it listens from its start."""
        if not hasattr(self._local, "is_followed"):
            self._local.is_followed = migration_signals.are_heard()
        return bool(self._local.is_followed)

    def _connection_apart(self, key: str) -> BaseDatabaseWrapper:
        """Return a connection that works on one database after the other."""
        if not hasattr(self._local, "connection"):
            self._local.connection = apart(alias_of(key))
        return cast("BaseDatabaseWrapper", self._local.connection)

    def _originals(self) -> Originals:
        if not hasattr(self._local, "originals"):
            self._local.originals = Originals()
        return cast("Originals", self._local.originals)

    def _migrate(self, key: str) -> Done:
        connection = connections[alias_of(key)]
        seen = _version(connection)
        plan = self._find_plan(connection)
        if plan is not None and not plan.parts and plan.is_complete:
            self._stamp(connection, plan)
            key_ranges.seed(key)
            self._renew_copies(key, connection)
            return Done((), plan.kind, is_current=True)
        has_snapshot = self._wants_snapshot(plan)
        with self._way_back(key) if has_snapshot else nullcontext():
            did = self._play(connection, plan, seen=seen)
            is_current = schema.is_current(connection.alias) if did is None else did.is_complete
            key_ranges.seed(key)  # Because there may be new tables.
        if is_current:
            self._renew_copies(key, connection)
        return Done(_steps(plan), "Django" if did is None else did.kind, is_current, has_snapshot)

    def _play(
        self, connection: BaseDatabaseWrapper, plan: Plan | None, *, seen: object
    ) -> Plan | None:
        """Replay the plan, or have Django migrate where that cannot be; return the plan if it was that."""
        replayer, alias = engine().replayer(), connection.alias

        def by_django() -> None:
            schema.migrate(
                alias,
                *self.target,
                verbosity=0,
                fake=self.faked == "all",
                fake_initial=self.faked == "initial",
            )

        if replayer is None or plan is None:
            by_django()
            return None
        if migration_signals.before(connection, plan):
            seen = None  # Because those who listen may have changed it.
        stamp = schema.fingerprint()
        did = replay.migrate(
            connection, replayer, plan, otherwise=by_django, stamp=stamp, seen=seen
        )
        if did is not None:
            migration_signals.after(connection, did)
        return did

    def _stamp(self, connection: BaseDatabaseWrapper, plan: Plan) -> None:
        """Note what is so already, in a database that was made or migrated before there were notes."""
        replayer = engine().replayer()
        if replayer is not None:
            replay.replay(plan, connection, replayer, stamp=schema.fingerprint())

    def _renew_copies(self, key: str, connection: BaseDatabaseWrapper) -> None:
        connection.ensure_connection()
        if not self._originals().are_copied(key, connection):
            mirrors.renew(key, shared=self._shared_rows(connection))

    def _shared_rows(self, connection: BaseDatabaseWrapper) -> dict[str, Rows]:
        """Return the rows that all hold copies of, read once in a while for all."""
        read, rows = getattr(self._local, "shared", (0.0, {}))
        if time.monotonic() - read > KEPT_SECONDS:
            read, rows = time.monotonic(), mirrors.shared_rows(connection)
            self._local.shared = read, rows
        return cast("dict[str, Rows]", rows)

    def _wants_snapshot(self, plan: Plan | None) -> bool:
        if self.snapshots == "never" or self.on_copies or (plan is not None and not plan.parts):
            return False
        if self.snapshots == "always":
            return True
        has_way_back = plan is not None and plan.is_reversible and not plan.separate
        return engine().supports_snapshots and not has_way_back

    @contextmanager
    def _way_back(self, key: str) -> Iterator[None]:
        """Take a snapshot, and go back to it when something fails half-way."""
        engine().take_snapshot(key, self.run)
        try:
            yield
        except BaseException:
            release(force=Force.EVERYTHING)
            engine().restore_snapshot(key, self.run)
            raise


class _Discarded:
    """A copy of a user's database in whose place this thread works, until it is closed."""

    def __init__(self, key: str) -> None:
        release(force=Force.EVERYTHING)
        self._staged = engine().stage_copy(key)

    def close(self) -> None:
        """Drop the copy."""
        release(force=Force.EVERYTHING)
        self._staged.discard()


def _remedy(error: OperationalError) -> str:
    replayer = engine().replayer()
    return "" if replayer is None else replayer.remedy(error)


def _version(connection: BaseDatabaseWrapper) -> object:
    replayer = engine().replayer()
    return None if replayer is None else replayer.version(connection)


def _revived(target: tuple[str, ...], options: dict[str, Any]) -> Migrator:
    return Migrator(*target, **options)


def _steps(plan: Plan | None) -> tuple[str, ...]:
    return () if plan is None else plan.told


def undo(key: str, run: str) -> None:
    """Bring a user's database back to what it was before a run; what was written since is gone."""
    with engine().lock(key):
        release(force=Force.EVERYTHING)
        engine().restore_snapshot(key, run)
