"""Copies of a user database as it was: taken and put back through SQLite, while others read it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dsud.engines.sqlite import files, image
from dsud.engines.sqlite.paths import uri_of

#: The directory of a database's snapshots, beside it, so that they share its fate.
DIRECTORY = "snapshots"

SUFFIX = ".sqlite3"

#: How many snapshots of one database are kept.
KEPT = 2

#: Seconds to wait for somebody who writes.
WAIT = 30.0


def path_of(database: Path, name: str) -> Path:
    """Return where a snapshot is, or would be."""
    return database.parent / DIRECTORY / f"{name}{SUFFIX}"


def names(database: Path) -> list[str]:
    """Return the names of a database's snapshots, the oldest first."""
    return sorted(path.stem for path in (database.parent / DIRECTORY).glob(f"*{SUFFIX}"))


def take(database: Path, name: str) -> None:
    """Copy a database durably under a name, and remove all but the newest snapshots."""
    path = path_of(database, name)
    files.make_directory(path.parent)
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    copy(database, unfinished)
    unfinished.rename(path)
    files.sync_directory(path.parent)
    for old in names(database)[:-KEPT]:
        path_of(database, old).unlink()


def copy(database: Path, path: Path) -> None:
    """Copy a database into a new file that only its owner may read, and sync it."""
    os.close(files.open_private(path, os.O_WRONLY | os.O_EXCL))
    _transfer(database, path)
    files.sync_file(path)


def restore(database: Path, name: str) -> None:
    """Put a snapshot back in place; connections that are open go on with what it has.

    Not by renaming it, because the -wal of the database that it replaces would be replayed into it.
    """
    _transfer(path_of(database, name), database)


def carries(database: Path, fingerprint: str) -> bool:
    """Tell whether a file is a user database and carries a stamp."""
    with closing(_open(database, mode="ro")) as raw:
        (application_id,) = raw.execute("PRAGMA application_id").fetchone()
        return bool(application_id == image.APPLICATION_ID) and image.has_stamp(raw, fingerprint)


def _transfer(source: Path, target: Path) -> None:
    with closing(_open(source, mode="ro")) as there, closing(_open(target, mode="rw")) as here:
        here.execute("PRAGMA synchronous = FULL")
        there.backup(here, progress=_giving_up_after(WAIT))


def _open(path: Path, *, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(uri_of(path, mode=mode), uri=True, isolation_level=None, timeout=WAIT)


def _giving_up_after(seconds: float) -> Callable[[int, int, int], None]:
    """Return what ends the copying when nothing is copied: by itself it waits for ever."""
    deadline = time.monotonic() + seconds

    def progress(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise sqlite3.OperationalError("database is locked")

    return progress
