"""What a SQLite file of an older site holds: what stays, what is another database's, what nobody knows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps

from dsud.router import is_user_model

#: What SQLite and Django's migrations keep beside the tables of models.
KEPT_ALWAYS = ("sqlite_", "django_migrations")

TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"

#: A key to another table, as Django writes it into the definition of a column.
REFERENCE = (
    r'\s+REFERENCES\s+"?{table}"?\s*\([^)]*\)'
    r"(?:\s+(?:NOT\s+)?DEFERRABLE|\s+INITIALLY\s+\w+|\s+ON\s+(?:DELETE|UPDATE)\s+\w+(?:\s+(?:NULL|DEFAULT|ACTION))?)*"
)


@dataclass(frozen=True)
class Contents:
    """How many rows each table of a file has."""

    #: Tables of user models.
    kept: dict[str, int]

    #: Tables of shared models, whose rows are in ``default``, or nowhere.
    dropped: dict[str, int]

    #: Tables of no model that there is now, which are kept as well.
    unknown: dict[str, int]


def contents_of(connection: sqlite3.Connection) -> Contents:
    """Count the rows of a file, table by table."""
    homes = {
        model._meta.db_table.lower(): is_user_model(model)
        for model in apps.get_models(include_auto_created=True)
    }
    contents = Contents({}, {}, {})
    for table in tables(connection):
        home = homes.get(table.lower())
        where = contents.unknown if home is None else contents.kept if home else contents.dropped
        ((where[table],),) = connection.execute(f"SELECT count(*) FROM {quoted(table)}")  # noqa: S608
    return contents


def tables(connection: sqlite3.Connection) -> list[str]:
    """Return the tables of a file that hold rows of an application."""
    names = [str(name) for (name,) in connection.execute(TABLES)]
    return [name for name in names if not name.startswith(KEPT_ALWAYS)]


def quoted(name: str) -> str:
    """Spell a name that a file gives so that it is nothing but a name."""
    return '"' + name.replace('"', '""') + '"'


def fit(connection: sqlite3.Connection, contents: Contents) -> None:
    """Drop what is another database's, and keys to tables that the file has not got, or not any more.

    Raises ``sqlite3.DatabaseError`` when a key is left that SQLite could not check.
    """
    for table in contents.dropped:
        connection.execute(f"DROP TABLE {quoted(table)}")
    _drop_references(connection)
    for table, parent in _missing_parents(connection):
        raise sqlite3.DatabaseError(f"the table {table} has a key to {parent}, which is not there")
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise sqlite3.IntegrityError(
            f"row {broken[1]} of the table {broken[0]} has a key to a row of {broken[2]} that is not"
            " there"
        )


def _missing_parents(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    there = {name.lower() for name in tables(connection)}
    keys = 'SELECT DISTINCT "table" FROM pragma_foreign_key_list(?) ORDER BY 1'
    for table in tables(connection):
        for (parent,) in connection.execute(keys, (table,)).fetchall():
            if str(parent).lower() not in there:
                yield table, str(parent)


def _drop_references(connection: sqlite3.Connection) -> None:
    """Take the constraints out of the definitions, by the procedure for what changes no row.

    See the end of https://www.sqlite.org/lang_altertable.html#otheralter.
    """
    missing = list(_missing_parents(connection))
    if not missing:
        return
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    connection.execute("BEGIN")
    connection.execute("PRAGMA writable_schema = ON")
    for table, parent in missing:
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
        without = re.sub(REFERENCE.format(table=re.escape(parent)), "", sql, flags=re.IGNORECASE)
        connection.execute(
            "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (without, table)
        )
    connection.execute(f"PRAGMA schema_version = {version + 1}")
    connection.execute("PRAGMA writable_schema = OFF")
    connection.execute("COMMIT")
