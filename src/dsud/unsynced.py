"""What ``default`` is told that a loss of power may take back: a commit that does not wait for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper

#: What ``PRAGMA synchronous`` calls FULL; from there on a commit waits for the disk.
_FULL = 2


@contextmanager
def unsynced(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Have what is committed in this block become durable with the next commit that is.

    It outlives the process at once, and is visible to everybody. Only with SQLite in WAL mode, where
    nothing but the last commits can be lost by this (https://www.sqlite.org/pragma.html#pragma_synchronous),
    and outside of a transaction, whose other statements may not be. Everywhere else a commit is as
    durable as ever.
    """
    raw = connection.connection if connection.vendor == "sqlite" else None
    if raw is None or raw.in_transaction:
        yield
        return
    (level,) = raw.execute("PRAGMA synchronous").fetchone()
    (journal,) = raw.execute("PRAGMA journal_mode").fetchone()
    if level < _FULL or journal != "wal":
        yield
        return
    raw.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        raw.execute(f"PRAGMA synchronous = {level}")
