"""What operators look for among user databases: filters, orders and totals, all from the registry."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count, F, OrderBy, Q, QuerySet, Sum
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from dsud import schema
from dsud.engines import engine
from dsud.models import FleetRun, UserDatabase

T = TypeVar("T")

State = UserDatabase.State

#: What a database can be; a file that is missing is known since somebody has looked.
MISSING = "missing"
STATES = [*State.values, MISSING]

#: What can be sorted by, and the field that has it.
ORDERS = {
    "user": "user_key",
    "size": "size",
    "last-used": "last_used",
    "migrated": "migrated",
}

#: What is for machines.
ONLY_IN_JSON = ("fingerprint", "verified", "arguments", "failures")

#: Runs that are shown unless more are asked for.
RUNS = 20

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_DAYS = re.compile(r"(\d+)d")


def size(text: str) -> int:
    """Return the bytes of a size as operators write it."""
    if (found := _SIZE.fullmatch(text.strip())) is None:
        raise ArgumentTypeError(f"{text!r} is no size; write it as in 500KB, 20MB or 1GB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def moment(text: str) -> datetime:
    """Return a moment as operators write it: a date, a date with a time, or days ago."""
    if (days := _DAYS.fullmatch(text)) is not None:
        return timezone.now() - timedelta(days=int(days[1]))
    try:
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)) is not None:
            found = datetime(day.year, day.month, day.day)  # noqa: DTZ001, because it is made aware below
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no moment; write 2026-01-31, or 90d for days ago")
    if timezone.is_naive(found) and timezone.is_aware(timezone.now()):
        found = timezone.make_aware(found)
    return found


# Databases


def find(
    options: dict[str, object], *, keys: list[str] | None, left_out: list[str]
) -> QuerySet[UserDatabase]:
    """Return the rows of the registry that an operator asks for."""
    rows = UserDatabase.objects.using(DEFAULT_DB_ALIAS).order_by(*_order(options))
    if keys is not None:
        rows = rows.filter(user_key__in=keys)
    elif options["state"] != State.DELETED:
        rows = rows.exclude(state=State.DELETED)
    if left_out:
        rows = rows.exclude(user_key__in=left_out)
    for condition in _conditions(options):
        rows = rows.filter(condition)
    return rows


def _conditions(options: dict[str, object]) -> Iterator[Q]:
    if options["state"] == MISSING:
        yield Q(missing=True)
    elif options["state"] is not None:
        yield Q(state=options["state"], missing=False)
    if options["outdated"]:
        yield outdated()
    if options["failed"]:
        yield ~Q(last_error="")
    if options["larger_than"] is not None:
        yield Q(size__gt=options["larger_than"])
    if options["unused_since"] is not None:
        yield Q(last_used__lt=options["unused_since"])


def outdated() -> Q:
    """Return what tells the databases whose schema is not the one that the code wants.

    Written as two ranges, because databases do not look up in an index what is unequal.
    """
    wanted = schema.fingerprint()
    return Q(state=State.READY) & (Q(schema__lt=wanted) | Q(schema__gt=wanted))


def _order(options: dict[str, object]) -> list[str | OrderBy]:
    name = options["sort"]
    if name is None:
        return ["-pk" if options["reverse"] else "pk"]
    field = F(ORDERS[str(name)])
    # What is not known comes last, whichever way.
    order = field.desc(nulls_last=True) if options["reverse"] else field.asc(nulls_last=True)
    return [order, "pk"]


def describe(
    rows: QuerySet[UserDatabase], *, keys: list[str] | None
) -> Iterator[dict[str, object]]:
    """Yield what is known of each database, and of those that were named and are not known."""
    wanted = schema.fingerprint()
    left = dict.fromkeys(keys or ())
    for row in rows.iterator(chunk_size=2_000):
        left.pop(row.user_key, None)
        yield {
            "user": row.user_key,
            "state": MISSING if row.missing and row.state == State.READY else row.state,
            "schema": _schema(row, wanted),
            "fingerprint": row.schema,
            "size": row.size,
            "last_used": row.last_used,
            "migrated": row.migrated,
            "verified": row.verified,
            "last_error": row.last_error,
        }
    for key in left:
        if not UserDatabase.objects.using(DEFAULT_DB_ALIAS).filter(user_key=key).exists():
            yield _unknown(key)


def _schema(row: UserDatabase, wanted: str) -> str:
    if row.state != State.READY:
        return ""
    return "current" if row.schema == wanted else "outdated"


def _unknown(key: str) -> dict[str, object]:
    there = engine().serves(key)
    return {
        "user": key,
        "state": "not registered" if there else "none",
        **dict.fromkeys(("schema", "fingerprint"), ""),
        **dict.fromkeys(("size", "last_used", "migrated", "verified")),
        "last_error": "",
    }


def totals(rows: QuerySet[UserDatabase]) -> str:
    """Return how many there are, and what they take, in words."""
    found = rows.order_by().aggregate(
        count=Count("pk"),
        bytes=Sum("size"),
        outdated=Count("pk", filter=outdated()),
        failed=Count("pk", filter=~Q(last_error="")),
    )
    parts = [f"{found['count']} user databases", str(filesizeformat(found["bytes"] or 0))]
    parts += [f"{found[name]} {name}" for name in ("outdated", "failed") if found[name]]
    return f"{', '.join(parts)}."


# Runs


def runs(limit: int) -> Iterator[dict[str, object]]:
    """Yield the last runs, the newest first, with what failed in each."""
    found = FleetRun.objects.using(DEFAULT_DB_ALIAS).prefetch_related("failures")
    for run in found[:limit]:
        yield {
            "run": run.pk,
            "command": " ".join([run.command, *map(str, run.arguments)]),
            "started": run.started,
            "finished": run.finished,
            "outcome": run.outcome,
            "done": run.done,
            "failed": run.failed,
            "failures": {each.user_key: each.cause for each in run.failures.all()},
        }


# Some of many


def first(rows: Iterable[T], limit: int | None) -> Iterator[T]:
    """Yield so many rows at most."""
    return islice(rows, limit)


def cut(rows: Iterable[T], limit: int) -> tuple[list[T], bool]:
    """Return so many rows at most, and whether there are more."""
    found = list(islice(rows, limit + 1))
    return found[:limit], len(found) > limit
