"""The bytes of a new user database: the template with its owner's name in it."""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from dsud.engines.ranges import KeyRange
from dsud.engines.sqlite import sequences
from dsud.engines.sqlite.paths import uri_of
from dsud.engines.staged import Rows

#: "DSUD", by which a file is known as a user database (PRAGMA application_id).
APPLICATION_ID = 0x44535544

#: The one row that says whose database a file is.
CREATE_IDENTITY = "CREATE TABLE dsud_identity (user_key TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID"
READ_IDENTITY = "SELECT user_key FROM dsud_identity"
WRITE_IDENTITY = "INSERT INTO dsud_identity (user_key) VALUES (?)"

#: Bytes 18 and 19 of a database file are 2 in WAL mode (https://www.sqlite.org/fileformat.html).
JOURNAL_VERSION = slice(18, 20)
WAL = b"\x02\x02"


def stamp(connection: sqlite3.Connection, fingerprint: str) -> None:
    """Note which schema of the code the database has, as part of the transaction that is open.

    An empty fingerprint takes the note away.
    """
    connection.execute(f"PRAGMA user_version = {stamp_of(fingerprint)}")


def has_stamp(connection: sqlite3.Connection, fingerprint: str) -> bool:
    """Tell whether a database carries this note; not by its header, which lags in WAL mode."""
    # By a cursor of Python's own, because no function of Django's is needed.
    (version,) = sqlite3.Cursor(connection).execute("PRAGMA user_version").fetchone()
    return bool(version == stamp_of(fingerprint))


def stamp_of(fingerprint: str) -> int:
    """Return what ``user_version`` says of a schema: 31 bits of its fingerprint, or 0 for none."""
    return int(fingerprint[:8], 16) & 0x7FFFFFFF if fingerprint else 0


def prepare_template(path: Path) -> None:
    """Turn an empty file into a database that will become the template.

    It stays in rollback mode, because an image in WAL mode cannot be deserialized,
    and auto_vacuum must be chosen before anything else is written.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(CREATE_IDENTITY)


def finish_template(path: Path, fingerprint: str) -> None:
    """Give back the pages of what was dropped, and note which schema of the code clones will have."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Not VACUUM, which evaluates what is indexed and so needs the functions of the site.
        connection.execute("PRAGMA incremental_vacuum").fetchall()
        stamp(connection, fingerprint)


def read_template(path: Path) -> bytes:
    """Return the template's bytes, through SQLite, after checking them.

    Raises ``sqlite3.DatabaseError`` when the file is no sound template.
    """
    uri = uri_of(path, mode="ro")
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        # Whoever is named in it has rows in it, which must not be given to others.
        owner = connection.execute(READ_IDENTITY).fetchone()
        if application_id != APPLICATION_ID or verdict != "ok" or owner is not None:
            raise sqlite3.DatabaseError(f"not a sound template: {verdict}")
        return connection.serialize()


def insert(connection: sqlite3.Connection, rows: Iterable[Rows]) -> None:
    """Put rows in a database."""
    for each in rows:
        connection.executemany(_sql_to_insert(each.table, *each.columns), each.values)


@functools.lru_cache(maxsize=128)
def _sql_to_insert(table: str, *columns: str) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    places = ", ".join("?" * len(columns))
    return f'INSERT INTO "{table}" ({names}) VALUES ({places})'  # noqa: S608, because models name them


class Press:
    """A template that stays open, because its schema is slow to read, with the rows that all begin with."""

    def __init__(self, template: bytes, shared: tuple[Rows, ...]) -> None:
        self.template = template
        self.shared = shared
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        # Closed by whichever thread finds out that the one that made it is gone.
        weakref.finalize(self, self.connection.close)
        # Copied, because what is deserialized serializes without what is not committed.
        with closing(sqlite3.connect(":memory:")) as source:
            source.deserialize(template)
            source.backup(self.connection)
        insert(self.connection, shared)


class Presses(threading.local):
    """The template, and the rows in it, that a thread made a database from last."""

    def __init__(self) -> None:
        self._last: Press | None = None

    def of(self, template: bytes, shared: tuple[Rows, ...] = ()) -> Press:
        """Return one with this template and rows; what is done to it must be rolled back."""
        last = self._last
        if last is None or last.template is not template or last.shared != shared:
            last = self._last = Press(template, shared)
        return last


_presses = Presses()


def clone(
    template: bytes,
    user_key: str,
    *,
    rows: Iterable[Rows] = (),
    keys: KeyRange | None = None,
) -> bytes:
    """Return the image of a new database: the template, its owner's key and first rows.

    ``keys`` says where the primary keys of its rows begin, if not at 1. Rows that are the same for
    all stay in the press, for the next one.
    """
    rows = tuple(rows)
    for_all = tuple(each for each in rows if each.for_all)
    connection = _presses.of(template, for_all).connection
    connection.execute("BEGIN")
    try:
        connection.execute(WRITE_IDENTITY, (user_key,))
        insert(connection, [each for each in rows if not each.for_all])
        if keys is not None:
            sequences.begin(sequences.on_raw(connection), keys)
        return connection.serialize()
    finally:
        # Page by page as it was, so that nothing of one user's is in the image of the next.
        connection.execute("ROLLBACK")


def in_wal_mode(image: bytes) -> tuple[bytes | memoryview, ...]:
    """Return the pieces of the same database in WAL mode, because a copy takes as long as to write it."""
    view = memoryview(image)
    return view[: JOURNAL_VERSION.start], WAL, view[JOURNAL_VERSION.stop :]


def finish_filled(path: Path) -> None:
    """Put a file that nobody has open in WAL mode, and make all of it durable.

    Written there, because SQLite would make a log and its index for that, and sync twice.
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, WAL, JOURNAL_VERSION.start)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
