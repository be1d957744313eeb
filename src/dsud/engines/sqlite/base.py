"""Django's database backend for user databases; named ``base`` because Django imports it so."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, cast

from django.db.backends.signals import connection_created
from django.db.backends.sqlite3 import base
from django.db.backends.utils import CursorWrapper
from django.db.utils import DatabaseErrorWrapper, OperationalError
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

from dsud import engines
from dsud.engines.hooks import Hooks
from dsud.engines.sqlite.connection import Handle, unavailable
from dsud.engines.sqlite.schema import DatabaseSchemaEditor
from dsud.exceptions import UserDatabaseUnavailable
from dsud.leases import AnyLease, Force, Lease, PoolError
from dsud.pool import pool

if TYPE_CHECKING:
    from dsud.engines.sqlite.engine import Engine

#: Primary result codes of a file that cannot be trusted (https://www.sqlite.org/rescode.html).
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR}

#: Result codes of a statement that was written for another schema.
_OF_THE_SCHEMA = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_CONSTRAINT_NOTNULL,
}


class BrokenUserDatabase(UserDatabaseUnavailable, OperationalError):
    """Raised when a query finds the file broken.

    It is Django's error, too, because ``atomic()`` rolls back after a commit that failed with one of
    those, and tries the commit once more after any other.
    """


class UserDatabaseErrorWrapper(DatabaseErrorWrapper):
    """Raise a typed error when SQLite finds out that the file is broken, or for other code by now."""

    wrapper: DatabaseWrapper

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            return
        if isinstance(exc_value, sqlite3.DatabaseError):
            code = getattr(exc_value, "sqlite_errorcode", 0) & 0xFF
            if code in _BROKEN and self.wrapper.user_key is not None:
                error = unavailable(self.wrapper.user_key, exc_value)
                raise BrokenUserDatabase(error.user_key, str(error)) from exc_value
            if getattr(exc_value, "sqlite_errorcode", 0) in _OF_THE_SCHEMA:
                self.wrapper.judge_again()
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's SQLite connection, working on a raw connection that it leases from the pool.

    Without ``USER_KEY`` in its settings it is Django's own and leases nothing.
    """

    SchemaEditorClass = DatabaseSchemaEditor

    def __init__(self, settings_dict: dict[str, object], alias: str) -> None:
        super().__init__(settings_dict, alias)
        self.user_key: str | None = settings_dict.get("USER_KEY")  # type: ignore[assignment]
        self._lease: Lease[Handle] | None = None
        self._is_read_only = False
        # Held between making sure of a raw connection and using it, so that no other thread, which
        # may take back what is idle, does so in between.
        self._lease_lock = threading.RLock()
        if self.user_key is not None:
            # Once, also because Django learns the transaction mode there, and a pooled connection is
            # not opened.
            self.connection_params = self.get_connection_params()

    # Leasing: get_new_connection() opens; connect() and close() lease and return.

    def connect(self) -> None:
        """Lease a raw connection; a real opening also sends ``connection_created``.

        Refused in an event loop by whoever calls it, ``ensure_connection`` or ``cursor``.
        """
        if self.user_key is None:
            super().connect()
            return
        with self._lease_lock:
            lease = self._take_lease(self.user_key)
            self._work_on(lease)
        if lease.opened:
            # Before it is judged, because it may be leased again when the database is migrated.
            connection_created.send(sender=self.__class__, connection=self)
        if not lease.handle.judged:
            self._judge(lease)

    def _judge(self, lease: Lease[Handle]) -> None:
        """Ask whether a database may be used that was opened; it is given back if not."""
        with self._lease_lock:
            judge = Hooks.judge_schema
            if judge is None or self._lease is not lease:  # Another thread has needed it.
                return
            try:
                lease.handle.judged = judge(self, opened=True)
            except BaseException:
                pool.give_back(lease, force=Force.EVERYTHING)
                raise

    def judge_again(self) -> None:
        """Ask once more, because a statement failed as if the schema had changed since."""
        lease, judge = self._lease, Hooks.judge_schema
        if lease is not None and judge is not None and lease.handle.judged:
            lease.handle.judged = False  # Also if it is refused, and while statements look at it.
            lease.handle.judged = judge(self, opened=False)

    def _work_on(self, lease: Lease[Handle]) -> None:
        self.in_atomic_block = False
        self.savepoint_ids = []
        self.atomic_blocks = []
        self.needs_rollback = False
        self.closed_in_transaction = False
        self.errors_occurred = False
        self.run_on_commit = []
        self.autocommit = True
        self.settings_dict["NAME"] = lease.handle.name
        self._lease = lease
        self.connection = lease.handle.raw
        if self._is_read_only:
            lease.handle.set_read_only(on=True)

    def _take_lease(self, user_key: str) -> Lease[Handle]:
        engine: Engine = engines.engine()  # type: ignore[assignment]
        database = engine.pool_key(user_key)
        try:
            return pool.lease(
                database, self, lambda: engine.open(user_key, self, database=database)
            )
        except PoolError as error:
            raise UserDatabaseUnavailable(
                user_key, f"The database of user {user_key!r} cannot be opened. {error}"
            ) from error

    def _close(self) -> None:
        if self.user_key is None:
            super()._close()  # type: ignore[misc]
        elif (lease := self._lease) is not None:
            pool.give_back(lease, force=Force.EVERYTHING)

    def surrender(self, lease: AnyLease, *, force: Force) -> bool:
        """Part from the leased connection if it has it; refuse when ``force`` does not reach."""
        # Another thread asks with NOTHING only, and must not wait: it holds the pool's lock.
        if not self._lease_lock.acquire(blocking=force is not Force.NOTHING):
            return False
        try:
            if self._lease is lease:
                if self._keeps(self._lease.handle, force=force):
                    return False
                self.abandon()
            # Otherwise it has another one: opening may have made the database, and who listens to
            # that may have used it before.
            return True
        finally:
            self._lease_lock.release()

    def _keeps(self, handle: Handle, *, force: Force) -> bool:
        if force is Force.EVERYTHING:
            return False
        if self.in_atomic_block:
            return True
        return force is Force.NOTHING and (
            not self.autocommit or bool(self.run_on_commit) or handle.is_in_use()
        )

    def abandon(self) -> None:
        """Forget the leased connection; an open atomic block can then only fail."""
        self._lease = None
        self.connection = None
        if not self.force_debug_cursor:  # assertNumQueries() counts on over the end of a request.
            self.queries_log.clear()
        if self.in_atomic_block:
            self.closed_in_transaction = True
            self.needs_rollback = True

    @contextmanager
    def working_on(self, raw: sqlite3.Connection, *, of: str) -> Iterator[None]:
        """Work for a block on a raw connection of a user that is not leased to it."""
        self.user_key, self.connection = of, raw
        try:
            yield
        finally:
            self.connection = None

    # What Django asks of a raw connection

    def _cursor(self, name: str | None = None) -> CursorWrapper:
        if self.user_key is not None and Hooks.before_cursor is not None:
            Hooks.before_cursor(self)
        return super()._cursor(name)  # type: ignore[misc, no-any-return]

    def create_cursor(self, name: str | None = None) -> sqlite3.Cursor:
        """Create a cursor that the pool knows of."""
        if self.user_key is None:
            return super().create_cursor(name)  # type: ignore[no-any-return]
        with self._lease_lock:
            return (self._lease or self._leased_now()).handle.cursor()

    def _leased_now(self) -> Lease[Handle]:
        """Lease a raw connection, because there is none; the caller holds the lock."""
        self.ensure_connection()
        return cast("Lease[Handle]", self._lease)

    @async_unsafe
    def set_autocommit(
        self,
        autocommit: bool,  # noqa: FBT001, because the signature is Django's
        force_begin_transaction_with_broken_autocommit: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Enter or leave manual transactions, as one step in the eyes of other threads."""
        with self._lease_lock:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)

    def disable_constraint_checking(self) -> bool:
        """Turn foreign keys off; the connection is not leased again, lest they stay off."""
        if self.user_key is None:
            return super().disable_constraint_checking()
        with self._lease_lock:
            (self._lease or self._leased_now()).handle.reusable = False
            return super().disable_constraint_checking()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Have SQLite refuse every change for a block, also on what is open already."""
        before = self._is_read_only
        self._set_read_only(on=True)
        try:
            yield
        finally:
            self._set_read_only(on=before)

    def _set_read_only(self, *, on: bool) -> None:
        with self._lease_lock:
            self._is_read_only = on
            if self._lease is not None:
                self._lease.handle.set_read_only(on=on)

    def _start_transaction_under_autocommit(self) -> None:
        """Begin without the lock for writing where nothing may be written: SQLite refuses that, too."""
        if self._is_read_only:
            self.cursor().execute("BEGIN DEFERRED")
        else:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]

    @cached_property
    def wrap_database_errors(self) -> UserDatabaseErrorWrapper:
        """Turn SQLite's errors into Django's, and a broken file into a typed error."""
        return UserDatabaseErrorWrapper(self)
