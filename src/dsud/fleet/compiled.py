"""Aggregates of a query, compiled once for all users who are asked the same."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models import Aggregate, F, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Star
from django.db.models.sql import Query
from django.utils import timezone

from dsud.connections import alias_of
from dsud.engines import engine
from dsud.engines.abilities import ReadingCursor
from dsud.exceptions import DSUDError
from dsud.fleet.outcomes import ReadOnly
from dsud.stamps import JUDGED_FOR, STAMP, VALUES, Stamp

AnyQuerySet: TypeAlias = "QuerySet[Any, Any]"
Values: TypeAlias = tuple[object, ...]

#: What tells one query from another, for as long as its statement is kept.
Name: TypeAlias = tuple[object, ...]

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

#: Different queries whose statements are kept.
MOST = 50


class QueryRefused(DSUDError):
    """Raised for a query that cannot be put to all user databases, or not be put together."""


@dataclass(frozen=True)
class Statement:
    """A compiled query, and how its values become Python's."""

    sql: str
    params: Sequence[object]
    convert: Callable[[Sequence[object]], Values]

    def run(self, cursor: ReadingCursor) -> Values:
        """Run it on one user's database."""
        cursor.execute(self.sql, self.params)
        return self.convert(cursor.fetchone())


class Statements:
    """The aggregates of one question, by the queries that were met so far.

    What is private, and what breaks when it changes (seen on Django 5.2 to 6.1): two queries whose
    attributes are the same, pickled, are taken for the same; ``SQLCompiler.get_converters`` and
    ``apply_converters`` make Python's values of the database's. If they go, ``Aggregates`` fails
    in each database, and the tests of this module say so.
    """

    def __init__(self, aggregates: Mapping[str, Aggregate]) -> None:
        self._aggregates = dict(aggregates)
        self._known: dict[Name, Statement | None] = {}
        self._knows_no_zone = all(map(_knows_no_zone, self._aggregates.values()))

    def __reduce__(self) -> tuple[object, ...]:
        return Statements, (self._aggregates,)

    def values(self, queryset: AnyQuerySet, key: str) -> Values:
        """Return the values of the aggregates for one user, who is active."""
        _refuse_unless_of(queryset, key)
        name = _name_of(queryset, key, zoned=not self._knows_no_zone)
        if name is not None and (statement := self._known.get(name)) is not None:
            try:
                if (reading := engine().reading(key)) is not None:
                    with reading as cursor:
                        return statement.run(cursor)
            except sqlite3.Error as error:
                code = error.sqlite_errorcode & 0xFF
                if code in _BUSY:
                    raise OperationalError(*error.args) from error
                if code == sqlite3.SQLITE_ERROR:
                    self._known[name] = None  # Perhaps only Django's connection has a function.
        return self._learn(queryset, key, name)

    def _learn(self, queryset: AnyQuerySet, key: str, name: Name | None) -> Values:
        """Ask through Django, and keep what it ran, if that can be run again."""
        connection = connections[alias_of(key)]
        ran = Ran()
        with ReadOnly(key), connection.execute_wrapper(ran):
            found = queryset.aggregate(**self._aggregates)
        if name is not None and name not in self._known and len(self._known) < MOST:
            self._known[name] = self._statement(queryset.query, connection, ran)
        return tuple(found[alias] for alias in self._aggregates)

    def _statement(
        self, query: Query, connection: BaseDatabaseWrapper, ran: Ran
    ) -> Statement | None:
        if len(ran.statements) != 1 or connection_created.has_listeners(type(connection)):
            return None  # What a site adds to each connection may be needed.
        asked = query.chain()
        resolved = [
            aggregate.resolve_expression(asked, allow_joins=True, summarize=True)
            for aggregate in self._aggregates.values()
        ]
        compiler = asked.get_compiler(connection=connection)
        converters = compiler.get_converters(resolved)

        def convert(row: Sequence[object]) -> Values:
            (values,) = compiler.apply_converters((row,), converters)
            return tuple(values)

        ((sql, params),) = ran.statements
        return Statement(sql, params, convert)


class Ran:
    """Remembers the statements that Django runs."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, Sequence[object]]] = []

    def __call__(
        self,
        execute: Callable[..., object],
        sql: str,
        params: Sequence[object] | None,
        *rest: object,
    ) -> object:
        self.statements.append((sql, params or ()))
        return execute(sql, params, *rest)


def _refuse_unless_of(queryset: object, key: str) -> None:
    if not isinstance(queryset, QuerySet):
        raise QueryRefused(f"A queryset is needed to ask all users, and not {queryset!r:.80}.")
    if queryset.db != alias_of(key):
        raise QueryRefused(
            f"The rows of {queryset.model._meta.label} are not asked in the user's database, but in"
            f" {queryset.db!r}. Ask there, once, without the fleet."
        )


def _knows_no_zone(aggregate: Aggregate) -> bool:
    """Tell for certain that the statement of an aggregate is the same in each time zone."""
    sources: Iterable[Any] = aggregate.get_source_expressions()
    return all(each is None or isinstance(each, Star) or _is_field(each) for each in sources)


def _is_field(expression: object) -> bool:
    return type(expression) is F and LOOKUP_SEP not in expression.name  # type: ignore[attr-defined]


def _name_of(queryset: AnyQuerySet, key: str, *, zoned: bool) -> Name | None:
    """Return what tells a query from others, or None when it can only be asked through Django.

    The time zone is part of it where it may be written into the statement; asking for it is slow.
    """
    query = queryset.query
    notes = query.__dict__
    stamp: Stamp | None = notes.get(STAMP)
    if VALUES in notes or (stamp and stamp.key() not in (None, key)):
        return None  # It names rows of a user, which Django's way judges.
    if type(queryset).aggregate is not QuerySet.aggregate:
        return None
    attributes = _without_marks(notes)
    kind = type(query), query.model
    if attributes == _of_all_rows(query.model):
        # Not pickled, because that takes as long as all the rest that Python does.
        return (*kind, timezone.get_current_timezone()) if zoned else kind
    try:
        return *kind, timezone.get_current_timezone(), pickle.dumps(attributes)
    except Exception:  # noqa: BLE001, because pickling runs code of the project, and is only a short cut
        return None


def _without_marks(notes: Mapping[str, object]) -> dict[str, object]:
    return {each: notes[each] for each in notes if each not in (STAMP, JUDGED_FOR)}


@lru_cache(maxsize=MOST)
def _of_all_rows(model: type[Model] | None) -> dict[str, object]:
    """Return the attributes of a query that nobody has added anything to."""
    return _without_marks(Query(model).__dict__)
