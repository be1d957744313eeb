"""A quick look into many files, one after the other: connections without Django's around them."""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable, Mapping, Sequence
from typing import Self, cast

from dsud.engines.sqlite import connection
from dsud.engines.sqlite.authorizer import restrict
from dsud.exceptions import UserDatabaseUnavailable
from dsud.leases import AnyLease, Force, Lease, PoolError
from dsud.pool import pool


class Reader:
    """Borrows a connection for one look and lets nobody take it back meanwhile."""

    def surrender(self, lease: AnyLease, *, force: Force) -> bool:
        """Refuse, until the look is over."""
        return force is Force.EVERYTHING

    def abandon(self) -> None:
        """Forget the connection; a look lasts for no longer than one statement."""


class Look:
    """A raw connection that is closed after one use, as the pool counts it."""

    __slots__ = ("database", "raw")

    def __init__(self, raw: sqlite3.Connection, database: Hashable) -> None:
        self.raw = raw
        self.database = database

    def is_current(self) -> bool:
        """Tell nothing, because it is never kept."""
        return False

    def is_read(self) -> bool:
        """Tell that it is in use for as long as it is there."""
        return True

    def clean(self) -> bool:
        """Tell that nobody else may have it."""
        return False

    def close(self) -> None:
        """Close the raw connection."""
        self.raw.close()


class Looking:
    """A block with a cursor on a user's file that can change nothing; the pool counts it.

    Entering raises ``UserDatabaseUnavailable``, and ``sqlite3.Error`` when the file cannot be opened.
    It is one object and no generator, because what Python does here is what a look takes longer
    than SQLite does.
    """

    __slots__ = ("_cursor", "_lease", "_look", "_raw", "_reader", "_where")

    def __init__(
        self, uri: str, user_key: str, database: Hashable, options: Mapping[str, object]
    ) -> None:
        self._where = uri, user_key, database, options
        self._cursor: sqlite3.Cursor | None = None
        self._lease: Lease[Look] | None = None

    def __enter__(self) -> Self:
        _, user_key, database, _ = self._where
        try:
            look = self._look = pool.open_for_a_look(database, self._open)
            if look is None:
                self._reader = (
                    Reader()
                )  # Kept, because a lease whose borrower is gone is taken back.
                self._lease = pool.lease(database, self._reader, self._open)
                look = self._lease.handle
        except PoolError as error:
            raise unavailable_now(user_key, error) from error
        self._raw = look.raw
        return self

    def execute(self, sql: str, params: Sequence[object], /) -> None:
        """Run a statement with placeholders in Django's manner."""
        self._end_statement()
        self._cursor = self._raw.execute(connection.converted(sql), params)

    def fetchone(self) -> Sequence[object]:
        """Return the next row."""
        row: Sequence[object] = cast("sqlite3.Cursor", self._cursor).fetchone()
        return row

    def _end_statement(self) -> None:
        if self._cursor is not None:
            self._cursor.close()

    def __exit__(self, *raised: object) -> None:
        self._end_statement()  # Lest SQLite keeps the files open for it.
        if self._look is not None:
            pool.close(self._look)
        elif self._lease is not None:
            pool.give_back(self._lease, force=Force.EVERYTHING)

    def _open(self) -> Look:
        uri, user_key, database, options = self._where
        raw = _connected(uri, options)
        try:
            connection.refuse_unless_owned(raw, user_key)
            connection.leave_log_on_close(raw)
            restrict(raw)
            return Look(raw, database)
        except BaseException:
            raw.close()
            raise


def opened_for_statements(
    uri: str, user_key: str, *, database: Hashable, options: Mapping[str, object]
) -> Look | None:
    """Open a user's file to run recorded statements on it; the pool counts it until it closes it.

    Returns None where that cannot be, because of the file or because too many are open.
    """

    def opened() -> Look:
        raw = _connected(uri, options)
        try:
            connection.refuse_unless_owned(raw, user_key)
            connection.configure(raw, options)
            return Look(raw, database)
        except BaseException:
            raw.close()
            raise

    try:
        return pool.open_for_a_look(database, opened)
    except (sqlite3.Error, PoolError, UserDatabaseUnavailable):
        return None


def _connected(uri: str, options: Mapping[str, object]) -> sqlite3.Connection:
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=float(str(options["timeout"])),
        isolation_level=None,
        check_same_thread=False,
    )


def unavailable_now(user_key: str, error: PoolError) -> UserDatabaseUnavailable:
    """Return the typed error for a pool that has no room."""
    return UserDatabaseUnavailable(
        user_key, f"The database of user {user_key!r} cannot be opened. {error}"
    )
