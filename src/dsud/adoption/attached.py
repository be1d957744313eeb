"""How rows come from an SQLite ``default`` into a user's SQLite file: SQLite copies them itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
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


class AttachedCarrier(Carrier):
    """Attaches each user's file to a connection that can only read ``default``."""

    def __init__(self, plan: Plan, source: Path) -> None:
        super().__init__(plan)
        self._raw = _open(source)
        # Another one, because inside its transaction the first would not see what others change.
        self._witness = _open(source)
        self._has_sequences = _has_sequences(self._raw)
        self._sql = {each.name: _positional(each) for each in self.statements}
        connection = connections[DEFAULT_DB_ALIAS]
        self._insertions = {
            each.name: f"{insertion(each, connection, schema=f'{SCHEMA}.')} {self._sql[each.name]}"
            for each in self.statements
        }

    @contextmanager
    def open(self, key: str, labels: Collection[str], *, is_new: bool) -> Iterator[Load]:
        self._raw.execute(f"ATTACH ? AS {SCHEMA}", [engine().attachable(key)])
        try:
            # What is new is synced when it is detached, and nobody's before.
            synchronous = "NORMAL" if is_new else "FULL"
            self._raw.execute(f"PRAGMA {SCHEMA}.synchronous = {synchronous}")
            self._raw.execute("BEGIN")
            yield AttachedLoad(self, self.chosen(labels))
            self._raw.execute("COMMIT")
        finally:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            self._raw.execute(f"DETACH {SCHEMA}")

    def contents_of_source(self, key: str, owner: object, labels: Collection[str]) -> Contents:
        contents = {}
        self._witness.execute("BEGIN")
        try:
            for each in self.chosen(labels):
                cursor = self._witness.execute(self._sql[each.name], each.params_for(spelt(owner)))
                contents[each.table.label] = checksum_of(cursor)
        finally:
            self._witness.execute("ROLLBACK")
        return contents

    def close(self) -> None:
        self._raw.close()
        self._witness.close()

    def copy(self, statement: Statement, owner: object) -> None:
        """Copy the rows of an owner."""
        self._raw.execute(self._insertions[statement.name], statement.params_for(spelt(owner)))

    def raw(self) -> sqlite3.Connection:
        """Return the connection that has the user's file attached."""
        return self._raw

    def issued(self) -> list[tuple[str, int]]:
        """Return the highest key that ``default`` has issued for each table."""
        if not self._has_sequences:
            return []
        return self._raw.execute("SELECT name, seq FROM main.sqlite_sequence").fetchall()


class AttachedLoad(Load):
    """A user's file, attached."""

    def __init__(self, carrier: AttachedCarrier, statements: Sequence[Statement]) -> None:
        self._carrier = carrier
        self._statements = statements
        self._raw = carrier.raw()

    def clear(self) -> None:
        for each in self._statements:
            self._raw.execute(f"DELETE FROM {SCHEMA}.{_quoted(each.name)}")  # noqa: S608

    def fill(self, owner: object) -> None:
        for each in self._statements:
            self._carrier.copy(each, owner)
        broken = self._raw.execute(f"PRAGMA {SCHEMA}.foreign_key_check").fetchone()
        if broken is not None:
            table, row, parent, _ = broken
            raise IntegrityError(f"the row {row} of {table} points to no row of {parent}")
        self._continue_sequences()

    def _continue_sequences(self) -> None:
        """Have keys issued beyond those of ``default``, those of deleted rows included."""
        mine = {each.name for each in self._statements if has_sequence(each.table.model)}
        for name, key in self._carrier.issued():
            if name not in mine:
                continue
            found = self._raw.execute(
                "UPDATE target.sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", [key, name]
            )
            if not found.rowcount:
                self._raw.execute(
                    "INSERT INTO target.sqlite_sequence (name, seq) VALUES (?, ?)", [name, key]
                )

    def contents(self) -> Contents:
        contents = {}
        for each in self._statements:
            columns = ", ".join(map(_quoted, each.columns))
            cursor = self._raw.execute(
                f"SELECT {columns} FROM {SCHEMA}.{_quoted(each.name)}"  # noqa: S608
            )
            contents[each.table.label] = checksum_of(cursor)
        return contents

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


def _positional(statement: Statement) -> str:
    """Return the query with the marks of SQLite in the place of Django's."""
    return statement.sql % tuple("?" for _ in statement.params)


def _quoted(name: str) -> str:
    return connections[DEFAULT_DB_ALIAS].ops.quote_name(name)
