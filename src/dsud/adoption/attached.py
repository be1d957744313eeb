"""How rows come from an SQLite ``default`` into a user's SQLite file: SQLite copies them itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections

from dsud.adoption.carriers import Carrier, Load
from dsud.adoption.plan import Plan
from dsud.adoption.record import CREATE, INSERT, Contents, rows_of
from dsud.adoption.statements import CHUNK, Statement, has_sequence, insertion, spelt
from dsud.adoption.values import Checksum, Content
from dsud.engines import engine

#: The name of the user's database on the connection whose own database is ``default``.
SCHEMA = "target"

#: Seconds to wait for a lock.
TIMEOUT = 30.0


def source_file() -> Path | None:
    """Return the file of ``default`` if that is SQLite, and nothing of it is uncommitted here."""
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return None
    path = Path(connection.settings_dict["NAME"])
    return path.absolute() if path.is_file() else None


@dataclass(frozen=True)
class Copied:
    """What is done with one table, written out once for all owners."""

    statement: Statement
    #: Finds the rows of an owner in ``default``.
    find: str
    #: The same, and puts them into the user's table.
    copy: str
    #: Reads the user's table, and empties it.
    read: str
    clear: str

    @property
    def label(self) -> str:
        """Return the model's label."""
        return self.statement.table.label

    @property
    def has_sequence(self) -> bool:
        """Tell whether the database issues the keys."""
        return has_sequence(self.statement.table.model)


def _copied(statement: Statement) -> Copied:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    insert = insertion(statement, connections[DEFAULT_DB_ALIAS], schema=f"{SCHEMA}.")
    # With the marks of SQLite in the place of Django's.
    find = statement.sql % tuple("?" for _ in statement.params)
    columns = ", ".join(map(quote, statement.columns))
    table = f"{SCHEMA}.{quote(statement.name)}"
    return Copied(
        statement,
        find,
        f"{insert} {find}",
        f"SELECT {columns} FROM {table}",  # noqa: S608, because models name them
        f"DELETE FROM {table}",  # noqa: S608
    )


class AttachedCarrier(Carrier):
    """Attaches each user's file to a connection that can only read ``default``."""

    def __init__(self, plan: Plan, source: Path) -> None:
        super().__init__(plan)
        self._raw = _open(source)
        # Another one, because inside its transaction the first would not see what others change.
        self._witness = _open(source)
        self._tables = list(map(_copied, self.statements))
        self._has_sequences = _has_sequences(self._raw)

    @contextmanager
    def open(self, key: str, labels: Collection[str], *, is_new: bool) -> Iterator[Load]:
        self._raw.execute(f"ATTACH ? AS {SCHEMA}", [engine().attachable(key)])
        try:
            self._relax(key, is_new=is_new)
            self._raw.execute("BEGIN")
            tables = [each for each in self._tables if each.label in labels]
            yield AttachedLoad(self._raw, tables, has_sequences=self._has_sequences)
            self._raw.execute("COMMIT")
        finally:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            self._raw.execute(f"DETACH {SCHEMA}")

    def _relax(self, key: str, *, is_new: bool) -> None:
        """Have SQLite sync no more than it must before anybody else can reach the database."""
        staged = engine().staged_here(key)
        if is_new and staged is not None and staged.syncs_at_publishing:
            # An error may leave it broken, and it is thrown away then.
            self._raw.execute(f"PRAGMA {SCHEMA}.journal_mode = OFF")
            synchronous = "OFF"
        else:
            # What is new is synced when it is detached.
            synchronous = "NORMAL" if is_new else "FULL"
        self._raw.execute(f"PRAGMA {SCHEMA}.synchronous = {synchronous}")

    def contents_of_source(self, key: str, owner: object, labels: Collection[str]) -> Contents:
        contents = {}
        owner = spelt(owner)
        self._witness.execute("BEGIN")
        try:
            for each in self._tables:
                if each.label in labels:
                    cursor = self._witness.execute(each.find, each.statement.params_for(owner))
                    contents[each.label] = checksum_of(cursor)
        finally:
            self._witness.execute("ROLLBACK")
        return contents

    def close(self) -> None:
        self._raw.close()
        self._witness.close()


class AttachedLoad(Load):
    """A user's file, attached."""

    def __init__(
        self, raw: sqlite3.Connection, tables: Sequence[Copied], *, has_sequences: bool
    ) -> None:
        """``has_sequences`` tells whether ``default`` remembers which keys it has issued."""
        self._raw = raw
        self._tables = tables
        self._has_sequences = has_sequences

    def clear(self) -> None:
        for each in self._tables:
            self._raw.execute(each.clear)

    def fill(self, owner: object) -> None:
        owner = spelt(owner)
        for each in self._tables:
            self._raw.execute(each.copy, each.statement.params_for(owner))
        broken = self._raw.execute(f"PRAGMA {SCHEMA}.foreign_key_check").fetchone()
        if broken is not None:
            table, row, parent, _ = broken
            raise IntegrityError(f"the row {row} of {table} points to no row of {parent}")
        if self._has_sequences:
            self._continue_sequences()

    def _continue_sequences(self) -> None:
        """Have keys issued beyond those of ``default``, those of deleted rows included."""
        mine = [each.statement.name for each in self._tables if each.has_sequence]
        marks = ", ".join("?" * len(mine))
        self._raw.execute(
            "UPDATE target.sqlite_sequence AS here SET seq ="  # noqa: S608
            " max(seq, (SELECT seq FROM main.sqlite_sequence WHERE name = here.name))"
            f" WHERE name IN ({marks}) AND name IN (SELECT name FROM main.sqlite_sequence)",
            mine,
        )
        self._raw.execute(
            "INSERT INTO target.sqlite_sequence (name, seq)"  # noqa: S608
            f" SELECT name, seq FROM main.sqlite_sequence WHERE name IN ({marks})"
            " AND name NOT IN (SELECT name FROM target.sqlite_sequence)",
            mine,
        )

    def contents(self) -> Contents:
        return {each.label: checksum_of(self._raw.execute(each.read)) for each in self._tables}

    def record(self, contents: Contents) -> None:
        self._raw.execute(CREATE.format(schema=f"{SCHEMA}."))
        self._raw.executemany(
            INSERT.format(schema=f"{SCHEMA}.", marks="?, ?, ?"), rows_of(contents)
        )


def checksum_of(cursor: sqlite3.Cursor) -> Content:
    """Return what a query finds, as it is stored."""
    checksum = Checksum()
    while rows := cursor.fetchmany(CHUNK):
        checksum.add(rows)
    return checksum.content()


def _open(path: Path) -> sqlite3.Connection:
    # The mode is that of this file only: a file that is attached has its own.
    uri = f"file:{quote(str(path))}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=TIMEOUT)


def _has_sequences(raw: sqlite3.Connection) -> bool:
    found = raw.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'")
    return found.fetchone() is not None
