"""The primary keys that SQLite gives to new rows: where they begin, and that none is given twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeAlias

from django.db.backends.base.base import BaseDatabaseWrapper

from dsud.engines.ranges import KeyRange

#: Runs a statement with ``%s`` for its parameters, and returns the rows.
Execute: TypeAlias = Callable[[str, Sequence[int | str]], list[tuple[object, ...]]]

#: Only once a database has a number it has the column, lest files of one schema differ without need.
FIND_NUMBER = "SELECT 1 FROM pragma_table_info('dsud_identity') WHERE name = 'number'"
ADD_NUMBER = "ALTER TABLE dsud_identity ADD COLUMN number INTEGER"
READ_NUMBER = "SELECT number FROM dsud_identity"
WRITE_NUMBER = "UPDATE dsud_identity SET number = %s"

# ``sqlite_sequence`` has the last key of each AUTOINCREMENT table, and no row before the first key;
# nothing keeps its names unique (https://www.sqlite.org/autoinc.html).
RAISE = """
    UPDATE sqlite_sequence SET seq = %s
    WHERE seq < %s AND name IN (SELECT value FROM json_each(%s))
"""
BEGIN = """
    INSERT INTO sqlite_sequence (name, seq)
    SELECT name, %s FROM sqlite_master
    WHERE type = 'table' AND instr(upper(sql), 'AUTOINCREMENT')
    AND name IN (SELECT value FROM json_each(%s))
    AND name NOT IN (SELECT name FROM sqlite_sequence)
"""
LAST = """
    SELECT coalesce(max(seq), 0) FROM sqlite_sequence
    WHERE name IN (SELECT value FROM json_each(%s))
"""
FIND_SEQUENCES = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"

#: Have a table that is made next, and renamed later, go on where another one is.
FORGET = "DELETE FROM sqlite_sequence WHERE name = {to}"
HAND_ON = "INSERT INTO sqlite_sequence (name, seq) SELECT {to}, seq FROM sqlite_sequence WHERE name = {of}"


def on(connection: BaseDatabaseWrapper) -> Execute:
    """Return what runs statements on Django's connection, in the transaction that is open."""

    def execute(sql: str, params: Sequence[int | str]) -> list[tuple[object, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())

    return execute


def on_raw(raw: sqlite3.Connection) -> Execute:
    """Return what runs statements on a connection that Django does not know of."""
    return lambda sql, params: raw.execute(sql.replace("%s", "?"), params).fetchall()


def number(execute: Execute) -> int | None:
    """Return the number that a database carries, or None for one that never got any."""
    if not execute(FIND_NUMBER, ()):
        return None
    rows = execute(READ_NUMBER, ())
    return None if not rows or rows[0][0] is None else int(str(rows[0][0]))


def begin(execute: Execute, keys: KeyRange) -> int:
    """Have new rows get keys of the range, note its number, and return the last key that was given.

    Rows that are there keep their keys. Doing it again changes nothing, but for new tables.
    """
    if not execute(FIND_NUMBER, ()):
        execute(ADD_NUMBER, ())
    execute(WRITE_NUMBER, (keys.number,))
    if not execute(FIND_SEQUENCES, ()):
        return 0
    tables = json.dumps(keys.tables)
    execute(RAISE, (keys.start, keys.start, tables))
    execute(BEGIN, (keys.start, tables))
    ((last,),) = execute(LAST, (tables,))
    return int(str(last))
