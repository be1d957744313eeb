"""What the rest of dsud tells the engines: whom to call, and which tables are nobody's to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

#: Whether this context may write the copies of shared rows in user databases.
may_write_copies: ContextVar[bool] = ContextVar("dsud_may_write_copies", default=False)


@contextmanager
def writing_copies() -> Iterator[None]:
    """Allow the copies of shared rows to be written for a block: by migrations, and when they are renewed."""
    token = may_write_copies.set(True)
    try:
        yield
    finally:
        may_write_copies.reset(token)


class JudgeSchema(Protocol):
    """Says whether a database may be used whose schema is not that of the code."""

    def __call__(self, connection: BaseDatabaseWrapper, /, *, opened: bool) -> bool:
        """Tell whether what was opened need not be judged again; raise when it must not be used."""


class Hooks:
    """What every engine calls, and knows nothing else of."""

    #: Called with a user's key when a database is opened that does not exist; makes it or raises.
    when_missing: ClassVar[Callable[[str], None] | None] = None

    #: Called with the Django connection before it makes a cursor for a user's database; may refuse.
    before_cursor: ClassVar[Callable[[BaseDatabaseWrapper], None] | None] = None

    #: Returns the tables that hold copies of shared rows: to be written while ``may_write_copies`` only.
    copied_tables: ClassVar[Callable[[], frozenset[str]] | None] = None

    #: Called with the Django connection that has leased a database for which it was not called yet, or
    #: has not said True; it may refuse it, and may close and connect the connection once more. With
    #: ``opened=False`` after a statement failed, perhaps because the schema has changed since.
    judge_schema: ClassVar[JudgeSchema | None] = None

    #: Called with a user's key before a cursor for their database executes or fetches; may refuse.
    before_cursor_use: ClassVar[Callable[[str], None] | None] = None


def keep_copies_in(tables: Callable[[], frozenset[str]]) -> None:
    """Tell the engines in which tables of user databases there are copies of shared rows."""
    Hooks.copied_tables = staticmethod(tables)


def provide_missing_with(provide: Callable[[str], None]) -> None:
    """Tell the engines what to call when a database is opened that does not exist.

    It gets the user's key and makes the database or raises; the query path itself knows no registry.
    """
    Hooks.when_missing = staticmethod(provide)


def judge_schemas_with(judge: JudgeSchema) -> None:
    """Tell the engines what to call when they have opened a database that is there."""
    Hooks.judge_schema = staticmethod(judge)


def ask_before_cursors(
    ask: Callable[[BaseDatabaseWrapper], None], *, before_use: Callable[[str], None]
) -> None:
    """Tell the engines what to call before a cursor for a user's database is made, and each use."""
    Hooks.before_cursor = staticmethod(ask)
    Hooks.before_cursor_use = staticmethod(before_use)
