"""One open SQLite connection to a user database: verified, set up, and clean when it is returned."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Self

from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from dsud.engines.hooks import Hooks
from dsud.engines.sqlite import functions
from dsud.engines.sqlite.authorizer import Authorizer, restrict
from dsud.engines.sqlite.image import APPLICATION_ID, READ_IDENTITY
from dsud.exceptions import UserDatabaseUnavailable

#: What the OPTIONS of an engine may say, and the defaults.
OPTIONS: Mapping[str, object] = {
    "timeout": 5.0,  # Seconds to wait for a lock, as in DATABASES.
    "synchronous": "NORMAL",  # "FULL" also survives the loss of power.
    "cache_size": 512,  # KiB of page cache per connection, an upper bound.
    "transaction_mode": "IMMEDIATE",  # As in DATABASES.
}

#: Statements that a connection keeps prepared; they weigh more than its page cache.
CACHED_STATEMENTS = 64

#: Characters of a statement whose placeholders are converted each time, because few are the same.
LONG = 2000

#: Cursors that a connection remembers before it looks which of them are gone.
TRACKED_CURSORS = 8

#: Pages in the -wal after which a commit checkpoints. Few, because each that an opening reads again
#: costs 2.5 µs, and because a durable commit takes longer for as long as the -wal still grows, which
#: that of a user who writes now and then would for days (https://www.sqlite.org/wal.html#ckpt).
WAL_AUTOCHECKPOINT = 64


# SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, which Python names since 3.12.
_NO_CKPT_ON_CLOSE = 1006


def set_up(raw: sqlite3.Connection, options: Mapping[str, object]) -> Authorizer:
    """Give a fresh connection to a file the pragmas and limits of a user database."""
    configure(raw, options)
    return restrict(raw)


def configure(raw: sqlite3.Connection, options: Mapping[str, object]) -> None:
    """Give a fresh connection to a file the pragmas of a user database."""
    leave_log_on_close(raw)
    # By a cursor of Python's own, because these need no function of Django's.
    sqlite3.Cursor(raw).executescript(
        "PRAGMA foreign_keys = ON;"
        "PRAGMA legacy_alter_table = OFF;"
        f"PRAGMA synchronous = {options['synchronous']};"
        f"PRAGMA cache_size = -{options['cache_size']};"
        f"PRAGMA wal_autocheckpoint = {WAL_AUTOCHECKPOINT};"
        "PRAGMA secure_delete = ON;"
        "PRAGMA mmap_size = 0;"
    )


def leave_log_on_close(raw: sqlite3.Connection) -> None:
    """Spare the checkpoint of a closing connection, because it costs 60 times the close."""
    if hasattr(raw, "setconfig"):  # Python 3.12
        raw.setconfig(_NO_CKPT_ON_CLOSE, True)


def refuse_unless_owned(raw: sqlite3.Connection, user_key: str) -> None:
    """Raise ``UserDatabaseUnavailable`` unless the file says that it is this user's.

    The application id is read last, because a first read that does not parse the schema, as the
    next one must, makes opening take a tenth longer.
    """
    cursor = sqlite3.Cursor(raw)  # Python's own, because no function of Django's is needed.
    try:
        owner = cursor.execute(READ_IDENTITY).fetchone()
    except sqlite3.OperationalError:
        _refuse_unless_user_database(cursor, user_key)
        raise
    else:
        _refuse_unless_user_database(cursor, user_key)
    finally:
        cursor.close()  # Or its statement keeps the file open for as long as an error is kept.
    if owner != (user_key,):
        name = repr(owner[0]) if owner else "nobody"
        raise UserDatabaseUnavailable(
            user_key,
            f"The file in the place of user {user_key!r} belongs to {name}."
            " Put the user's own file back or restore it from a backup.",
        )


def _refuse_unless_user_database(cursor: sqlite3.Cursor, user_key: str) -> None:
    (application_id,) = cursor.execute("PRAGMA application_id").fetchone()
    if application_id != APPLICATION_ID:
        raise UserDatabaseUnavailable(
            user_key,
            f"The file in the place of user {user_key!r} is a database, but not a user database."
            " Put the user's own file back or restore it from a backup.",
        )


def unavailable(user_key: str, error: Exception) -> UserDatabaseUnavailable:
    """Return the typed error for a file that cannot be used."""
    return UserDatabaseUnavailable(
        user_key,
        f"The database of user {user_key!r} cannot be used: {error}."
        " Look at the file and its permissions, or restore it from a backup.",
    )


@lru_cache(maxsize=512)
def converted(query: str) -> str:
    """Return a statement with SQLite's placeholders, as Django's cursor makes it each time anew."""
    converted: str = SQLiteCursorWrapper.convert_query(None, query)  # type: ignore[arg-type]
    return converted


class Cursor(SQLiteCursorWrapper, functions.Cursor):
    """Django's cursor, at work for its own user only, and in one thread at a time.

    Python crashes when a cursor is closed while another thread waits for its next row, as the pool
    may do to the rows of a cancelled request.
    """

    __slots__ = ("lock", "user_key")

    lock: threading.RLock
    user_key: str

    def _turn(self) -> threading.RLock:
        """Return the lock to work under; raise when another user is active by now."""
        if Hooks.before_cursor_use is not None:
            Hooks.before_cursor_use(self.user_key)
        return self.lock

    def execute(  # type: ignore[override]
        self, query: str, params: Iterable[object] | None = None
    ) -> Self:
        with self._turn():
            super().execute(query, params)
        return self

    def convert_query(self, query: str, *, param_names: list[str] | None = None) -> str:
        """Return a statement with SQLite's placeholders; long ones would fill the memory."""
        if param_names is None and len(query) < LONG:
            return converted(query)
        return super().convert_query(query, param_names=param_names)

    def executemany(  # type: ignore[override]
        self, query: str, param_list: Iterable[Iterable[object]]
    ) -> Self:
        with self._turn():
            super().executemany(query, param_list)
        return self

    def executescript(self, sql_script: str) -> Self:
        with self._turn():
            super().executescript(sql_script)
        return self

    def fetchone(self) -> object:
        with self._turn():
            return super().fetchone()

    def fetchmany(self, size: int | None = None) -> list[object]:
        with self._turn():
            return super().fetchmany(self.arraysize if size is None else size)

    def fetchall(self) -> list[object]:
        with self._turn():
            return super().fetchall()

    def __next__(self) -> object:
        with self._turn():
            return super().__next__()

    def close(self) -> None:
        """Close the cursor, also after its connection.

        Half-read iterators do that when the garbage collector finds them, and Python would print it.
        """
        try:
            with self.lock:
                super().close()
        except sqlite3.ProgrammingError as error:
            if "closed database" not in str(error):
                raise


class Handle:
    """A raw connection in the pool, with the file it was opened on and its live cursors."""

    __slots__ = (
        "authorizer",
        "cursors",
        "database",
        "inode",
        "judged",
        "lock",
        "name",
        "raw",
        "reusable",
        "user_key",
    )

    def __init__(
        self,
        raw: sqlite3.Connection,
        *,
        database: Hashable,
        name: str,
        user_key: str,
        reusable: bool,
        authorizer: Authorizer,
    ) -> None:
        self.raw = raw
        self.database = database
        self.user_key = user_key
        self.reusable = reusable
        self.authorizer = authorizer
        self.name = name
        self.inode = _inode(name)
        #: Whether its schema need not be looked at again.
        self.judged = False
        self.cursors: list[Callable[[], Cursor | None]] = []
        self.lock = threading.RLock()

    def is_current(self) -> bool:
        """Tell whether the file is still at its path.

        Raises ``UserDatabaseUnavailable`` when another file has taken the path,
        because the -wal beside it is the old file's and would be replayed into the new one.
        """
        try:
            inode = _inode(self.name)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UserDatabaseUnavailable(
                self.user_key,
                f"The database file of user {self.user_key!r} cannot be looked at: {error.strerror}."
                " Look at the disk and at the permissions of its directories.",
            ) from error
        if inode != self.inode:
            raise UserDatabaseUnavailable(
                self.user_key,
                f"The database file of user {self.user_key!r} was replaced while it was open."
                " Stop the site before files are put in place by hand.",
            )
        return True

    def cursor(self) -> Cursor:
        """Make a cursor and remember it, because a half-read one outlives a rollback."""
        cursor = sqlite3.Connection.cursor(self.raw, Cursor)
        cursor.lock, cursor.user_key = self.lock, self.user_key
        if len(self.cursors) > TRACKED_CURSORS:
            self.cursors = [found for found in self.cursors if found() is not None]
        self.cursors.append(weakref.ref(cursor))
        return cursor

    def is_read(self) -> bool:
        """Tell whether a cursor is alive."""
        return any(found() is not None for found in self.cursors)

    def is_in_use(self) -> bool:
        """Tell whether a transaction is open, a cursor alive, or the set-up changed for a while."""
        changed = not self.reusable or self.authorizer.changed
        return self.raw.in_transaction or changed or self.is_read()

    def clean(self) -> bool:
        """Close cursors and roll back; tell whether the connection may be leased again."""
        try:
            self._close_cursors()
            if self.raw.in_transaction:
                self.raw.rollback()
            # Only after the rollback, because CPython commits when this is set.
            self.raw.isolation_level = None
        except sqlite3.Error:
            self.reusable = False
        return self.reusable and not self.authorizer.changed

    def _close_cursors(self) -> None:
        alive = [cursor for found in self.cursors if (cursor := found()) is not None]
        self.cursors.clear()
        if not alive:
            return
        if not self.lock.acquire(blocking=False):
            self.raw.interrupt()  # Because whoever waits for a row has lost the right to it.
            self.lock.acquire()
        try:
            for cursor in alive:
                cursor.close()
        finally:
            self.lock.release()
        self.lock = threading.RLock()  # Lest closing these once more waits for the next lease.

    def set_read_only(self, *, on: bool) -> None:
        """Have SQLite refuse every change, or no longer; the connection is not leased again."""
        self.reusable = False
        self.authorizer.is_read_only = False
        self.raw.execute(f"PRAGMA query_only = {int(on)}")
        self.authorizer.is_read_only = on

    def close(self) -> None:
        """Close the connection."""
        self.raw.close()


def _inode(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116, because a Path takes half as long again
    return status.st_dev, status.st_ino
