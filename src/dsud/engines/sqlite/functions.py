"""Django's SQL functions, given to a connection when one of its statements first needs one."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, NamedTuple, Self

from django.db.backends.sqlite3._functions import (  # type: ignore[import-untyped]
    register,
)

#: What gives a connection functions of its own, or takes away Django's: those must be there before.
_GIVING = (
    "create_aggregate",
    "create_function",
    "create_window_function",
    "enable_load_extension",
    "load_extension",
)

#: A method of a connection, and what it is called with.
Call = tuple[str, tuple[object, ...], Mapping[str, object]]


class Functions(NamedTuple):
    """What Django registers: names that SQLite has itself mean SQLite's own unless it is at once."""

    at_once: tuple[Call, ...]
    when_needed: tuple[Call, ...]


class Rehearsal(sqlite3.Connection):
    """A connection that takes down which functions it is given."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.calls: list[Call] = []

    def create_function(self, *args: object, **kwargs: object) -> None:
        self._take_down("create_function", args, kwargs)

    def create_aggregate(self, *args: object, **kwargs: object) -> None:
        self._take_down("create_aggregate", args, kwargs)

    def _take_down(self, name: str, args: tuple[object, ...], given: Mapping[str, object]) -> None:
        self.calls.append((name, args, given))


@functools.cache
def functions() -> Functions:
    """Return what ``register`` gives a connection, found once for each process.

    ``django.db.backends.sqlite3._functions`` is private; ``register(connection)`` is the same from
    Django 5.2 to 6.1. If it goes, nothing can be imported; if it gives functions by other methods,
    they are missing, and what needs them fails with "no such function".
    """
    with closing(Rehearsal()) as rehearsal:
        native = {
            name.lower() for (name,) in rehearsal.execute("SELECT name FROM pragma_function_list")
        }
        register(rehearsal)
    calls = rehearsal.calls
    at_once = tuple(call for call in calls if str(call[1][0]).lower() in native)
    return Functions(at_once, tuple(call for call in calls if call not in at_once))


class Connection(sqlite3.Connection):
    """A connection that gets most of Django's functions when a statement is refused for lack of one.

    To give all of them takes a tenth of what opening takes, and few statements need any.
    SQLite refuses such a statement before it does anything, so it can be tried once more.
    """

    #: Whether functions of Django's are still to come.
    lacks_functions = True

    def cursor(self, factory: type[sqlite3.Cursor] | None = None) -> sqlite3.Cursor:  # type: ignore[override]
        """Return a cursor that has the functions come."""
        return super().cursor(factory or Cursor)

    # Python's own would not ask the cursor.

    def execute(self, sql: str, /, *parameters: object) -> sqlite3.Cursor:
        return self.cursor().execute(sql, *parameters)  # type: ignore[arg-type]

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        return self.cursor().executescript(sql_script)

    def add_functions(self) -> None:
        """Give it the functions that it lacks, once."""
        if self.lacks_functions:
            self.lacks_functions = False
            _give(self, functions().when_needed)


def _after_functions(name: str) -> object:
    method = getattr(sqlite3.Connection, name)

    @functools.wraps(method)
    def given(self: Connection, *args: object, **kwargs: object) -> object:
        # Lest Django's come later and take the place of what the site gives.
        self.add_functions()
        return method(self, *args, **kwargs)

    return given


for _name in _GIVING:
    if hasattr(sqlite3.Connection, _name):  # Extensions can be left out of Python.
        setattr(Connection, _name, _after_functions(_name))


def _give(raw: Connection, calls: Iterable[Call]) -> None:
    for name, args, kwargs in calls:
        getattr(sqlite3.Connection, name)(raw, *args, **kwargs)


class Cursor(sqlite3.Cursor):
    """A cursor that has its connection given Django's functions when a statement needs one."""

    def execute(self, sql: str, /, *parameters: object) -> Self:
        raw = self.connection
        if not getattr(raw, "lacks_functions", False):
            return super().execute(sql, *parameters)  # type: ignore[arg-type]
        try:
            return super().execute(sql, *parameters)  # type: ignore[arg-type]
        except sqlite3.OperationalError as error:
            # "no such function: MD5"; "unknown function: MD5()" where an index or a check has it.
            if "function" not in str(error):
                raise
        raw.add_functions()  # type: ignore[attr-defined]
        return super().execute(sql, *parameters)  # type: ignore[arg-type]

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Self:
        # What was read of the parameters, or done by then, could not be had once more.
        self._add_functions()
        return super().executemany(sql, parameters)

    def executescript(self, sql_script: str, /) -> Self:
        self._add_functions()  # Because what comes before would be done twice.
        super().executescript(sql_script)
        return self

    def _add_functions(self) -> None:
        if getattr(self.connection, "lacks_functions", False):
            self.connection.add_functions()  # type: ignore[attr-defined]


def connect(params: Mapping[str, object]) -> Connection:
    """Open a file as Django's ``get_new_connection`` does, but for the functions."""
    raw: Connection = sqlite3.connect(**params, factory=Connection)  # type: ignore[call-overload]
    _give(raw, functions().at_once)
    return raw
