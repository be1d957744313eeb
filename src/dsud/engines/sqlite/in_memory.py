"""Databases of test users, which are no files, and the raw connections that one leaves to the next."""

from __future__ import annotations

import atexit
import functools
import os
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, cast

from dsud.engines.hooks import writing_copies
from dsud.engines.sqlite import sequences
from dsud.engines.sqlite.authorizer import Authorizer, restrict
from dsud.engines.sqlite.connection import Handle
from dsud.engines.sqlite.image import WRITE_IDENTITY, insert
from dsud.engines.sqlite.staged import StagedInMemory
from dsud.engines.staged import Rows

if TYPE_CHECKING:
    from dsud.engines.sqlite.base import DatabaseWrapper

#: Raw connections that a process keeps for the next test users; a class may have thousands of users.
KEPT = 8

#: What a connection can be given that lasts as long as itself, and that nobody can look up later.
_LASTING = (
    "blobopen",
    "create_aggregate",
    "create_collation",
    "create_function",
    "create_window_function",
    "enable_load_extension",
    "load_extension",
    "set_authorizer",
    "set_progress_handler",
    "set_trace_callback",
    "setconfig",
    "setlimit",
)


class Connection(sqlite3.Connection):
    """A raw connection that notices what it is given, and remembers how it was opened."""

    __slots__ = ("altered", "at_first", "authorizer", "filled", "image", "params", "template")

    altered: bool
    at_first: object
    authorizer: Authorizer
    filled: dict[str, Rows]
    image: bytes
    params: Mapping[str, object]
    template: bytes

    def fill(self, staged: StagedInMemory) -> None:
        """Put in the rows that a user begins with; those that another one has left are as they were."""
        wanted = {rows.table: rows for rows in staged.rows}
        with writing_copies():
            for table in {*self.filled, *wanted}:
                if self.filled.get(table) == wanted.get(table):
                    continue
                self.execute(f'DELETE FROM "{table}"')  # noqa: S608, because models name it
                if table in wanted:
                    insert(self, [wanted[table]])
        self.filled = wanted
        if staged.keys is not None:
            self.altered = True  # The next user's keys begin elsewhere.
            self.execute(WRITE_IDENTITY, (staged.user_key,))  # Their number is noted beside it.
            sequences.begin(sequences.on_raw(self), staged.keys)
        self.image = self.serialize()


def _noticing(method: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(method)
    def noticing(self: Connection, *args: object, **kwargs: object) -> object:
        self.altered = True
        return method(self, *args, **kwargs)

    return noticing


for _name in _LASTING:
    if hasattr(sqlite3.Connection, _name):  # Python may be older, or be built without extensions.
        setattr(Connection, _name, _noticing(getattr(sqlite3.Connection, _name)))


class Spares:
    """The raw connections of this process that wait for the next user of a test.

    To open one takes longer than all that a test does with it: Django gives it 45 functions, and
    SQLite parses the schema and each statement anew.
    """

    def __init__(self) -> None:
        self._kept: deque[Connection] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, params: Mapping[str, object], template: bytes) -> Connection | None:
        """Return one that was opened and filled in the same way, if there is one.

        Another template is not put into it: a statement that it keeps prepared would go on with the
        tables of the one before, because SQLite tells schemas apart by how often they changed.
        """
        while self._kept:
            try:
                raw = self._kept.pop()
            except IndexError:
                return None  # Another thread was faster.
            if raw.template is template and raw.params == params:
                return raw
            raw.close()
        return None

    def keep(self, raw: Connection) -> None:
        """Keep one, or close it if there are enough."""
        if len(self._kept) < KEPT:
            self._kept.append(raw)
        else:
            raw.close()

    def close(self) -> None:
        """Close all, as the pool does before a fork with what is idle."""
        while self._kept:
            self._kept.pop().close()


spares = Spares()

atexit.register(spares.close)
os.register_at_fork(before=spares.close)


class HandleInMemory(Handle):
    """The only connection to a database that is no file: what it holds ends with it."""

    __slots__ = ("_returned",)

    raw: Connection

    def __init__(self, raw: Connection, *, database: Hashable, user_key: str) -> None:
        self.raw = raw
        self.database = database
        self.name = "in-memory"
        self.user_key = user_key
        self.reusable = True
        self.judged = True  # It was made by this code.
        self.authorizer = raw.authorizer
        self.cursors = []
        self.lock = threading.RLock()
        self._returned = False

    def is_current(self) -> bool:
        """Tell that nothing has taken its place."""
        return True

    def is_in_use(self) -> bool:
        """Tell that it cannot be opened again."""
        return True

    def clean(self) -> bool:
        """Close cursors and roll back; tell the pool that nobody may lease this database again."""
        self._returned = super().clean()
        return False

    def close(self) -> None:
        """Leave the connection to another user, or close it if it is not as it was at first."""
        if self._returned and self.look() == self.raw.at_first:
            self._restore()
            spares.keep(self.raw)
        else:
            self.raw.close()

    def _restore(self) -> None:
        """Put the template back if anything was committed; otherwise the rollback has done it."""
        if self.raw.serialize() != self.raw.image:
            self.raw.deserialize(self.raw.template)
            self.raw.filled.clear()

    def look(self) -> object:
        """Return all that may have become different about the connection, its rows aside.

        Whatever could reach the next user's rows refers to it: a cursor, a variable of the test.
        """
        raw = self.raw
        (changes_of_schema,) = raw.execute("PRAGMA schema_version").fetchone()
        return (
            sys.getrefcount(raw),
            raw.altered,
            changes_of_schema,
            raw.row_factory,
            raw.text_factory,
            getattr(raw, "autocommit", None),  # Python 3.12
        )


def open_in_memory(
    staged: StagedInMemory, wrapper: DatabaseWrapper, *, database: Hashable
) -> HandleInMemory:
    """Return a connection to a test user's database; the pool counts it by ``database``.

    Whoever listens to ``connection_created`` cannot tell whether the raw connection is new:
    what they gave it for another user, it has not.
    """
    params = {**wrapper.get_connection_params(), "database": ":memory:", "factory": Connection}
    raw = spares.take(params, staged.template)
    if raw is not None:
        raw.fill(staged)
        return HandleInMemory(raw, database=database, user_key=staged.user_key)
    raw = cast("Connection", wrapper.get_new_connection(params))
    try:
        raw.params, raw.template = params, staged.template
        raw.deserialize(staged.template)
        raw.authorizer = restrict(raw)
        raw.altered, raw.filled = False, {}
        raw.fill(staged)
    except BaseException:
        raw.close()
        raise
    handle = HandleInMemory(raw, database=database, user_key=staged.user_key)
    del raw  # Lest it counts.
    handle.raw.at_first = handle.look()
    return handle
