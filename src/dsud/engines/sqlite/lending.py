"""Django's SQL functions, given to connections for recorded statements only where one may be called."""

from __future__ import annotations

import functools
import re
import sqlite3
from contextlib import closing

# Private to Django, and the same since 4.2: if it moves, this module cannot be imported.
from django.db.backends.sqlite3._functions import register  # type: ignore[import-untyped]

_OF_CODE = "SELECT DISTINCT lower(name) FROM pragma_function_list WHERE NOT builtin"


def lend(raw: sqlite3.Connection, *, text: str) -> None:
    """Register all of them if any is named in a text: statements, and the schema that they work on.

    SQLite looks for a function when a statement calls it, not when it reads the schema.
    """
    if _may_call(text):
        register(raw)


@functools.lru_cache(maxsize=64)
def _may_call(text: str) -> bool:
    return not _names().isdisjoint(re.findall(r"\w+", text.lower()))


@functools.cache
def _names() -> frozenset[str]:
    """Return the names of Django's functions, those included that SQLite has, too."""
    with closing(sqlite3.connect(":memory:")) as raw:
        before = set(raw.execute(_OF_CODE))
        register(raw)
        return frozenset(name for (name,) in set(raw.execute(_OF_CODE)) - before)
