"""A quick look into many files, one after the other: connections without Django's around them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from dsud.engines.sqlite import connection
from dsud.engines.sqlite.authorizer import restrict
from dsud.engines.sqlite.paths import uri_of
from dsud.exceptions import UserDatabaseUnavailable
from dsud.leases import AnyLease, Force
from dsud.pool import PoolError, pool


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


@contextmanager
def looking_into(
    path: str, user_key: str, *, database: Hashable, options: Mapping[str, object]
) -> Iterator[SQLiteCursorWrapper]:
    """Yield a cursor on a user's file that can change nothing; the pool counts it by ``database``.

    Raises ``UserDatabaseUnavailable``, and ``sqlite3.Error`` when the file cannot be opened.
    """
    with borrowed(user_key, lambda: _open(path, user_key, options), database=database) as raw:
        yield raw.cursor(factory=SQLiteCursorWrapper)


@contextmanager
def borrowed(
    user_key: str, open_raw: Callable[[], sqlite3.Connection], *, database: Hashable
) -> Iterator[sqlite3.Connection]:
    """Yield a connection that is closed afterwards; the pool counts it by ``database``.

    Raises ``UserDatabaseUnavailable``, and whatever ``open_raw`` raises.
    """
    reader = Reader()
    try:
        lease = pool.lease(database, reader, lambda: Look(open_raw(), database))
    except PoolError as error:
        raise UserDatabaseUnavailable(
            user_key, f"The database of user {user_key!r} cannot be opened. {error}"
        ) from error
    try:
        yield lease.handle.raw
    finally:
        pool.give_back(lease, force=Force.EVERYTHING)


def _open(path: str, user_key: str, options: Mapping[str, object]) -> sqlite3.Connection:
    raw = sqlite3.connect(
        uri_of(path, mode="rw"),
        uri=True,
        timeout=float(str(options["timeout"])),
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.refuse_unless_owned(raw, user_key)
        connection.leave_log_on_close(raw)
        raw.execute("PRAGMA query_only = ON")
        restrict(raw)
    except BaseException:
        raw.close()
        raise
    return raw
