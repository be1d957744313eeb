"""How rows come from ``default`` into a user database, whatever the two databases are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from dsud.adoption.plan import Plan
from dsud.adoption.record import CREATE, INSERT, Contents, rows_of
from dsud.adoption.statements import (
    CHUNK,
    Statement,
    highest_keys,
    insertion,
    spelt,
    statements,
    stream,
)
from dsud.adoption.values import Checksum, Spelling
from dsud.connections import alias_of


class Load(ABC):
    """A user database with a transaction open, into which the rows of some tables are being put."""

    @abstractmethod
    def clear(self) -> None:
        """Delete the rows that a new database has from its migrations."""

    @abstractmethod
    def fill(self, owner: object) -> None:
        """Copy the rows of an owner with their keys, and what issues further keys.

        Raises an error of the database when a key points to a row that is not there.
        """

    @abstractmethod
    def contents(self) -> Contents:
        """Return what the database holds now of each table."""

    @abstractmethod
    def record(self, contents: Contents) -> None:
        """Note in the database what was moved."""


class Carrier(ABC):
    """Puts rows of ``default`` into one user database after the other."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.statements = statements(plan)

    @abstractmethod
    def open(
        self, key: str, labels: Collection[str], *, is_new: bool
    ) -> AbstractContextManager[Load]:
        """Open a user's database, as that user, in a transaction that ends with the block.

        Only the tables of the models with these labels are looked at.
        """

    @abstractmethod
    def contents_of_source(self, key: str, owner: object, labels: Collection[str]) -> Contents:
        """Return what ``default`` holds now of an owner's rows."""

    def chosen(self, labels: Collection[str]) -> list[Statement]:
        """Return the statements of some tables, in their order."""
        return [each for each in self.statements if each.table.label in labels]

    @abstractmethod
    def close(self) -> None:
        """Close what is open."""


class StreamingCarrier(Carrier):
    """Reads and writes some rows at a time through Django's connections."""

    @contextmanager
    def open(self, key: str, labels: Collection[str], *, is_new: bool) -> Iterator[Load]:
        alias = alias_of(key)
        with transaction.atomic(using=alias):
            yield StreamingLoad(self.chosen(labels), connections[alias])
        if connections[alias].vendor == "sqlite":
            # Because a commit may be durable only then, and what it holds may be deleted elsewhere.
            with connections[alias].cursor() as cursor:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def contents_of_source(self, key: str, owner: object, labels: Collection[str]) -> Contents:
        contents = {}
        for statement in self.chosen(labels):
            spelling, checksum = (
                Spelling(statement.fields, connections[alias_of(key)], other=DEFAULT_DB_ALIAS),
                Checksum(),
            )
            for rows in stream(statement, spelt(owner)):
                checksum.add(spelling.rows(rows))
            contents[statement.table.label] = checksum.content()
        return contents

    def close(self) -> None:
        """Leave Django's connections to Django."""


class StreamingLoad(Load):
    """A user database that is reached through Django."""

    def __init__(self, statements: Sequence[Statement], connection: BaseDatabaseWrapper) -> None:
        self._statements = statements
        self._connection = connection

    def _quoted(self, statement: Statement) -> str:
        return self._connection.ops.quote_name(statement.name)

    def clear(self) -> None:
        with self._connection.cursor() as cursor:
            for statement in reversed(self._statements):
                cursor.execute(f"DELETE FROM {self._quoted(statement)}")  # noqa: S608

    def fill(self, owner: object) -> None:
        for statement in self._statements:
            spelling = Spelling(statement.fields, self._connection, other=DEFAULT_DB_ALIAS)
            marks = ", ".join("%s" for _ in statement.fields)
            insert = f"{insertion(statement, self._connection)} VALUES ({marks})"
            with self._connection.cursor() as cursor:
                for rows in stream(statement, spelt(owner)):
                    cursor.executemany(insert, cast("list[tuple[str, ...]]", spelling.rows(rows)))
        self._connection.check_constraints()
        self._continue_sequences()

    def _continue_sequences(self) -> None:
        """Have keys issued beyond those of ``default``, those of deleted rows included."""
        if self._connection.vendor != "sqlite":
            models = [each.table.model for each in self._statements]
            with self._connection.cursor() as cursor:
                for sql in self._connection.ops.sequence_reset_sql(no_style(), models):
                    cursor.execute(sql)
            return
        with self._connection.cursor() as cursor:
            for name, key in highest_keys([each.table for each in self._statements]).items():
                cursor.execute(
                    "UPDATE sqlite_sequence SET seq = max(seq, %s) WHERE name = %s", [key, name]
                )
                if not cursor.rowcount:
                    cursor.execute(
                        "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [name, key]
                    )

    def contents(self) -> Contents:
        contents = {}
        for statement in self._statements:
            spelling, checksum = (
                Spelling(statement.fields, self._connection, other=DEFAULT_DB_ALIAS),
                Checksum(),
            )
            columns = ", ".join(map(self._connection.ops.quote_name, statement.columns))
            with self._connection.cursor() as cursor:
                cursor.execute(f"SELECT {columns} FROM {self._quoted(statement)}")  # noqa: S608
                while rows := cursor.fetchmany(CHUNK):
                    checksum.add(spelling.rows(rows))
            contents[statement.table.label] = checksum.content()
        return contents

    def record(self, contents: Contents) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(CREATE.format(schema=""))
            cursor.executemany(INSERT.format(schema="", marks="%s, %s, %s"), rows_of(contents))
