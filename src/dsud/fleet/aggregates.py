"""Numbers over all users: each database counts and sums by itself, and the results are put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from django.db.models import Aggregate, Avg, Count, Max, Min, Sum

from dsud.context import use_user
from dsud.exceptions import FleetFailed
from dsud.fleet.compiled import AnyQuerySet, QueryRefused, Statements, Values
from dsud.fleet.outcomes import Outcome, Work
from dsud.fleet.workers import Workers, choose, run

Fold: TypeAlias = Callable[[Any, Any], object]


def aggregate(
    queryset_function: Callable[[str], AnyQuerySet],
    users: Iterable[str] | None = None,
    *,
    workers: Workers = None,
    **aggregates: Aggregate,
) -> dict[str, object]:
    """Return aggregates over the rows of all users, as ``QuerySet.aggregate`` does over one table.

    ``queryset_function`` is called with each key, as that user, and returns a queryset.
    ``Count``, ``Sum``, ``Min``, ``Max`` and ``Avg`` can be put together, with ``filter`` and
    ``default``; others and ``distinct`` raise ``QueryRefused``, because a value that two users
    have would be counted twice. ``users`` and ``workers`` are those of ``for_each``.

    A database that fails stops nobody else; then ``FleetFailed`` is raised, whose ``result`` has
    the aggregates of all others.
    """
    plans = {name: _plan(name, each) for name, each in aggregates.items()}
    if not plans:
        raise QueryRefused("Name what is to be computed, as in `total=Count('pk')`.")
    parts = [part for plan in plans.values() for part in plan.parts]
    asked = Statements({f"dsud_{place}": part for place, part in enumerate(parts)})
    folds = [fold for plan in plans.values() for fold in plan.folds]
    totals: list[object] = [None] * len(parts)
    outcomes = run(Asking(function=queryset_function, asked=asked), users, choose(workers))
    with outcomes.hearing():
        for outcome in outcomes:
            if outcome.result is not None:
                totals = [
                    _folded(fold, total, value)
                    for fold, total, value in zip(folds, totals, outcome.result, strict=True)
                ]
    left = iter(totals)
    result = {name: plan.finish([next(left) for _ in plan.parts]) for name, plan in plans.items()}
    if outcomes.failures:
        raise FleetFailed(outcomes.failures, result)
    return result


@dataclass(frozen=True, kw_only=True)
class Asking(Work[Values]):
    """Aggregates to be asked of each database, by statements that were compiled once."""

    function: Callable[[str], Any]
    asked: Statements
    read_only: bool = True

    def outcomes(self, key: str) -> Iterator[Outcome[Values]]:
        """Yield the values of one database."""
        result, error = None, None
        start = time.perf_counter()
        try:
            with use_user(key):
                result = self.asked.values(self.function(key), key)
        except Exception as raised:  # noqa: BLE001, because it is this user's failure, and is reported
            error = raised
        yield Outcome(key, result, error, time.perf_counter() - start)


# Putting together


@dataclass(frozen=True)
class Plan:
    """What each database is asked for one aggregate, and how the answers become one."""

    parts: tuple[Aggregate, ...]
    folds: tuple[Fold, ...]
    finish: Callable[[list[Any]], object]


def _folded(fold: Fold, total: object, value: object) -> object:
    """Put one more value to a total; NULL is the value of no rows."""
    if value is None:
        return total
    return value if total is None else fold(total, value)


def _add(total: Any, value: Any) -> object:  # noqa: ANN401, because numbers and durations have no type in common
    return total + value


def _plan(name: str, aggregate: object) -> Plan:
    if isinstance(aggregate, Aggregate) and getattr(aggregate, "distinct", False):
        raise QueryRefused(
            f"{name!r} is to be distinct, and a value that two users have would be counted twice."
            " Take the values with fleet.query() and count them in Python."
        )
    kind = type(aggregate)
    if kind in _FOLDS:
        each: Any = aggregate
        default = each.default if kind is not Count else 0
        part = each.copy()
        part.default = None
        return Plan((part,), (_FOLDS[kind],), lambda totals: _or_default(totals[0], default))
    if kind is Avg:
        return _plan_of_average(aggregate)
    raise QueryRefused(
        f"{name!r} is {aggregate!r:.80}, which cannot be put together from the results of many"
        " databases. Count, Sum, Min, Max and Avg can; take rows with fleet.query() for the rest."
    )


#: Because stubs take its arguments for keywords.
_COUNT: Any = Count

_FOLDS: dict[type, Fold] = {Count: _add, Sum: _add, Min: min, Max: max}


def _plan_of_average(average: Any) -> Plan:  # noqa: ANN401, because stubs lack attributes of Avg
    expressions: list[Any] = super(Aggregate, average).get_source_expressions()
    # Django 6.0 and later wrap the condition.
    condition = getattr(average.filter, "condition", average.filter)
    total = Sum(*expressions, filter=condition)
    count: Any = _COUNT(*expressions, filter=condition)
    return Plan((total, count), (_add, _add), lambda totals: _average(totals, average.default))


def _average(totals: list[Any], default: object) -> object:
    total, count = totals
    return default if not count else _divided(total, count)


def _divided(total: Decimal | timedelta | float, count: int) -> object:
    return total / count


def _or_default(total: object, default: object) -> object:
    return default if total is None else total
