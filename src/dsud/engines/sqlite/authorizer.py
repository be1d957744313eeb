"""What SQL may do on a connection to a user database: nothing that leaves the user's own file."""

from __future__ import annotations

import sqlite3

from dsud.engines.hooks import Hooks, may_write_copies

# SQLITE_DBCONFIG_DEFENSIVE, which Python names since 3.12 (https://www.sqlite.org/c3ref/c_dbconfig_defensive.html).
_DEFENSIVE = 1010

#: What reaches beyond the connection, and no application needs: into memory, or the whole process.
_DENIED_FUNCTIONS = {"fts3_tokenizer", "load_extension"}
_DENIED_PRAGMAS = {
    "temp_store_directory",
    "data_store_directory",
    "hard_heap_limit",
    "soft_heap_limit",
    "writable_schema",
    "trusted_schema",
}


#: Those by which a connection that may only read would write: it must not free itself.
_WRITING_PRAGMAS = {"query_only", "journal_mode", "incremental_vacuum"}

#: What lives as long as the connection, so that the next lease would meet it.
_TEMPORARY = {
    sqlite3.SQLITE_CREATE_TEMP_INDEX,
    sqlite3.SQLITE_CREATE_TEMP_TABLE,
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
    sqlite3.SQLITE_CREATE_TEMP_VIEW,
}
#: Pragmas that change nothing, although they have an argument.
_LOOKING_PRAGMAS = {
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
}


#: What changes rows.
_WRITING = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}

#: What the authorizer looks at; everything else, each column that is read, passes at once.
_NOTICED = {sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_PRAGMA, *_TEMPORARY, *_WRITING}


class Authorizer:
    """Denies what injected SQL could leave the user's own file by, and notices lasting changes.

    SQLite asks it once for each statement that it prepares, with all that the statement does
    (https://www.sqlite.org/c3ref/set_authorizer.html).
    """

    __slots__ = ("changed", "is_read_only")

    def __init__(self) -> None:
        self.changed = False
        self.is_read_only = False

    def __call__(
        self, action: int, first: str | None, second: str | None, *where: str | None
    ) -> int:
        if action not in _NOTICED:
            return sqlite3.SQLITE_OK
        if action in _WRITING:
            return _denied_if(_is_copied(str(first)) and where[0] == "main")
        if action == sqlite3.SQLITE_FUNCTION:
            return _denied_if((second or "").lower() in _DENIED_FUNCTIONS)
        pragma = (first or "").lower()
        if action == sqlite3.SQLITE_PRAGMA and (second is None or pragma in _LOOKING_PRAGMAS):
            return sqlite3.SQLITE_OK  # Reading harms nobody; a pragma has a value when it is set.
        self.changed = True
        denied = _DENIED_PRAGMAS | (_WRITING_PRAGMAS if self.is_read_only else set())
        return _denied_if(action == sqlite3.SQLITE_PRAGMA and pragma in denied)


def _is_copied(table: str) -> bool:
    """Tell whether a table holds copies of shared rows that may not be written now."""
    tables = Hooks.copied_tables
    return tables is not None and table in tables() and not may_write_copies.get()


def _denied_if(dangerous: bool) -> int:  # noqa: FBT001, because it reads as a phrase
    return sqlite3.SQLITE_DENY if dangerous else sqlite3.SQLITE_OK


def restrict(raw: sqlite3.Connection) -> Authorizer:
    """Keep whatever runs on a connection inside its own database."""
    raw.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    if hasattr(raw, "setconfig"):  # Python 3.12
        raw.setconfig(_DEFENSIVE, True)
    authorizer = Authorizer()
    raw.set_authorizer(authorizer)
    return authorizer
