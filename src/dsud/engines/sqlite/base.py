"""Django's database backend for user databases; named ``base`` because Django imports it so."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Hashable
from types import TracebackType

from django.db.backends.signals import connection_created
from django.db.backends.sqlite3 import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

from dsud import engines
from dsud.engines.sqlite.connection import Handle, unavailable
from dsud.engines.sqlite.schema import DatabaseSchemaEditor
from dsud.exceptions import UserDatabaseUnavailable
from dsud.pool import Force, Lease, PoolExhausted, pool

#: Primary result codes of a file that cannot be trusted (https://www.sqlite.org/rescode.html).
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR}


class UserDatabaseErrorWrapper(DatabaseErrorWrapper):
    """Raise a typed error when SQLite finds out in a query that the file is broken."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc_value, sqlite3.DatabaseError):
            code = getattr(exc_value, "sqlite_errorcode", 0) & 0xFF
            if code in _BROKEN and self.wrapper.user_key is not None:
                raise unavailable(self.wrapper.user_key, exc_value) from exc_value
        super().__exit__(exc_type, exc_value, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's SQLite connection, working on a raw connection that it leases from the pool.

    Without ``USER_KEY`` in its settings it is Django's own and leases nothing.
    """

    SchemaEditorClass = DatabaseSchemaEditor

    def __init__(self, settings_dict: dict[str, object], alias: str) -> None:
        super().__init__(settings_dict, alias)
        self.user_key: str | None = settings_dict.get("USER_KEY")  # type: ignore[assignment]
        self._lease: Lease | None = None
        # Held while the raw connection is handed out, so that no thread takes it back meanwhile.
        self._lease_lock = threading.RLock()
        if self.user_key is not None:
            # Because Django learns the transaction mode there, and a pooled connection is not opened.
            self.get_connection_params()

    # Leasing: get_new_connection() opens; connect() and close() lease and return.

    @async_unsafe
    def connect(self) -> None:
        """Lease a raw connection; a real opening also sends ``connection_created``."""
        if self.user_key is None:
            super().connect()
            return
        self.check_settings()
        self.in_atomic_block = False
        self.savepoint_ids = []
        self.atomic_blocks = []
        self.needs_rollback = False
        self.closed_in_transaction = False
        self.errors_occurred = False
        self.run_on_commit = []
        self._lease = self._take_lease(self.user_key)
        self.connection = self._lease.handle.raw
        self.autocommit = True
        if self._lease.opened:
            connection_created.send(sender=self.__class__, connection=self)

    def _take_lease(self, user_key: str) -> Lease[Handle]:
        engine = engines.engine()
        database: Hashable = (engine.location, user_key)
        try:
            return pool.lease(database, self, lambda: engine.open(user_key, self))
        except PoolExhausted as error:
            raise UserDatabaseUnavailable(
                user_key,
                f"{error} Raise DSUD_MAX_OPEN or the limit of open files, or shorten what holds"
                " connections.",
            ) from error

    def _close(self) -> None:
        if self.user_key is None:
            super()._close()
        elif self._lease is not None:
            pool.give_back(self._lease, force=Force.EVERYTHING)

    def surrender(self, lease: Lease, *, force: Force) -> bool:
        """Part from the leased connection; refuse when ``force`` does not reach."""
        if not self._lease_lock.acquire(blocking=force is not Force.NOTHING):
            return False
        try:
            if self._lease is not lease or self._keeps(lease.handle, force=force):
                return False
            self.abandon(lease)
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

    def abandon(self, lease: Lease) -> None:
        """Forget the leased connection; an open atomic block can then only fail."""
        self._lease = None
        self.connection = None
        self.queries_log.clear()
        if self.in_atomic_block:
            self.closed_in_transaction = True
            self.needs_rollback = True

    # What Django asks of a raw connection

    def create_cursor(self, name: str | None = None) -> sqlite3.Cursor:
        """Create a cursor that the pool knows of."""
        if self.user_key is None:
            return super().create_cursor(name)
        with self._lease_lock:
            self.ensure_connection()
            cursor = super().create_cursor(name)
            self._lease.handle.track(cursor)
            return cursor

    def _set_autocommit(self, autocommit: bool) -> None:
        with self._lease_lock:
            self.ensure_connection()
            super()._set_autocommit(autocommit)

    def disable_constraint_checking(self) -> bool:
        """Turn foreign keys off; the connection is not leased again, lest they stay off."""
        if self.user_key is not None:
            self.ensure_connection()
            self._lease.handle.reusable = False
        return super().disable_constraint_checking()

    @cached_property
    def wrap_database_errors(self) -> UserDatabaseErrorWrapper:
        """Turn SQLite's errors into Django's, and a broken file into a typed error."""
        return UserDatabaseErrorWrapper(self)

    def init_connection_state(self) -> None:
        """Check SQLite's version once per process, not once per alias."""
        if self.user_key is None:
            super().init_connection_state()
