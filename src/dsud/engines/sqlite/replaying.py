"""Recorded migrations on SQLite: schema clones, states, and one transaction for a whole plan."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias, cast

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import SQLiteCursorWrapper
from django.db.transaction import TransactionManagementError, atomic

from dsud.engines.hooks import writing_copies
from dsud.engines.replaying import DatabaseState, Parameters, Replayer, Run
from dsud.engines.sqlite import image, lending

#: Has a connection work on a user's file, for a block that is told whether it does.
Opener: TypeAlias = Callable[[str, BaseDatabaseWrapper], AbstractContextManager[bool]]

#: By primary result code (https://www.sqlite.org/rescode.html).
REMEDIES = {
    sqlite3.SQLITE_BUSY: "Somebody else writes to it for longer than the timeout; wait for that to end.",
    sqlite3.SQLITE_READONLY: "Give this process the right to write the file and its directory.",
    sqlite3.SQLITE_FULL: "Make room on the disk.",
}

#: As Django's ``MigrationRecorder`` makes it, since it exists.
FIND_LEDGER = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'django_migrations'"
# As text, because Python's module would read a time that is none as NULL.
READ_LEDGER = "SELECT id, app, name, CAST(applied AS TEXT) FROM django_migrations"
WRITE_LEDGER = "INSERT INTO django_migrations (id, app, name, applied) VALUES (?, ?, ?, ?)"
READ_APPLIED = "SELECT app, name FROM django_migrations"

# Sorted, because a table that was built anew comes last; compared as text, which is twice as fast as
# hashing it. What SQLite makes itself (`sqlite_` is reserved) follows from the rest, and statistics
# are no schema. The SQL of an object names it and its table.
_SCHEMA = r"""
SELECT group_concat(sql, char(10)) FROM (
    SELECT sql FROM sqlite_master
    WHERE sql IS NOT NULL AND (name < 'sqlite_' OR name >= 'sqlite`') ORDER BY sql
)
"""

# In the order in which they were made, because triggers and views need their tables. Tables that a
# virtual table keeps its data in are made by making that.
_DEFINITIONS = r"""
SELECT sql FROM sqlite_master
WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow' AND schema = 'main')
ORDER BY type = 'trigger', type = 'view', rowid
"""

# Left on, legacy_alter_table would leave keys pointing to the table that was built anew under its old
# name. Durable, because the registry, on another disk perhaps, will say that it is done.
_READY = "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = OFF; PRAGMA synchronous = FULL;"

_COMMENTS = re.compile(r"(?:\s|;|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)

# VACUUM and ATTACH fail inside a transaction, some pragmas do nothing there, the others end it.
_OWN_TRANSACTION = re.compile(
    r"(?:PRAGMA|VACUUM|ATTACH|DETACH|BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE|REINDEX|ANALYZE)\b",
    re.IGNORECASE,
)

_TRANSIENT = re.compile(r"(?:PRAGMA|BEGIN|COMMIT|END|ROLLBACK|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_OF_THE_SCHEMA = re.compile(
    r"SELECT\b.*\b(?:sqlite_master|pragma_\w+)\b", re.IGNORECASE | re.DOTALL
)


# What neither writes keys nor drops or makes what keys point to.
_BESIDE_KEYS = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\b|ALTER\s+TABLE\s+\S+\s+ADD\s+COLUMN\b(?!.*\bREFERENCES\b)",
    re.IGNORECASE | re.DOTALL,
)

#: The conversion is a method of Django's cursor (since 1.4) that asks nothing of it.
_NO_CURSOR = cast("SQLiteCursorWrapper", None)


def compiled(sql: str, params: Parameters | None) -> tuple[str, Parameters]:
    """Do to a statement what Django's cursor would do to it each time."""
    if params is None:
        return sql, ()
    names = list(params) if isinstance(params, Mapping) else None
    converted = SQLiteCursorWrapper.convert_query(_NO_CURSOR, sql, param_names=names)
    return converted, params if isinstance(params, Mapping) else tuple(params)


def beginning(sql: str) -> str:
    """Return a statement without the comments and blanks before it.

    Django drops comments only where ``RunSQL`` splits a script into statements.
    """
    return sql[cast("re.Match[str]", _COMMENTS.match(sql)).end() :]


def _raw(connection: BaseDatabaseWrapper) -> sqlite3.Connection:
    if connection.connection is None:
        connection.ensure_connection()
    return cast("sqlite3.Connection", connection.connection)


class SQLiteReplayer(Replayer):
    """How recorded migrations are replayed on SQLite files."""

    def __init__(self, open_quickly: Opener | None = None) -> None:
        self._open_quickly = open_quickly

    def opened(
        self, user_key: str, connection: BaseDatabaseWrapper
    ) -> AbstractContextManager[bool]:
        """Open the user's file with as little around it as statements need."""
        if self._open_quickly is None:
            return super().opened(user_key, connection)
        return self._open_quickly(user_key, connection)

    def remedy(self, error: BaseException) -> str:
        """Tell by SQLite's code what is in the way."""
        code = getattr(error.__cause__, "sqlite_errorcode", 0)
        return REMEDIES.get(code & 0xFF, "")

    def blank(self) -> dict[str, object]:
        """Return the settings of a database in memory."""
        # The name is spelt so, because Django never closes what it calls ":memory:".
        return {"NAME": "file::memory:", "OPTIONS": {}}

    def copy_schema(self, source: BaseDatabaseWrapper, target: BaseDatabaseWrapper) -> None:
        """Run the definitions of one database on another, and copy its ledger."""
        there, here = _raw(source), _raw(target)
        for (sql,) in there.execute(_DEFINITIONS).fetchall():
            here.execute(sql)
        if _has_ledger(there):
            here.executemany(WRITE_LEDGER, there.execute(READ_LEDGER).fetchall())

    def state(self, connection: BaseDatabaseWrapper) -> DatabaseState:
        """Return what ``sqlite_master`` and the ledger say."""
        raw = _raw(connection)
        with connection.wrap_database_errors:
            (schema,) = raw.execute(_SCHEMA).fetchone()
            applied = frozenset(_applied(raw))
        return DatabaseState(schema=schema or "", applied=applied)

    def version(self, connection: BaseDatabaseWrapper) -> object:
        """Return what SQLite counts: the commits of others, and changed rows of our own."""
        raw = _raw(connection)
        with connection.wrap_database_errors:
            (of_others,) = raw.execute("PRAGMA data_version").fetchone()
        return of_others, raw.total_changes

    @contextmanager
    def transaction(
        self, connection: BaseDatabaseWrapper, *, is_trusted: bool = False
    ) -> Iterator[None]:
        """Turn foreign keys off, which SQLite ignores inside a transaction, and begin one.

        Otherwise building a table anew would delete the rows that cascade from it, without an error.
        """
        raw = _raw(connection)
        _make_ready(raw)
        if is_trusted:
            # SQLite would ask it about each column of each statement that it prepares.
            raw.set_authorizer(None)
        try:
            with _of_statements(connection) if is_trusted else _of_code(connection):
                yield
        finally:
            if connection.connection is raw:  # It is gone when its file is.
                raw.execute("PRAGMA foreign_keys = ON")

    @contextmanager
    def transaction_apart(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """Leave foreign keys off, because the connection is closed afterwards."""
        raw = _raw(connection)
        _make_ready(raw)
        with _of_statements(connection):
            yield

    def lend_functions(self, connection: BaseDatabaseWrapper, *, text: str) -> None:
        """Register Django's functions where one is named."""
        lending.lend(_raw(connection), text=text)

    def check_constraints(self, connection: BaseDatabaseWrapper) -> None:
        """Have SQLite look first, and Django only where there is something to tell."""
        if _raw(connection).execute("PRAGMA foreign_key_check").fetchone() is not None:
            connection.check_constraints()

    def compiled(self, sql: str, params: Parameters | None) -> tuple[str, Parameters]:
        """Do to a statement what Django's cursor would do to it each time."""
        return compiled(sql, params)

    def runner(self, connection: BaseDatabaseWrapper) -> Run:
        """Return what runs statements by one cursor, neither Django's nor ours, which watch each."""
        cursor, wrapped = sqlite3.Cursor(_raw(connection)), connection.wrap_database_errors
        execute, fetchall = cursor.execute, cursor.fetchall

        def run(sql: str, params: Parameters) -> None:
            try:
                execute(sql, params)
                fetchall()
            except (
                sqlite3.Error
            ):  # Only now, because a block around each would take as long as some.
                with wrapped:
                    raise

        return run

    def needs_its_own_transaction(self, sql: str) -> bool:
        """Tell whether a statement would fail or do nothing, or end the transaction."""
        return _OWN_TRANSACTION.match(beginning(sql)) is not None

    def is_lasting(self, sql: str) -> bool:
        """Tell whether a statement does more than to look at the schema or move in transactions."""
        start = beginning(sql)
        return _TRANSIENT.match(start) is None and _OF_THE_SCHEMA.match(start) is None

    def leaves_keys_alone(self, sql: str) -> bool:
        """Tell whether a statement makes an index, or a column that is no key."""
        return _BESIDE_KEYS.match(beginning(sql)) is not None

    def stamp(self, connection: BaseDatabaseWrapper, fingerprint: str) -> None:
        """Set ``user_version``, which is part of the transaction."""
        image.stamp(_raw(connection), fingerprint)

    def has_stamp(self, connection: BaseDatabaseWrapper, fingerprint: str) -> bool:
        """Ask for ``user_version``."""
        return image.has_stamp(_raw(connection), fingerprint)


def _make_ready(raw: sqlite3.Connection) -> None:
    if not raw.in_transaction:
        sqlite3.Cursor(raw).executescript(_READY)  # By ours it would be given Django's functions.
    if raw.in_transaction or raw.execute("PRAGMA foreign_keys").fetchone() != (0,):
        raise TransactionManagementError(
            "Migrations cannot be replayed inside a transaction, because SQLite cannot turn"
            " foreign keys off there. Migrate the database before the transaction."
        )


@contextmanager
def _of_code(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Open a transaction that Django knows of, because its code may run inside."""
    mode, connection.transaction_mode = connection.transaction_mode, "IMMEDIATE"  # type: ignore[attr-defined]
    try:
        with atomic(using=connection.alias, durable=True), writing_copies():
            yield
    finally:
        connection.transaction_mode = mode  # type: ignore[attr-defined]


@contextmanager
def _of_statements(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Open a transaction that only SQLite knows of, which costs a third."""
    raw = _raw(connection)
    with connection.wrap_database_errors:
        raw.execute("BEGIN IMMEDIATE")
        try:
            yield
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise


def _applied(raw: sqlite3.Connection) -> list[tuple[str, str]]:
    try:
        return raw.execute(READ_APPLIED).fetchall()
    except sqlite3.OperationalError:
        if _has_ledger(raw):
            raise
        return []


def _has_ledger(raw: sqlite3.Connection) -> bool:
    return raw.execute(FIND_LEDGER).fetchone() is not None
